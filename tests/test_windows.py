"""Windows along the stream: what they are of, how models take them, and configurations with them."""

import math
from pathlib import Path

import pytest
import torch
import yaml

import stream_mapper as sml
from stream_mapper.description import build, describe
from stream_mapper.models.base import windows_of
from stream_mapper.training.cli import StreamCLI
from stream_mapper.windows import Windows, as_window, is_within, overlap

MOCK = Path(__file__).parent.parent / "experiments" / "mock" / "config.yaml"
TRACK = sml.Track([-20.0, 0.0, 30.0], {"phi2": [3.0, 0.0, 7.0]}, {"phi2": [1.0, 2.0, 1.5]})
ABOUT = sml.WindowAlong.about(TRACK, "phi2")
PLACES = torch.tensor([-90.0, -20.0, -10.0, 15.0, 30.0, 50.0], dtype=torch.float64)


def uniform(bounds, **kwargs):
    return sml.builtin.Uniform(coord_names=["phi2"], coord_bounds={"phi2": bounds}, **kwargs)


def test_edges_are_straight_between_the_places_and_constant_beyond():
    low, high = ABOUT.at(PLACES)
    assert low.tolist() == [2.0, 2.0, 0.0, 1.75, 5.5, 5.5]
    assert high.tolist() == [4.0, 4.0, 3.0, 5.25, 8.5, 8.5]
    assert ABOUT.extent == (-2.0, 8.5)
    assert ABOUT.widest == 4.0


def test_an_edge_may_be_one_number_or_open():
    low, high = sml.WindowAlong([0.0, 10.0], None, 3.0).at(PLACES)
    assert (low == -math.inf).all()
    assert (high == 3.0).all()
    assert sml.WindowAlong([0.0], [-1.0], [2.0]).at(PLACES[:1]) == (torch.tensor([-1.0]), torch.tensor([2.0]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], []), "places along phi1 that increase"),
        (([1.0, 0.0], 0.0, 1.0), "places along phi1 that increase"),
        (([0.0, 1.0], [0.0], 1.0), "low needs 2 finite numbers"),
        (([0.0, 1.0], 0.0, [1.0, math.nan]), "high needs 2 finite numbers"),
        (([0.0, 1.0], [0.0, 2.0], 2.0), r"at 1 the window \(2, 2\) needs low < high"),
    ],
)
def test_what_is_no_window_is_refused(arguments, message):
    with pytest.raises(sml.InputError, match=message):
        sml.WindowAlong(*arguments)


def test_a_window_is_along_what_the_model_depends_on():
    with pytest.raises(sml.InputError, match="along 'ra', but the model depends on"):
        uniform(sml.WindowAlong([0.0], -1.0, 1.0, along="ra"))
    model = uniform(sml.WindowAlong([0.0, 1.0], [0.0, 1.0], [1.0, 3.0], along="ra"), indep_coord_names=["ra"])
    data = sml.Data({"ra": torch.tensor([0.0, 1.0, 1.0]), "phi2": torch.tensor([0.5, 2.9, 0.5])})
    torch.testing.assert_close(model.ln_likelihood({}, data).exp(), torch.tensor([1.0, 0.5, 0.0]))
    assert model.in_window(data).tolist() == [True, True, False]


def test_a_star_without_a_place_is_in_no_window():
    data = sml.Data({"phi1": torch.tensor([0.0, math.nan]), "phi2": torch.tensor([0.0, 0.0])})
    assert uniform(ABOUT).in_window(data).tolist() == [True, False]


def test_one_window_serves_many_models():
    """To move one of them to another device or precision is not to move the others."""
    first, second = uniform(ABOUT), uniform(ABOUT)
    first.to("meta")
    second.double()
    assert ABOUT.places.device.type == "cpu"
    assert ABOUT.places.dtype == torch.float32
    assert first.windows["phi2"].places.is_meta


def test_a_slope_is_limited_where_the_window_is_widest():
    def sloped(limit):
        params = sml.params.ModelParameters({"phi2": {"slope": (-limit, limit)}})
        net = sml.nn.Constant(1)
        return sml.builtin.Sloped(coord_names=["phi2"], coord_bounds={"phi2": ABOUT}, net=net, params=params)

    assert sloped(0.125).windows["phi2"].widest == 4.0
    with pytest.raises(sml.InputError, match=r"along phi1.* a linear density is positive for slopes"):
        sloped(0.2)


def test_overlaps_and_what_is_within():
    assert overlap((0, 3), (1, 5)) == (1, 3)
    both = overlap(ABOUT, (1.0, 6.0))
    low, high = as_window(both).at(PLACES)
    assert low.tolist() == [2.0, 2.0, 1.0, 1.75, 5.5, 5.5]
    assert high.tolist() == [4.0, 4.0, 3.0, 5.25, 6.0, 6.0]
    assert is_within(both, ABOUT)
    assert is_within(both, (1.0, 6.0))
    assert not is_within(ABOUT, both)
    assert is_within(ABOUT, (-math.inf, math.inf))
    assert not is_within((-math.inf, 2.0), ABOUT)
    shrunk = sml.WindowAlong.about(TRACK, "phi2", 0.9)
    assert is_within(shrunk, ABOUT)
    assert not is_within(ABOUT, shrunk)


def test_the_windows_of_a_model_are_where_those_of_its_parts_overlap():
    mixture = sml.MixtureModel(
        {"stream": uniform(ABOUT), "background": uniform((1.0, 6.0))},
        net=sml.nn.Constant(1),
        params=sml.params.ModelParameters({"stream.ln-weight": (-3.0, -1.0)}),
    )
    assert is_within(windows_of(mixture)["phi2"], overlap(ABOUT, (1.0, 6.0)))
    data = sml.Data({"phi1": PLACES[:4], "phi2": torch.tensor([3.0, 1.9, 0.9, 5.0])})
    assert mixture.in_window(data).tolist() == [True, False, False, True]


def test_what_is_straightened_can_be_bent_back():
    windows = Windows("it", ["phi2", "g"], ["phi1"], {"phi2": ABOUT, "g": (15.0, 21.0)})
    low, high = ABOUT.at(PLACES)
    shares = torch.linspace(0, 1, 6)
    columns = {"phi2": low + shares * (high - low), "g": torch.full((6,), 20.0)}
    data = sml.Data({"phi1": PLACES, **columns})
    straight = windows.straighten(data)
    left, right = windows.straight()["phi2"]
    torch.testing.assert_close(straight["phi2"], left + shares.double() * (right - left))
    assert torch.equal(straight["g"], data["g"])
    torch.testing.assert_close(windows.bend({n: straight[n] for n in columns}, data)["phi2"], data["phi2"])
    torch.testing.assert_close(windows.ln_slope(data), ((right - left) / (high - low)).log())


def test_a_description_makes_it_again():
    plain = describe(uniform(ABOUT))
    again = build(plain)
    assert plain["init_args"]["coord_bounds"]["phi2"]["class_path"] == "stream_mapper.WindowAlong"
    assert all(map(torch.equal, again.windows["phi2"].at(PLACES), ABOUT.at(PLACES)))
    assert not [name for name in again.state_dict() if "windows" in name]


ALONG = {
    "class_path": "stream_mapper.WindowAlong",
    "init_args": {"phi1": [-20, 0, 30], "low": [2, -2, 5.5], "high": [4, 2, 8.5]},
}
OF_TRACK = {
    "class_path": "stream_mapper.WindowAlong.about",
    "init_args": {
        "coord": "phi2",
        "half_width": [1.0, 2.0, 1.5],
        "track": {
            "class_path": "stream_mapper.Track",
            "init_args": {"phi1": [-20, 0, 30], "coordinates": {"phi2": [3, 0, 7]}},
        },
    },
}


@pytest.mark.parametrize("window", [ALONG, OF_TRACK])
def test_a_configuration_may_have_them(window, tmp_path):
    config = yaml.safe_load(MOCK.read_text())
    components = config["model"]["model"]["init_args"]["components"]
    parts = [part["init_args"]["components"] for part in (components["stream"], components["background"])]
    for part in (part for group in parts for part in group.values()):
        bounds = part["init_args"].get("coord_bounds", {})
        bounds.update({"phi2": window} if "phi2" in bounds else {})
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config, default_flow_style=False))
    model = StreamCLI(["--config", str(path), "--trainer.accelerator=cpu"]).model.model
    found = windows_of(model)["phi2"]
    assert is_within(found, ABOUT)
    assert is_within(ABOUT, found)
    assert windows_of(model)["parallax"] == pytest.approx((0.058823, 0.200001))
