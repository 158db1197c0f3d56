"""Recipes whose isochrone is a grid: what is a parameter, what is known of it, and a fit whose guess is wrong."""

import pytest
import torch
import yaml
from test_isochrone_fit import EvenColours, stream_of
from test_isochrone_grid import FUNCTION, grid_of
from test_recipes import TRACK, model_of, part, recipe, stars

import stream_mapper as sml
from stream_mapper.builtin import PowerLawFamily, Uniform
from stream_mapper.description import build, describe
from stream_mapper.errors import InputError
from stream_mapper.fit import fit_command
from stream_mapper.recipes import Component, Stream
from stream_mapper.results.run_folder import ResultOptions
from stream_mapper.training.start import start_from_guides

GRID = grid_of(-2.0, -1.5, -1.0, ages=(12.0, 13.0))
EVERYTHING = {
    "isochrone": GRID,
    "mass_function": PowerLawFamily(-2.0, 0.0),
    "reddening": {"g": 3.2, "r": 2.3},
    "population": {"feh": (-1.6, 0.2), "ebv": (0.02, 0.02), "offset.g": (0.0, 0.01)},
}
RANGES = {"feh": (-2, -1), "age": (12, 13), "mass-slope": (-2, 0), "ebv": (0, 0.1), "offset.g": (-0.04, 0.04)}


def constants(model, path="stream.photometric"):
    found = part(model, path).constants
    return (
        {}
        if found is None
        else {p: (found.params[p].bounds.lower, found.params[p].bounds.upper) for p in found.params.names}
    )


def test_what_the_isochrones_do_not_tell_are_numbers_of_the_stream():
    model = recipe(**EVERYTHING)
    assert constants(model) == {name: pytest.approx(edges) for name, edges in RANGES.items()}
    priors = {prior.param: (prior.mean, prior.sigma) for prior in list(part(model, "stream.photometric").priors)[1:]}
    assert priors == EVERYTHING["population"]
    assert constants(recipe()) == {}
    assert constants(recipe(isochrone=GRID, bounds={"feh": (-1.8, -1.2)}))["feh"] == (-1.8, -1.2)


def test_a_prior_of_the_population_counts_once():
    model, without = (recipe(**EVERYTHING | changes) for changes in ({}, {"population": {"ebv": (0.02, 0.02)}}))
    stars(model)
    stars(without)
    for one in (model, without):
        torch.nn.init.zeros_(part(one, "stream.photometric").constants.net.value)
    known = {name: torch.tensor(0.5 * sum(RANGES[name])) for name in ("feh", "offset.g")}
    expected = sum(
        -0.5 * ((x - EVERYTHING["population"][name][0]) / EVERYTHING["population"][name][1]) ** 2
        for name, x in known.items()
    )
    lnp = [
        sum(p(part(one, "stream.photometric")) for p in list(part(one, "stream.photometric").priors)[1:])
        for one in (model, without)
    ]
    assert (lnp[0] - lnp[1]).item() == pytest.approx(expected.item(), abs=1e-3)


def test_a_spur_has_the_stars_of_the_stream():
    model = recipe(**EVERYTHING, components={"spur": Component(offset={"phi2": 1.5})})
    data = stars(model)
    params = model(data)
    for name in RANGES:
        assert torch.equal(params[f"spur.photometric.{name}"], params[f"stream.photometric.{name}"])
    assert constants(model, "spur.photometric") == {}
    assert not [*part(model, "spur.photometric").parameters()]
    own = recipe(
        isochrone=GRID,
        components={"spur": Component(track={"phi1": [0.0], "distance": [9.0]})},
    )
    params = own(stars(own))
    assert torch.equal(params["spur.photometric.feh"], params["stream.photometric.feh"])
    assert not torch.equal(params["spur.photometric.distmod.mu"], params["stream.photometric.distmod.mu"])


def test_a_part_that_was_given_keeps_its_own_population():
    own = part(recipe(), "stream.photometric")
    model = recipe(
        isochrone=GRID, parts={"spur.photometric": own}, components={"spur": Component(offset={"phi2": 1.5})}
    )
    params = model(stars(model))
    assert "spur.photometric.feh" not in params
    assert "stream.photometric.feh" in params


def test_a_start_and_a_likelihood_of_the_expanded_model():
    model = recipe(**EVERYTHING, components={"spur": Component(offset={"phi2": 1.5})})
    data = stars(model)
    start_from_guides(model, steps=20)
    params = model(data)
    ln_p = model.ln_likelihood(params, data)
    assert ln_p.isfinite().all()
    (-ln_p.mean() - model.ln_prior() / len(data)).backward()
    gradient = part(model, "stream.photometric").constants.net.value.grad
    assert gradient.isfinite().all()
    assert (gradient != 0).all()
    again = build(describe(model))
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.ln_likelihood(again(data), data), ln_p)


def test_a_parallax_may_set_the_distance_of_a_grid():
    asked = {"coordinates": ["phi2", "parallax", "photometry"], "window": {"phi2": (-4.0, 4.0)}}
    model = recipe(**asked, isochrone=GRID, population={"feh": (-1.6, 0.2)})
    params = model(stars(model))
    assert not len(part(model, "stream.photometric").params)
    assert {"stream.photometric.feh", "stream.photometric.age", "stream.photometric.distmod.mu"} <= set(params)
    assert model.ln_prior().isfinite()


def test_a_configuration_takes_a_grid_and_is_expanded(tmp_path, capsys):
    curve = {"class_path": "stream_mapper.builtin.Isochrone.synthetic", "init_args": {"bands": ["g", "r"]}}
    grid = {"isochrones": [curve, curve], "feh": [-2.0, -1.0]}
    told = {
        "track": TRACK,
        "window": {"phi2": [-4, 4]},
        "isochrone": {"class_path": "stream_mapper.builtin.IsochroneGrid", "init_args": grid},
        "population": {"feh": [-1.6, 0.2]},
    }
    model = {"class_path": "stream_mapper.recipes.Stream", "init_args": told}
    path, long = tmp_path / "short.yaml", tmp_path / "long.yaml"
    path.write_text(yaml.safe_dump({"model": {"model": model}, "data": {"path": "stars.fits"}}))
    fit_command(["--config", str(path), "--expand"])
    long.write_text(capsys.readouterr().out)
    first, again = model_of(path), model_of(long)
    assert constants(first) == constants(again) == {"feh": (-2.0, -1.0)}
    again.load_state_dict(first.state_dict())
    assert torch.equal(first.ln_prior(), again.ln_prior())


REFUSED = {
    r"population has \['feh'\]; these stars have \['offset.g', 'offset.r'\]": {"population": {"feh": (-1.5, 0.1)}},
    "say what is known of it": {"reddening": {"g": 3.2}},
    "the sigma of feh in population": {"isochrone": GRID, "population": {"feh": (-1.5, 0.0)}},
    "population has feh -3; its range is -2 to -1": {"isochrone": GRID, "population": {"feh": (-3.0, 0.1)}},
    "are of the stars of an isochrone": {"isochrone": None, "population": {"feh": (-3.0, 0.1)}},
    "feh is known from -2 to -1": {"isochrone": GRID, "bounds": {"feh": (-3.0, -1.0)}},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_the_stars_have_not_is_refused(message):
    with pytest.raises(InputError, match=message):
        recipe(**REFUSED[message])


def test_a_fit_by_a_recipe_finds_the_metallicity_and_the_distance():
    """The stream has [Fe/H] = -1.5 and is at 10 kpc; what is known of it is -1.8, with an error of 0.3 dex."""
    model = Stream(
        track={"phi1": [-10.0, 10.0], "phi2": [0.0, 0.0], "distance": [9.0, 9.0], "distance_width": [2.0, 2.0]},
        window={"phi2": (-2.0, 2.0), "g": (13.0, 21.0)},
        isochrone=grid_of(-2.25, -1.75, -1.25, -1.0),
        mass_function=FUNCTION,
        scatter=0.0,
        population={"feh": (-1.8, 0.3)},
        nets={"stream.photometric": sml.nn.Constant(2, scale=5.0)},
        background=sml.IndependentModels(
            {"sky": Uniform(coord_names=["phi2"], coord_bounds={"phi2": (-2.0, 2.0)}), "photometry": EvenColours()}
        ),
    )
    fit = sml.fit(
        model,
        stream_of(),
        data={"batch_size": 512},
        training={"learning_rate": 0.02},
        trainer={"max_epochs": 15},
        results=ResultOptions(draws=4, track_draws=60),
    )
    track = fit.track(at=[0.0])
    assert track["distance"][0] == pytest.approx(10, rel=0.02)
    assert track["distance_05"][0] < 10 < track["distance_95"][0]
    row = fit.components()[0]
    assert row["feh_05"] < -1.5 < row["feh_95"]
