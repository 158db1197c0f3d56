"""Inputs changed at random are right or refused in one line; `tox -e faults` tries thousands (experiments/faults)."""

import logging
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from stream_mapper.catalog import check_ids, read_footprint
from stream_mapper.errors import InputError

hypothesis = pytest.importorskip("hypothesis")
FAULTS = Path(__file__).parents[1] / "experiments" / "faults"
MODULES = ("fuzz", "kinds", "law", "mutations", "sources")
EXAMPLES = 10
SLOW = {"fits of models": 1, "run folders": 4, "configurations, model": 4, "predictions of tables": 8}
KINDS = (
    *("tables, bytes", "tables, values", "predictions of tables"),
    *("configurations, text", "configurations, simulate", "configurations, query", "configurations, model"),
    *("fits of models", "isochrones", "tracks", "tracks of galstreams", "footprints"),
    *("checkpoints, bytes", "checkpoints, values", "run folders"),
)


@pytest.fixture(scope="module")
def faults():
    """The modules of experiments/faults, by name; nothing is said meanwhile."""
    sys.path.insert(0, str(FAULTS))
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        import fuzz
        import kinds
        import law

        kinds.prepare()
        yield {"fuzz": fuzz, "kinds": kinds, "law": law}
    finally:
        logging.disable(before)
        sys.path.remove(str(FAULTS))
        for name in MODULES:
            sys.modules.pop(name, None)


def test_every_kind_is_tried(faults):
    assert set(faults["kinds"].KINDS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_input_that_is_not_changed_is_used(kind, faults, monkeypatch):
    """Else that all the others are refused would say nothing."""
    kinds = faults["kinds"]
    monkeypatch.setattr(kinds, "other_bytes", lambda raw, rng: raw)
    monkeypatch.setattr(kinds, "other_text", lambda text, rng: text.encode())
    monkeypatch.setattr(kinds, "other_value", lambda tree, rng: tree)
    monkeypatch.setattr(kinds, "_other_stars", lambda rng: kinds.sources.stars())
    assert faults["fuzz"].examined(kinds.KINDS[kind], random.Random(0)) == "used"


@pytest.mark.parametrize("kind", KINDS)
def test_an_input_is_right_or_refused(kind, faults):
    fuzz = faults["fuzz"]
    seen = set()

    @hypothesis.settings(fuzz.quietly(), max_examples=SLOW.get(kind, EXAMPLES), derandomize=True)
    @hypothesis.given(fuzz.NUMBERS)
    def every(rng):
        seen.add(fuzz.examined(faults["kinds"].KINDS[kind], rng))

    every()
    assert seen <= {"used", "refused"}
    assert seen


def test_the_law_can_be_broken(faults, tmp_path):
    """By another exception, by a traceback of a command, by time, and by what is left."""
    law = faults["law"]
    with pytest.raises(KeyError):
        law.outcome(lambda: {}["a"])
    with pytest.raises(AssertionError, match="not one line"):
        law.commanded(lambda _: sys.exit(1), [])
    with pytest.raises(law.Hung):
        law.outcome(lambda: wait_without_end(law))
    (tmp_path / ".half").touch()
    with pytest.raises(AssertionError, match=r"left .*\.half"):
        law.check_whole(tmp_path, tmp_path / "out.fits", set(), refused=True)
    assert law.outcome(lambda: law.commanded(refuse, [])) == "refused"


def wait_without_end(law):
    with law._limited(0.05):
        while True:
            pass


def refuse(_):
    raise InputError("no")


# What the fuzzing has found -------------------------------------------------------------------------------------------


def test_several_identifiers_a_star_are_refused():
    table = Table({"source_id": np.arange(6).reshape(3, 2)})
    with pytest.raises(InputError, match="'source_id' holds 2 values a star; one identifier"):
        check_ids(table, "source_id", "t.fits")


@pytest.mark.parametrize("change", ["cut", "nside", "line"])
def test_a_damaged_map_of_the_sky_is_refused(change, tmp_path):
    table = Table({"PIXEL": np.arange(192), "VALUE": np.ones(192)}, meta={"ORDERING": "NESTED", "NSIDE": 4})
    path = tmp_path / "map.fits"
    table.write(path)
    if change == "cut":
        path.write_bytes(path.read_bytes()[:-2880])
    elif change == "line":
        path.write_bytes(path.read_bytes().replace(b"ORDERING= 'NESTED  '", b'ORDERING= "NESTED\xff  '))
    else:
        fits.setval(path, "NSIDE", value="four", ext=1)
    with pytest.raises(InputError, match=r"cannot be read as FITS|says its NSIDE.*four"):
        read_footprint(str(path), "astropy.coordinates.ICRS", phi1=(0.0, 10.0), phi2=(-5.0, 5.0), step=1.0)


def test_a_row_of_galstreams_list_without_a_word_has_no_widths(tmp_path):
    from galstreams_files import thin_stream

    from stream_mapper.catalog.sky.library import Library

    tracks = thin_stream(tmp_path)
    assert Library(tracks).find("Thin").widths
    log = tmp_path / "lib" / "master_log.txt"
    log.write_text(log.read_text().replace("-9.0 ref", "ref -9.0"))
    assert Library(tracks).find("Thin").widths == {}
