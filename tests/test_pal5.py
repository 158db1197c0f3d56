"""The simulated field of Pal 5: its stars and its truth; the experiment runs, and leaves M5 out."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy import stats

from stream_mapper.catalog import SkyFrame, read_table, to_table
from stream_mapper.errors import InputError
from stream_mapper.fit import main as fit
from stream_mapper.mock import Pal5Mock
from stream_mapper.mock.pal5 import WINDOW
from stream_mapper.simulate import main as simulate

ROOT = Path(__file__).parent.parent
PAL5 = ROOT / "experiments" / "pal5"
FRAME = SkyFrame(yaml.safe_load((PAL5 / "config.yaml").read_text())["data"]["frame"]["init_args"]["frame"])
LEAST_P = 1e-3


@pytest.fixture(scope="module")
def stars():
    """A field with many members, in the frame of the stream as the catalogue sees it."""
    pytest.importorskip("gala")
    table = to_table(Pal5Mock(seed=2, n_tails=(3000, 2000), n_cluster=1000, n_background=20_000).simulate())
    return FRAME.add_stream_coordinates(table)


def values(stars, name):
    return np.asarray(stars[name], dtype=float)


def test_the_sky_is_that_of_the_frame_and_the_window_is_kept(stars):
    for name, (low, high) in WINDOW.items():
        assert low - 1e-9 <= values(stars, name).min()
        assert values(stars, name).max() <= high + 1e-9
    pal5 = FRAME.add_stream_coordinates(
        to_table({"ra": [229.022], "dec": [-0.112], "pmra": [-2.730], "pmdec": [-2.654]})
    )
    track = Pal5Mock.track(torch.as_tensor(values(pal5, "phi1")))
    for name, centre in track.items():
        assert values(pal5, name) == pytest.approx(centre.numpy(), abs=0.01), name


def test_members_are_about_their_track_by_their_width_and_errors(stars):
    member = np.asarray(stars["true_component"]) == "stream"
    for name, error in {"phi2": 0, "pm_phi1": values(stars, "pmra_err"), "pm_phi2": values(stars, "pmra_err")}.items():
        off = values(stars, name) - values(stars, f"true_{name}")
        pull = (off / np.hypot(error, values(stars, f"true_{name}_sigma")))[member]
        assert stats.kstest(pull, "norm").pvalue > LEAST_P, name
    sides = values(stars, "phi1")[member]
    for low, high, size in ((-14, -1, 3000 * (13 / 14) ** 2), (1, 8.5, 2000 * (7.5 / 8.5) ** 2)):
        assert ((sides > low) & (sides < high)).sum() == pytest.approx(size, abs=4 * size**0.5)


def test_the_truth_is_calibrated(stars):
    p, member = values(stars, "true_p_member"), np.asarray(stars["true_component"]) == "stream"
    bins = np.digitize(p, [1e-3, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99])
    found, expected, variance = (np.bincount(bins, weights=w) for w in (member, p, p * (1 - p)))
    used = variance > 2
    assert stats.chi2(used.sum()).sf((((found - expected) ** 2)[used] / variance[used]).sum()) > LEAST_P
    m5 = np.hypot(values(stars, "ra") - 229.638, values(stars, "dec") - 2.081) < 0.2
    assert m5.sum() > 300
    bins = np.digitize(values(stars, "phi1")[~m5], np.arange(-15, 11))
    weight = values(stars, "true_weight")[~m5]
    found, expected, variance = (np.bincount(bins, weights=w) for w in (member[~m5], weight, weight * (1 - weight)))
    used = variance > 2
    assert stats.chi2(used.sum()).sf((((found - expected) ** 2)[used] / variance[used]).sum()) > LEAST_P


def test_a_seed_gives_its_stars_and_there_need_be_no_stream():
    first, again = (Pal5Mock(seed=1, n_background=50).simulate() for _ in range(2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    empty = Pal5Mock(n_tails=(0, 0), n_cluster=0, n_m5=0, n_background=50).simulate()
    assert len(empty["ra"]) == 50
    assert not empty["true_p_member"].any()
    with pytest.raises(InputError, match="n_tails must be 0 or more"):
        Pal5Mock(n_tails=(-1, 5))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short fit by the experiment's configuration, from the root of the repository."""
    pytest.importorskip("gala")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        root = tmp_path_factory.mktemp("pal5")
        quick = [
            "--background.max_epochs=2",
            "--trainer.max_epochs=4",
            "--results.draws=2",
            "--results.track_draws=2",
            "--results.figures=false",
        ]
        fewer = "--data.simulator.init_args.n_background=4000"
        fit(["--config", str(PAL5 / "config.yaml"), "--trainer.default_root_dir", str(root), fewer, *quick])
    return root / "version_0"


def test_the_experiment_runs_and_leaves_m5_out(run):
    table, cuts = read_table(run / "memberships.parquet"), read_table(run / "selection.ecsv")
    m5 = np.hypot(values(table, "ra") - 229.638, values(table, "dec") - 2.081) < 0.399
    assert not table["selected"][m5].any()
    assert cuts["removed"].tolist()[:-1] == [0, 0, 0, 0, (~np.asarray(table["selected"])).sum()]
    assert cuts["cut"][4].startswith("ClusterMask(M5")
    assert json.loads((run / "metrics.json").read_text())["average_precision"] > 0.3


def test_its_checkpoint_holds_the_track_and_not_its_path(run):
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    kept = json.dumps(checkpoint["stream_mapper"]["model"])
    assert "track.ecsv" not in kept
    assert kept.count("stream_mapper.prior.ControlRegions") == 3


def test_the_other_configurations_are_read(tmp_path, capsys):
    simulate(["--config", str(PAL5 / "simulate.yaml"), "--output", str(tmp_path / "stars.parquet")])
    assert len(read_table(tmp_path / "stars.parquet")) == 20_000 + 400 + 350 + 250 + 120
    query = pytest.importorskip("stream_mapper.query").main
    pytest.importorskip("gala")
    query(["--config", str(PAL5 / "query.yaml"), "--dry_run", "true"])
    assert capsys.readouterr().out.count("-- slice phi1") == 14
