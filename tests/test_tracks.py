"""Tracks: read from files of several kinds, in any frame, and what is guided by them."""

import json

import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.coordinates import Distance, Latitude, Longitude, SkyCoord
from astropy.table import QTable, Table

from stream_mapper import Track
from stream_mapper.builtin import TruncatedNormal
from stream_mapper.catalog import SkyFrame, read_track
from stream_mapper.catalog.sky.galstreams import stream_track
from stream_mapper.description import build, describe
from stream_mapper.errors import InputError
from stream_mapper.nn import sequential
from stream_mapper.params import ModelParameters
from stream_mapper.prior import ControlRegions
from stream_mapper.training.start import start_from_guides
from stream_mapper.utils import StandardScaler

FRAME = "gala.coordinates.GD1Koposov10"
PLACES = np.linspace(-60, -20, 81)


def phi2(phi1):
    return 0.3 - (np.asarray(phi1) + 40) ** 2 / 900


def distance(phi1):
    return 8 + (np.asarray(phi1) + 40) / 50


def on_the_sky(rv=None):
    """A made-up track, turned to the sky by astropy and gala themselves."""
    coordinates = pytest.importorskip("gala.coordinates")
    track = coordinates.GD1Koposov10(
        phi1=PLACES * u.deg,
        phi2=phi2(PLACES) * u.deg,
        distance=distance(PLACES) * u.kpc,
        pm_phi1_cosphi2=(-13 + 0.01 * PLACES) * u.mas / u.yr,
        pm_phi2=(-3 + 0.02 * PLACES) * u.mas / u.yr,
        radial_velocity=np.zeros(81) * u.km / u.s,
    )
    sky = SkyCoord(track).transform_to("icrs")
    return {
        "ra": Longitude(sky.ra),
        "dec": Latitude(sky.dec),
        "distance": Distance(sky.distance),
        "pm_ra_cosdec": sky.pm_ra_cosdec,
        "pm_dec": sky.pm_dec,
        "radial_velocity": np.full(81, 0.0 if rv is None else rv) * u.km / u.s,
    }


PLACES_OF_FRAME = {"mid.ra": 150.0, "mid.dec": 35.0, "pole.ra": 34.6, "pole.dec": 29.7}
MIDDLE_AND_POLE = {name: [place] * u.deg for name, place in PLACES_OF_FRAME.items()}


@pytest.fixture
def tracks(tmp_path):
    """A folder as that of galstreams: two tracks of one stream, of which one knows little, and one of another."""

    def write(name, columns, flags):
        QTable(columns).write(tmp_path / f"track.st.{name}.ecsv")
        summary = QTable({"StreamName": [name.split(".")[0]], "InfoFlags": [flags], **MIDDLE_AND_POLE})
        summary.write(tmp_path / f"track.st.{name}.summary.ecsv")

    full = on_the_sky(rv=-50.0)
    write("Made-1.me2024", full, "1111")
    write("Made-1.you2020", {**on_the_sky(), "pm_dec": 0 * full["pm_dec"], "pm_ra_cosdec": 0 * full["pm_dec"]}, "1100")
    write("Other.me2024", {**on_the_sky(), "distance": np.ones(81) * u.kpc}, "1111")
    return str(tmp_path)


@pytest.mark.parametrize("name", ["Made-1.me2024", "track.st.Made-1.me2024", "track.st.Made-1.me2024.ecsv"])
@pytest.mark.parametrize("frame", [FRAME, SkyFrame(FRAME)], ids=["name", "frame"])
def test_a_track_of_galstreams_is_turned_into_the_frame(tracks, name, frame):
    name = name if not name.endswith(".ecsv") else f"{tracks}/{name}"
    track = read_track(name, frame, tracks=tracks, phi1=(-55, -25.5), spacing=10)
    x = np.array([-55, -45, -35, -25.5])
    expected = {
        "phi2": phi2(x),
        "pm_phi1": -13 + 0.01 * x,
        "pm_phi2": -3 + 0.02 * x,
        "distance": distance(x),
        "distmod": 5 * np.log10(distance(x)) + 10,
        "parallax": 1 / distance(x),
        "radial_velocity": np.full(4, -50.0),
    }
    assert track.phi1 == pytest.approx(x, abs=1e-7)
    assert set(track.coordinates) == set(expected)
    for quantity, values in expected.items():
        assert track.values(quantity) == pytest.approx(values, abs=1e-4), quantity  # linear between the file's points


def test_what_a_track_does_not_know_is_left_out(tracks, caplog):
    caplog.set_level("INFO", "stream_mapper")
    path = f"{tracks}/track.st.Made-1.you2020.ecsv"
    assert {"phi2", "distance"} <= set(found := read_track(path, FRAME).coordinates)
    assert {"pm_phi1", "radial_velocity"} <= set(
        read_track("Made-1.you2020", FRAME, tracks=tracks).coordinates
    )  # from the other
    assert not {"pm_phi1", "pm_phi2", "radial_velocity"} & set(found)
    assert "has no track in ['pm_dec', 'pm_ra_cosdec', 'radial_velocity']: left out" in caplog.text
    assert not {"distance", "radial_velocity"} & set(
        read_track("Other", FRAME, tracks=tracks).coordinates
    )  # the one of its stream


NOT_KNOWN = {  # columns that differ from a full track, InfoFlags, and what the track then does not know
    "all is known": ({}, "1111", set()),
    "known, but not as a track": ({}, "0222", set()),
    "flagged off": ({}, "1000", {"pm"}),  # the distance and the velocity of -50 km/s everywhere are means
    "flags as a number": ({}, 10, set()),
    "velocity of 0": ({"radial_velocity": np.zeros(81) * u.km / u.s}, "1111", {"radial_velocity"}),
    "velocity of 1000": ({"radial_velocity": np.full(81, 1000.0) * u.km / u.s}, "1111", {"radial_velocity"}),
    "no velocity measured": ({"radial_velocity": np.full(81, np.nan) * u.km / u.s}, "1111", {"radial_velocity"}),
    "no motion": ({name: np.zeros(81) * u.mas / u.yr for name in ("pm_ra_cosdec", "pm_dec")}, "1111", {"pm"}),
    "no motion in one direction": ({"pm_dec": np.zeros(81) * u.mas / u.yr}, "1111", set()),
    "about 1 kpc": ({"distance": (1 + 1e-7 * np.sin(PLACES)) * u.kpc}, "1111", {"distance"}),
    "1000 pc": ({"distance": np.full(81, 1000.0) * u.pc}, "1111", {"distance"}),
}


@pytest.mark.parametrize(("other", "flags", "lost"), NOT_KNOWN.values(), ids=NOT_KNOWN)
def test_frames_and_guides_agree_on_what_a_track_knows(other, flags, lost, tmp_path):
    QTable({**on_the_sky(rv=-50.0), **other}).write(tmp_path / "track.st.Made.me2024.ecsv")
    summary = QTable({"InfoFlags": [flags], **MIDDLE_AND_POLE})
    summary["width_phi2"] = [0.3] * u.deg
    summary.write(tmp_path / "track.st.Made.me2024.summary.ecsv")
    left = {"distance", "pm", "radial_velocity"} - lost
    points = stream_track("Made", tmp_path).points
    names = {"pmra": "pm", "pmdec": "pm"}
    assert {names.get(name, name) for name in points} == {"ra", "dec"} | left
    track = read_track("Made", FRAME, tracks=str(tmp_path))
    names = {"pm_phi1": "pm", "pm_phi2": "pm", "distmod": "distance", "parallax": "distance"}
    assert {names.get(name, name) for name in track.coordinates} == {"phi2"} | left
    assert set(track.widths) == set(track.coordinates)
    assert track.half_width("phi2") == pytest.approx([0.6] * len(track.phi1))


def test_a_table_along_the_stream_has_units_and_widths(tmp_path):
    table = QTable(
        {"phi1": [10.0, 0.0, -10.0] * u.deg, "phi2": [60.0, 0.0, 30.0] * u.arcmin, "distmod": [14.0, 15.0, 16.0]}
    )
    table["phi2_width"] = [12.0, 6.0, 6.0] * u.arcmin
    table.write(tmp_path / "track.ecsv")
    track = read_track(str(tmp_path / "track.ecsv"), spacing=7.5)
    assert track.phi1 == pytest.approx([-10, -2.5, 5, 10])
    assert track.values("phi2") == pytest.approx([0.5, 0.125, 0.5, 1.0])
    assert track.half_width("phi2") == pytest.approx([0.1, 0.1, 0.15, 0.2])
    assert track.values("distance") == pytest.approx(
        np.interp(track.phi1, [-10, 0, 10], 10 ** (np.array([16, 15, 14]) / 5 - 2))
    )
    Table({"phi1": [0.0, 4.0], "pm_phi1_cosphi2": [1.0, 3.0]}).write(tmp_path / "track.csv")
    assert read_track(str(tmp_path / "track.csv"), spacing=2).coordinates == {"pm_phi1": [1.0, 2.0, 3.0]}


def table(**columns):
    return Table(columns)


RING = {"ra": np.linspace(0, 350, 36), "dec": np.zeros(36)}
BAD = {
    "galstreams is not installed": (None, {"source": "GD-1.ibata2021"}),
    "nowhere is no folder": (None, {"source": "GD-1", "tracks": "nowhere"}),
    "several tracks of .* give one of .*me2024.*you2020": (None, {"source": "Made-1", "tracks": "here"}),
    "no track .Pal5.; there are": (None, {"source": "Pal5", "tracks": "here"}),
    "does not exist": (None, {"source": "gone.ecsv"}),
    "ra.*: give the frame of the stream": (RING, {}),
    "a track needs phi1, or ra and dec": ({"x": [1.0]}, {}),
    "turns back in phi1, or crosses 180 deg": (RING, {"frame": FRAME}),
    "it runs from 0 to 4 deg": ({"phi1": [0.0, 4.0], "phi2": [1.0, 2.0]}, {"phi1": (50, 60)}),
    "the spacing of a track must be": ({"phi1": [0.0, 4.0], "phi2": [1.0, 2.0]}, {"spacing": 0}),
    "one coordinate or more": ({"phi1": [0.0, 4.0]}, {}),
    "phi1.*one number a star": ({"phi1": ["a", "b"], "phi2": [1.0, 2.0]}, {}),
}


@pytest.mark.parametrize(("message", "case"), BAD.items(), ids=BAD)
def test_a_track_that_cannot_be_used_is_refused(message, case, tracks, tmp_path):
    columns, options = case
    options = {**options, **({"tracks": tracks} if options.get("tracks") == "here" else {})}
    if columns is not None:
        Table(columns).write(tmp_path / "bad.ecsv")
        options["source"] = str(tmp_path / "bad.ecsv")
    with pytest.raises(InputError, match=message):
        read_track(**options)


def test_guides_along_a_track_are_those_of_its_numbers():
    track = Track([-10, 0, 10], {"pm_phi1": [1, 2, 3], "distmod": [14, 15, 16]}, {"pm_phi1": [0.1, 0.2, 0.3]})
    made = ControlRegions.along("stream.astrometric.pm_phi1.mu", track, lamda=7)
    same = ControlRegions("stream.astrometric.pm_phi1.mu", [-10, 0, 10], [1, 2, 3], [0.1, 0.2, 0.3], lamda=7)
    for name, buffer in same.named_buffers():
        assert torch.equal(getattr(made, name), buffer), name
    assert (made.param, made.lamda, made.coord) == (same.param, same.lamda, same.coord)
    assert ControlRegions.along("x.mu", track, 0.1, quantity="distmod").center.tolist() == [14, 15, 16]
    with pytest.raises(InputError, match="the track has no 'phi2'; it has"):
        ControlRegions.along("phi2.mu", track, 0.1)
    with pytest.raises(InputError, match="no widths of 'distmod'; give a width"):
        ControlRegions.along("distmod.mu", track)


def test_a_fit_starts_from_the_track(tracks):
    track = read_track("Made-1.me2024", FRAME, tracks=tracks, spacing=5)
    model = TruncatedNormal(
        coord_names=["phi2"],
        coord_bounds={"phi2": (-5, 5)},
        net=sequential(data=1, hidden_features=16, layers=3, features=2),
        data_scaler=StandardScaler(["phi1"], [-40.0], [12.0]),
        params=ModelParameters({"phi2": {"mu": (-5, 5), "ln-sigma": (-3, 0)}}),
        priors=[ControlRegions.along("phi2.mu", track, width=0.2)],
    )
    start_from_guides(model)
    assert model.priors[0].offsets(model).abs().max() < 0.5


def test_checkpoints_hold_the_numbers_of_a_track(tracks):
    expected = read_track("Made-1.me2024", FRAME, tracks=tracks, spacing=10, phi1=(-60, -20))
    guide = ControlRegions.along("phi2.mu", expected, width=0.2)
    kept = describe({"guide": guide, "track": expected})
    assert json.loads(json.dumps(kept)) == kept
    assert kept["track"]["class_path"] == "stream_mapper.Track"
    again = build(kept)["track"]
    assert (again.phi1, again.coordinates, again.widths) == (expected.phi1, expected.coordinates, expected.widths)
    assert torch.equal(build(kept)["guide"].center, guide.center)
