"""A table of memberships has the coordinates along the stream, which a frame makes of those of the sky."""

import numpy as np
import pytest
from astropy.table import Table
from small_models import mixture

from stream_mapper.catalog import Reading, SkyFrame, read_table, write_table
from stream_mapper.fitted import Fit
from stream_mapper.inference.ensemble import Ensemble
from stream_mapper.loading import load
from stream_mapper.predict import predict
from stream_mapper.results.annotation import Intake

FRAME = SkyFrame({"pole": [0.0, 90.0], "ra0": 30.0})  # phi1 is ra - 30 deg, phi2 is dec


@pytest.fixture
def table():
    """Stars of the sky, with a column of another frame that is called phi1."""
    n = 20
    return Table({"ra": np.linspace(25.0, 35.0, n), "dec": np.linspace(-1.0, 1.0, n), "phi1": np.full(n, 7.0)})


@pytest.fixture
def checkpoint(tmp_path):
    """A fit of such stars."""
    model = mixture("phi2").eval()
    intake = Intake(Reading(["phi1", "phi2"], FRAME))
    return Fit(model, Ensemble(model), intake).save(tmp_path / "fit.ckpt")


@pytest.mark.parametrize("ending", ["parquet", "fits", "ecsv"])
def test_they_stand_in_every_table(ending, table, checkpoint, tmp_path):
    write_table(table, tmp_path / f"stars.{ending}")
    predict(checkpoint, tmp_path / f"stars.{ending}", tmp_path / f"members.{ending}", draws=0)
    found = read_table(tmp_path / f"members.{ending}")
    np.testing.assert_allclose(found["phi1"], table["ra"] - 30, atol=1e-5)
    np.testing.assert_allclose(found["phi2"], table["dec"], atol=1e-5)
    assert [str(found[name].unit) for name in ("phi1", "phi2")] == ["deg", "deg"]
    assert found["phi1_input"].tolist() == table["phi1"].tolist()
    assert "pm_phi1" not in found.colnames


def test_from_python_they_stand_too_and_no_warning_follows(table, checkpoint, caplog):
    members = load(checkpoint).memberships(table, draws=0)
    np.testing.assert_allclose(members["phi2"], table["dec"], atol=1e-5)
    assert "['phi1'] are computed anew" in caplog.text
    caplog.clear()
    load(checkpoint).intake.reading.load(members)
    assert "computed anew" not in caplog.text


def test_without_a_frame_the_table_is_as_it_was(table):
    assert Intake(Reading(["phi1", "phi2"])).result_names == []
    assert Intake(Reading(["phi1", "g"], FRAME)).result_names == ["phi1"]
