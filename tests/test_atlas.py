"""The atlas: every track has a fit or a line, a drawn field is fitted, and what is there is kept."""

import argparse
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from galstreams_files import write_log, write_track

from stream_mapper.charts import made_plan

ATLAS = Path(__file__).parents[1] / "experiments" / "atlas"
QUICK = ["--trainer.max_epochs=2", "--background.max_epochs=1", "--background.copies=0", "--results.draws=2"]


@pytest.fixture
def script(monkeypatch):
    """A script of the atlas as a module, by its name."""
    monkeypatch.syspath_prepend(str(ATLAS))
    yield importlib.import_module
    for name in ("fields", "tracks", "fits", "sky"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    """A folder of galstreams with a good track and one that turns back."""
    folder = tmp_path_factory.mktemp("galstreams")
    write_track(folder, "st.Good.me2020", np.linspace(-10, 10, 81), "1111")
    write_track(folder, "st.Bad.me2020", np.concatenate([np.linspace(-10, 10, 41), np.linspace(9, -9, 40)]), "1111")
    write_log(folder, [("st", 1, "Good-M20", "Good", "me2020", 0.2), ("st", 1, "Bad-M20", "Bad", "me2020", 0.2)])
    return str(folder / "tracks")


def test_every_track_is_fitted_or_refused_in_a_line(script, tracks, tmp_path, capsys):
    module = script("tracks")
    module.main(["--folder", str(tmp_path), "--tracks", tracks])
    said = capsys.readouterr().out
    assert "| a fit in phi2, pm_phi1, pm_phi2, g, r | 1 |" in said
    assert "| refused | 1 |" in said
    assert "| failed | 0 |" in said
    assert "- track.st.Bad.me2020: track.st.Bad.me2020: the track turns back in phi1" in said
    row = json.loads((tmp_path / "track.st.Good.me2020.json").read_text())
    assert row["members"] == 200
    assert row["members_fitted"] > 150


def test_fields_of_one_sky_do_not_overlap(script, tmp_path, monkeypatch):
    """Of two streams at one place the first that is drawn is taken; the last field has no stream in it."""
    pytest.importorskip("hats")
    write_track(tmp_path, "st.Here.me2020", np.linspace(-10, 0, 41), "1111")
    write_track(tmp_path, "st.There.me2020", np.linspace(-9, 1, 41), "1111")
    write_track(tmp_path, "st.Away.me2020", np.linspace(60, 70, 41), "1111")
    tracks, module = str(tmp_path / "tracks"), script("sky")
    asked = argparse.Namespace(folder=tmp_path, number=3, nulls=2, seed=0, survey="gaia_dr3", field=500, tracks=tracks)
    found = module.drawn(asked)
    names = [one.field.track.split(".")[2] for one in found]
    assert len(found) == 2
    assert "Away" in names
    assert found[1].field.n_stream == 0
    assert set(found[1].stars["true_component"]) == {"background"}
    assert 100 <= found[0].field.n_stream <= 1000
    monkeypatch.setattr(module, "drawn", lambda _: found)
    tracks_of_sky = module.prepared(asked)
    settings = yaml.safe_load((tmp_path / "atlas.yaml").read_text())
    assert [f"track.{name}" for name in settings["streams"]] == tracks_of_sky[::-1]
    assert made_plan(settings["streams"], None, tracks, catalogue=str(tmp_path / "sky_hats")).streams


@pytest.mark.long
def test_a_drawn_field_is_fitted_once(script, tracks, tmp_path, capsys):
    module = script("fits")
    assert module.drawn(2, 3, 700, tracks) == module.drawn(2, 3, 700, tracks)
    arguments = ["--folder", str(tmp_path), "--number", "2", "--field", "700", "--tracks", tracks, *QUICK]
    module.main(arguments)
    first = capsys.readouterr().out
    assert "| st.Bad.me2020 |" in first
    assert "refused: track.st.Bad.me2020: the track turns back" in first
    assert "Median ratio" in first
    assert (tmp_path / "table.md").read_text() in first
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    assert len(files) == 2
    module.main(arguments)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")} == files
    assert (tmp_path / "table.md").read_text() in capsys.readouterr().out
