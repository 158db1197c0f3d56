"""The experiment on the field of Indus: its windows are those that both tables were cut to, and its model fits them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stream_mapper.models.base import windows_of
from stream_mapper.training.cli import StreamCLI
from stream_mapper.training.start import dry_run

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"
FIELD, CONTROL = (DATA / "indus" / f"indus_{name}_gaia_dr3.fits" for name in ("field", "control"))


@pytest.fixture(scope="module")
def experiment():
    """The model of the configuration, and the stars of the field and of the control field as it reads them."""
    if not FIELD.exists():
        pytest.skip(f"the field of Indus {FIELD} is not here")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        config = ["--config", "experiments/indus/config.yaml", "--data.path", str(FIELD)]
        cli = StreamCLI([*config, "--trainer.accelerator=cpu"])
    read = cli.datamodule.intake.reading.load
    return cli.model.model, *(read(str(path))[0] for path in (FIELD, CONTROL))


def outside(model, stars, name):
    low, high = windows_of(model)[name].at(stars["phi1"])
    return (stars[name] < low) | (stars[name] > high)


def test_the_strip_holds_the_field_but_for_the_sides_of_the_hole(experiment):
    model, field, _ = experiment
    out = outside(model, field, "phi2")
    assert 0 < out.sum() < 60
    assert ((field["phi1"][out] > -6.4) & (field["phi1"][out] < -3.2)).all()
    beside = torch.tensor([-6.4, -5.0, -3.2])
    low, high = windows_of(model)["phi2"].at(beside)
    assert low.tolist() == pytest.approx([-1.75, 0.0, -1.71], abs=0.03)
    assert (high > 3.7).all()


@pytest.mark.parametrize("name", ["pmra", "pmdec"])
def test_field_and_control_field_fill_one_window_of_proper_motion(experiment, name):
    model, *tables = experiment
    for stars in tables:
        assert not outside(model, stars, name).any()
        low, high = windows_of(model)[name].at(stars["phi1"])
        share = ((stars[name] - low) / (high - low)).numpy()
        for place in range(-40, 50, 10):
            there = (stars["phi1"].numpy() >= place) & (stars["phi1"].numpy() < place + 10)
            assert share[there].min() < 0.04
            assert share[there].max() > 0.96


def test_the_control_field_is_beside_the_strip(experiment):
    model, _, control = experiment
    assert outside(model, control, "phi2").all()


def test_magnitudes_end_where_the_window_does(experiment):
    _, field, control = experiment
    for stars in (field, control):
        assert stars["G"].min() > 12
        assert 19.99 < stars["G"].max() <= 20
    assert int((~field.where["G_err"]).sum()) == 785


def test_the_model_fits_the_field(experiment):
    model, field, _ = experiment
    some = field[torch.from_numpy(np.arange(0, len(field), 50))]
    model.fit_scalers(some)
    dry_run(model, some)
    params = model(some)
    assert all(values.isfinite().all() for values in params.values())
