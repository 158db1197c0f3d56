"""Edges that a table was cut at: found where there are some, in the axes of the cut, and not where stars thin out."""

import numpy as np
import pytest
import torch
from galstreams_files import thin_stream

from stream_mapper.catalog import SkyFrame, known_stream, read_table, table_facts, to_table
from stream_mapper.decisions import decide
from stream_mapper.decisions.edges import Strip, edges, motion_cut, strip_across
from stream_mapper.decisions.sky import _about
from stream_mapper.mock import TrackMock
from stream_mapper.windows import WindowAlong


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    return thin_stream(tmp_path_factory.mktemp("galstreams"))


@pytest.fixture(scope="module")
def field(tracks):
    """A field that nobody has cut in proper motion."""
    return to_table(TrackMock("Thin", 300, 30_000, tracks=tracks).simulate())


def facts_of(table, tracks):
    return table_facts(table, SkyFrame({"track": "Thin", "tracks": tracks}))


def moving(phi1):
    return 2 + 0.002 * phi1**2


def test_a_strip_is_inside_the_edges_and_close_to_them():
    rng = np.random.default_rng(1)
    phi1 = rng.uniform(-30, 30, 12_000)
    values = moving(phi1) + rng.uniform(-1.5, 1.5, len(phi1))
    found = edges(phi1, values)
    assert found.is_cut
    assert not found.is_still
    low, high = WindowAlong(**found.strip().settings()["init_args"]).at(torch.linspace(-30, 30, 200).double())
    true = moving(np.linspace(-30, 30, 200))
    assert np.abs(low.numpy() - (true - 1.5)).max() < 0.12
    assert np.abs(high.numpy() - (true + 1.5)).max() < 0.12


def test_stars_that_thin_out_are_not_cut():
    rng = np.random.default_rng(1)
    phi1 = rng.uniform(-30, 30, 12_000)
    assert not edges(phi1, rng.normal(0, 1, len(phi1))).is_cut
    assert edges(phi1[:300], phi1[:300]) is None


def test_a_field_that_was_not_cut_has_the_window_of_the_track(field, tracks):
    assert motion_cut(facts_of(field, tracks), known=True) is None
    assert strip_across(facts_of(field, tracks)) is None
    assert set(decide("Thin", field, tracks=tracks).motions.value) == {"pm_phi1", "pm_phi2"}


def test_a_box_is_found_in_the_axes_of_the_cut(field, tracks):
    facts = facts_of(field, tracks)
    for names in (("pmra", "pmdec"), ("pm_phi1", "pm_phi2")):
        middle = [np.nanmedian(facts.values[name]) for name in names]
        inside = np.all([np.abs(facts.values[n] - m) < 3 for n, m in zip(names, middle, strict=True)], axis=0)
        found = motion_cut(facts_of(field[inside], tracks), known=True)
        assert found.names == names
        assert not found.moves
        for name, centre in zip(names, middle, strict=True):
            assert found.windows[name] == pytest.approx((centre - 3, centre + 3), abs=0.05)
        decisions = decide("Thin", field[inside], tracks=tracks)
        assert set(decisions.motions.value) == set(names)
        assert decisions.coordinates.value[1:3] == ("pm_phi1", "pm_phi2")


def test_a_cut_that_moves_in_the_axes_of_the_catalogue_is_fitted_there(field, tracks):
    facts = facts_of(field, tracks)
    centre = {"pmra": -2 + 0.1 * facts.phi1, "pmdec": -3 - 0.12 * facts.phi1}
    inside = np.all([np.abs(facts.values[name] - x) < 2.5 for name, x in centre.items()], axis=0)
    decisions = decide("Thin", field[inside], tracks=tracks)
    assert decisions.coordinates.value[1:3] == ("pmra", "pmdec")
    assert set(decisions.guides.value) >= {"pmra", "pmdec"}
    assert set(decisions.bounds.value) >= {"pmra.ln-sigma", "pmdec.ln-sigma"}
    assert {"pmra", "pmdec"} <= set(decisions.errors.value)
    strip = decisions.motions.value["pmra"]
    assert isinstance(strip, Strip)
    low = np.interp(facts.phi1[inside], strip.phi1, strip.low)
    assert np.abs(low - (centre["pmra"][inside] - 2.5)).max() < 0.3  # of 5
    assert (
        motion_cut(facts_of(field[inside], tracks), known=False) is None
        or not motion_cut(facts_of(field[inside], tracks), known=False).in_the_sky
    )


def test_errors_that_a_table_lacks_are_those_of_the_parallax(field, tracks):
    table = field.copy()
    table.remove_columns(["pmra_err", "pmdec_err", "pmra_pmdec_corr"])
    decisions = decide("Thin", table, tracks=tracks)
    assert set(decisions.approximate.value) == {"pmra", "pmdec"}
    assert {"pm_phi1", "pm_phi2"} <= set(decisions.errors.value)
    assert not decisions.correlation.value
    assert decide("Thin", field, tracks=tracks).approximate.value == {}
    table.remove_column("parallax_err")
    bare = decide("Thin", table, tracks=tracks)
    assert bare.approximate.value == {}
    assert "widths of the stream have them in" in bare.approximate.reason


def test_a_strip_is_all_of_the_table_where_the_track_is_not(tracks):
    """Beyond the ends of a track a window about it may miss the edges of the table, which go on."""
    stream = known_stream("Thin", tracks=tracks)
    first, last = stream.track.phi1[0], stream.track.phi1[-1]
    middle = float(np.mean(stream.track.values("phi2")))
    strip = Strip((first - 30, first, last, last + 30), *((middle + x,) * 4 for x in (-9.0, 9.0)))
    about = _about(strip, stream, 1.0)
    assert (about.low[0], about.high[0], about.low[-1], about.high[-1]) == (middle - 9, middle + 9) * 2
    assert np.ptp(np.subtract(about.high, about.low)[1:-1]) == pytest.approx(0, abs=1e-9)
    assert about.high[1] - about.low[1] == pytest.approx(4)
    missed = Strip(strip.phi1, *(tuple(x + 60 for x in side) for side in strip[1:]))
    assert _about(missed, stream, 1.0) == missed


REAL = {
    "gd1": ("gd1/gd1_field_gaia_dr2_ps1.fits", {"pmra": (-7.0, -2.0), "pmdec": (-15.0, -11.0)}),
    "indus": ("indus/indus_field_gaia_dr3.fits", None),
}


@pytest.mark.parametrize(("file", "box"), REAL.values(), ids=REAL)
def test_real_tables_were_cut_as_their_papers_say(file, box, shared_data):
    table = read_table(shared_data / file)
    first, last = (np.percentile(table["ra"], share) for share in (2, 98))
    tails = table["ra"] < first, table["ra"] > last
    ends = [[float(np.median(table[name][rows])) for name in ("ra", "dec")] for rows in tails]
    found = motion_cut(table_facts(table, SkyFrame({"endpoints": ends})), known=True)
    assert found.names == ("pmra", "pmdec")
    assert found.moves == (box is None)
    if box is not None:
        assert {name: pytest.approx(window, abs=0.02) for name, window in box.items()} == found.windows
