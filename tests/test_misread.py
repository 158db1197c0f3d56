"""What a catalogue, an isochrone or a model may mean otherwise than it is taken is said, or refused, before a fit."""

import numpy as np
import pytest
import torch
from astropy.table import Column, MaskedColumn, Table
from small_models import WINDOW, mixture, normal

import stream_mapper as sml
from stream_mapper.builtin import Isochrone
from stream_mapper.catalog import SkyFrame, check_ids, identifier, to_data
from stream_mapper.data import Data
from stream_mapper.errors import InputError
from stream_mapper.nn import Constant
from stream_mapper.prior import ControlRegions
from stream_mapper.results.annotation import check_columns
from stream_mapper.training.places import warn_of_places

RANDOM = np.random.default_rng(3)

# Identifiers ----------------------------------------------------------------------------------------------------------

IDS = np.unique(2**61 + RANDOM.integers(0, 2**60, 100) // 128 * 128)
LOST = {
    "double precision": IDS.astype(float),
    "single precision": np.arange(20_000_000, 20_000_400, 4).astype(np.float32),
    "integers again": IDS.astype(float).astype(np.int64),
    "text of a spreadsheet": np.array([f"{n:.5E}" for n in (IDS - IDS[0]) * 1000 + IDS]),
    "text of pandas": np.array([f"{float(n):.1f}" for n in IDS]),
    "with gaps": MaskedColumn(IDS.astype(float), mask=np.arange(len(IDS)) < 50),
}
KEPT = {
    "integers": IDS,
    "small floats": np.arange(100.0),
    "small integers": np.arange(100) + 10**17 * 8,
    "of Gaia, below 2^60": np.unique(RANDOM.integers(0, 2**60, 100) // 128 * 128),
    "text": np.array([f"Gaia DR3 {n}" for n in IDS]),
    "names with an E": np.array([f"1E{n}x" for n in range(100)]),
}


@pytest.mark.parametrize("ids", LOST.values(), ids=LOST)
def test_identifiers_that_lost_their_digits_are_said(ids, caplog):
    check_ids(
        Table({"source_id": np.ma.unique(ids) if not isinstance(ids, MaskedColumn) else ids}), "source_id", "t.csv"
    )
    assert "'source_id'" in caplog.text
    assert "the last digits of identifiers are lost" in caplog.text


@pytest.mark.parametrize("ids", KEPT.values(), ids=KEPT)
def test_identifiers_with_their_digits_are_not(ids, caplog):
    check_ids(Table({"source_id": ids}), "source_id", "t.csv")
    assert caplog.text == ""


NAMES = [
    "source_id",
    "SOURCE_ID",
    "Source",
    "gaia_source_id",
    "dr3_source_id",
    "GaiaDR3",
    "TARGETID",
    "objID",
    "sdss_id",
    "DR3Name",
    "uniquePspsOBid",
    "source_id_1",
]


@pytest.mark.parametrize("name", NAMES)
def test_copies_are_found_whatever_the_identifier_is_called(name):
    assert identifier(["ra", "dec", name, "pmra"]) == name
    with pytest.raises(InputError, match=rf"'{name}' has 2 rows that share an identifier, e.g. 7 in rows 0 and 2"):
        check_ids(Table({name: [7, 8, 7]}), name, "t.fits")


def test_a_column_that_names_the_catalogue_is_no_identifier():
    check_ids(Table({"source": ["Gaia", "Gaia"]}), "source", "t.fits")


# Errors ---------------------------------------------------------------------------------------------------------------

TWO = ["phi2", "parallax"]
SWAPPED = {
    "in another order": ["parallax_err", "phi2_err"],
    "by coordinate": {"phi2": "parallax_err"},
    "as an archive calls it": ["phi2_err", "phi2_error"],
    "as VizieR calls it": {"parallax": "e_phi2"},
}
PARAMS = {name: {"mu": (-1, 1), "ln-sigma": (-3, 0)} for name in TWO}


@pytest.mark.parametrize("errors", SWAPPED.values(), ids=SWAPPED)
def test_an_error_of_another_coordinate_is_refused(errors):
    with pytest.raises(InputError, match="are errors of other coordinates"):
        sml.builtin.TruncatedNormal(
            coord_names=TWO,
            coord_err_names=errors,
            coord_bounds={"phi2": (-1, 1), "parallax": (0, 1)},
            net=Constant(4),
            params=sml.params.ModelParameters(PARAMS),
        )


def test_an_error_of_a_coordinate_of_another_part_is_refused():
    one = normal(sml.builtin.Normal, net=Constant(2), coord_err_names=["parallax_err"])
    other = sml.builtin.Uniform(coord_names=["parallax"], coord_bounds={"parallax": (0, 1)})
    stars = Data({name: torch.zeros(2) for name in ("phi1", "phi2", "parallax", "parallax_err")})
    check_columns(one, stars)  # where parallax is no coordinate, its error may be used on purpose
    with pytest.raises(InputError, match="takes 'parallax_err', the error of 'parallax', for that of 'phi2'"):
        check_columns(sml.IndependentModels({"a": one, "b": other}), stars)


def test_the_error_of_a_motion_serves_the_motion_freed_of_the_sun():
    kind = {"coord_names": ["pm_phi1_reflex"], "coord_err_names": ["pm_phi1_err"], "net": Constant(2)}
    one = sml.builtin.Normal(params=sml.params.ModelParameters({"pm_phi1_reflex": PARAMS["phi2"]}), **kind)
    other = sml.builtin.Uniform(coord_names=["pm_phi1"], coord_bounds={"pm_phi1": (-9, 9)})
    stars = Data({name: torch.zeros(2) for name in ("phi1", "pm_phi1", "pm_phi1_reflex", "pm_phi1_err")})
    check_columns(sml.IndependentModels({"a": one, "b": other}), stars)


# Places ---------------------------------------------------------------------------------------------------------------


def said_of(phi1, caplog, guides=(-20.0, 0.0, 20.0)):
    guide = ControlRegions("phi2.mu", guides, [0.0] * len(guides), 0.5)
    bounds = {"coord_bounds": WINDOW, "priors": (guide,)}
    model = mixture("stream", stream=lambda: normal(sml.builtin.TruncatedNormal, net=Constant(2), **bounds))
    caplog.clear()
    warn_of_places(model, Data({"phi1": torch.as_tensor(phi1), "phi2": torch.zeros(len(phi1))}))
    return caplog.text


def test_guides_and_gaps_are_said_before_a_fit(caplog):
    phi1 = torch.linspace(-20, 20, 81)
    assert said_of(phi1, caplog) == ""
    turned = said_of(phi1 % 360, caplog)
    assert "phi1 has a gap of 320 deg, from 20.0 to 340.0" in turned
    assert (
        "1 of 3 guides of phi2.mu lie where the table, with phi1 from 0.0 to 359.5, has no stars: at phi1 = -20"
        in turned
    )
    across = (phi1 + 180 + 180) % 360 - 180  # a stream across +-180
    assert "phi1 has a gap of 320 deg, from -160.0 to 160.0" in said_of(across, caplog, guides=(-170.0, 170.0))
    assert said_of(phi1 * 0.3, caplog).count("guides") == 1
    assert "gap" not in said_of(torch.cat([phi1 - 90, phi1 + 90]), caplog)  # two fields


# Isochrones -----------------------------------------------------------------------------------------------------------

MIST = "# EEP isochrone_age_yr initial_mass star_mass log_Teff log_g log_L PS_g PS_r phase\n"


def mist(path, *ages):
    """Isochrones whose lowest mass tells their age: 0.4 less 0.01 a later one."""
    eeps = [*range(250, 605, 20), 605, 631, 707]
    text = "# MIST version number  = 1.2\n"
    for k, age in enumerate(ages):
        rows = (
            f"{eep} {age * 1e9:.8g} {0.4 - 0.01 * k + 0.02 * i:.6f} 0.5 3.7 4.5 0 {10 - i / 2:.4f} {9.6 - i / 2:.4f} 0"
            for i, eep in enumerate(eeps)
        )
        text += MIST + "\n".join(rows) + "\n\n\n"
    path.write_text(text)
    return path


@pytest.mark.parametrize("ages", [(13.0, 13.1), (13.0, 13.01), (12.0, 13.0, 13.001)])
def test_of_close_ages_the_one_that_was_asked_for_is_read(ages, tmp_path, caplog):
    path = mist(tmp_path / "m.iso.cmd", *ages)
    for k, age in enumerate(ages):
        curve = Isochrone.read_mist(path, ("PS_g", "PS_r"), age=age)
        assert curve.mass[0].item() == pytest.approx(0.4 - 0.01 * k)
    assert caplog.text == ""


def test_the_nearest_age_is_said_to_be(tmp_path, caplog):
    path = mist(tmp_path / "m.iso.cmd", 13.0)
    Isochrone.read_mist(path, ("PS_g", "PS_r"), age=13.1)
    assert "of age 13 Gyr, the nearest to 13.1 Gyr" in caplog.text


PARSEC = "# File generated by CMD 3.8\n# Zini MH logAge Mini int_IMF Mass logL logTe logg label mbolmag Gmag\n"


@pytest.mark.parametrize("empty", [[5], [0], [4, 5, 6]])
def test_sections_of_parsec_without_stars_are_left_out(empty, tmp_path):
    path = tmp_path / "p.dat"
    row = "0.0005 -1.5 10.1 {m:.4f} 1.0 {m:.4f} {L} 3.7 4.5 {label} {G} {G}\n"
    rows = [{"m": 0.1 + 0.07 * i, "L": 0.0, "label": 1, "G": 12.0 - i} for i in range(10)]
    for i in empty:
        rows[i] |= {"L": -9.999, "G": 32.0}
    path.write_text(PARSEC + "".join(row.format(**one) for one in rows))
    found = Isochrone.read_parsec(path, ("Gmag",)).magnitudes[:, 0].tolist()
    assert found == [12.0 - i for i in range(10) if i not in empty]


# Frames and units -----------------------------------------------------------------------------------------------------

FRAMES = {
    "hours": {"pole": [34.5, 29.7], "ra0": 48000},
    "a pole in seconds": {"pole": [45000, 29.7], "ra0": 1.0},
    "text": {"pole": [34.5, 29.7], "ra0": "13:20:00"},
    "a yes": {"pole": [34.5, 29.7], "ra0": True},
    "NaN": {"pole": [34.5, 29.7], "ra0": float("nan")},
    "a number": {"pole": 3, "ra0": 1.0},
    "one endpoint": {"endpoints": [[1, 2]]},
    "endpoints of numbers": {"endpoints": [1, 2]},
    "a matrix of text": {"matrix": "x"},
    "a ragged matrix": {"matrix": [[1, 2], [3]]},
    "nothing": None,
    "a list": [1, 2],
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_a_frame_that_is_none_is_refused(frame):
    with pytest.raises(InputError, match=r"^frame|no place on the sky"):
        SkyFrame(frame).metadata()


def test_a_magnitude_is_not_in_dex():
    with pytest.raises(InputError, match=r"'g'.* has unit 'dex', and is a magnitude"):
        to_data(Table({"g": Column([18.0], unit="dex")}), ["g"])
