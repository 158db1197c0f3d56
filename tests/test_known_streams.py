"""What is known of a stream: names, one track a stream, what it lacks from others, and what cannot be believed."""

import re

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from galstreams_files import FRAME, phi2, points, pole, real_tracks, truth, write_log, write_track

from stream_mapper.catalog import SkyFrame, read_track
from stream_mapper.catalog.sky.galstreams import judge, stream_track
from stream_mapper.catalog.sky.library import Library
from stream_mapper.catalog.sky.places import resampled
from stream_mapper.catalog.sky.streams import WIDE, known_stream
from stream_mapper.errors import InputError
from stream_mapper.track import HALF_WIDTHS

LONG, SHORT = np.linspace(-30, 30, 241), np.linspace(20, -12, 129)
NOTHING = {"distance": 1.0, "pm_ra_cosdec": 0.0, "pm_dec": 0.0, "radial_velocity": 0.0}


def nothing(size, **other):
    """Columns that know nothing, but for some."""
    return {name: np.full(size, value) for name, value in (NOTHING | other).items()}


@pytest.fixture
def tracks(tmp_path):
    """Pal 9 with a track that is chosen and knows the position alone, and one that runs the other way and knows all."""
    write_track(tmp_path, "st.Pal9.first2020", LONG, "1000", **nothing(241))
    write_track(tmp_path, "st.Pal9.second2024", SHORT, "1111", (0.12, 0.3, 0.0), sign=-1)
    write_track(tmp_path, "st.M9-Gjallar.me2021", LONG, "1000", **nothing(241, distance=8.5))
    write_track(tmp_path, "st.Two.one2021", LONG, "1100")
    write_track(tmp_path, "st.Two.other2021", LONG, "1100")
    write_log(
        tmp_path,
        [
            ("st", 0, "Pal9-S24", "Pal9", "second2024", -1.0),
            ("st", 1, "Pal9-F20", "Pal9", "first2020", -9.0),
            ("st", 0, "Gjallar-M21", "M9-Gjallar", "me2021", 0.4),
            ("st", 0, "Two-1", "Two", "one2021", -9.0),
            ("st", 0, "Two-2", "Two", "other2021", -9.0),
        ],
    )
    return str(tmp_path / "tracks")


MEANT = {
    "Pal9-F20": ["Pal9", "pal 9", "PAL-9", "pal9-f20", "track.st.Pal9.first2020", "Pal9.first2020"],
    "Pal9-S24": ["Pal9-S24", "pal9.second2024", "track.st.Pal9.second2024.ecsv"],
    "Gjallar-M21": ["M9-Gjallar", "gjallar", "m9gjallar", "Gjallar M21"],
}


@pytest.mark.parametrize(("short", "name"), [(short, name) for short, names in MEANT.items() for name in names])
def test_names_are_forgiven(short, name, tracks):
    assert Library(tracks).find(name).short == short


ASKED = {
    "two": r"several tracks of 'two'; give one of Two-1, Two-2\.$",
    "palomar 9": r"no track 'palomar 9'; there are Pal9",
    "pal": r"no track 'pal'; there are Pal9-F20, Pal9-S24, track\.st\.Pal9\.first2020",
    "M9-": r"no track 'M9-'",
    "Gjalarr": r"no track 'Gjalarr'; there are M9-Gjallar\.$",
    "": r"no track ''",
}


@pytest.mark.parametrize(("name", "message"), ASKED.items())
def test_what_is_not_one_track_asks(name, message, tracks):
    with pytest.raises(InputError, match=message) as error:
        Library(tracks).find(name)
    assert "\n" not in str(error.value)


def test_what_a_track_lacks_comes_from_another_of_its_stream(tracks):
    stream = known_stream("pal9", tracks=tracks, spacing=2)
    assert (stream.name, stream.stream) == ("track.st.Pal9.first2020", "Pal9")
    assert {name: source.track[-10:] for name, source in stream.sources.items()} == dict.fromkeys(
        ("distance", "motion", "velocity"), "second2024"
    )
    x = np.array(stream.track.phi1)
    assert x == pytest.approx(np.linspace(-30, 30, 31))
    true = truth(np.clip(x, -12, 20)) | {"phi2": phi2(x)}  # constant beyond the ends of the other track
    for name, values in true.items():
        assert stream.track.values(name) == pytest.approx(values, abs=2e-4), name
    assert stream.track.values("distmod") == pytest.approx(5 * np.log10(true["distance"]) + 10, abs=1e-4)
    assert "the motion is the track of track.st.Pal9.second2024" in stream.notes


def test_it_is_rotated_into_any_frame(tracks):
    axes = SkyCoord([0, 90, 0] * u.deg, [0, 0, 90] * u.deg, frame=FRAME).icrs.cartesian.xyz.value.T
    turned = SkyFrame({"matrix": axes * [[-1], [1], [-1]]})  # phi1 grows the other way, from 180 deg on
    with pytest.raises(
        InputError, match="crosses 180 deg; choose a frame in which it does not, or give phi1 of a part"
    ):
        known_stream("pal9", turned, tracks=tracks)
    track = read_track("pal9", turned, tracks=tracks, phi1=(165, 175), spacing=5)
    x = np.array([15.0, 10, 5])
    assert track.phi1 == pytest.approx(180 - x)
    expected = {
        name: sign * truth(x)[name]
        for name, sign in {"phi2": -1, "pm_phi1": -1, "pm_phi2": -1, "radial_velocity": 1}.items()
    }
    for name, values in expected.items():
        assert track.values(name) == pytest.approx(values, abs=2e-4), name


def test_half_widths_are_those_of_the_stream_and_wide_where_little_is_known(tracks):
    track = known_stream("pal9", tracks=tracks, phi1=(0, 30), spacing=10).track
    assert set(track.widths) == set(track.coordinates)
    assert track.half_width("phi2") == pytest.approx([0.3] * 4)  # twice 0.12 is less than tracks differ by
    assert track.half_width("pm_phi1") == pytest.approx([0.6, 0.6, 0.6, WIDE["pm_phi1"]])  # which ends at 20 deg
    assert track.half_width("pm_phi2") == pytest.approx([HALF_WIDTHS["pm_phi2"]] * 3 + [WIDE["pm_phi2"]])
    assert track.half_width("distmod") == pytest.approx([0.3, 0.3, 0.3, 0.75])
    distance = truth([0, 10, 20])["distance"]
    assert track.half_width("distance")[:3] == pytest.approx(distance * (10**0.06 - 1), rel=1e-4)
    assert track.half_width("parallax")[:3] == pytest.approx((10**0.06 - 1) / distance, rel=1e-4)


def test_a_mean_distance_is_a_wide_guide(tracks):
    stream = known_stream("Gjallar", tracks=tracks, spacing=30)
    assert stream.track.values("distance") == pytest.approx([8.5] * 3)
    assert stream.track.half_width("distmod") == pytest.approx([WIDE["distmod"]] * 3)
    assert stream.track.half_width("phi2") == pytest.approx([0.8] * 3)  # of the literature
    assert stream.sources["distance"].is_mean
    assert "no track of the stream knows its motion" in stream.notes
    assert set(stream.track.coordinates) == {"phi2", "distance", "distmod", "parallax"}


def test_a_track_is_better_than_a_mean(tmp_path):
    write_track(tmp_path, "st.A.mean2020", LONG, "1000", distance=np.full(241, 12.0))
    folder = write_track(tmp_path, "st.A.track2024", LONG, "1111")
    stream = known_stream("A.mean2020", tracks=folder, spacing=20)
    assert stream.sources["distance"] == ("track.st.A.track2024", False)
    assert stream.track.values("distance") == pytest.approx(truth(stream.track.phi1)["distance"], rel=1e-4)


def test_a_track_elsewhere_knows_nothing_here(tmp_path):
    write_track(tmp_path, "st.A.here2020", np.linspace(-30, -10, 81), "1000", **nothing(81))
    folder = write_track(tmp_path, "st.A.there2024", np.linspace(0, 30, 81), "1111")
    assert not known_stream("A.here2020", tracks=folder).sources


ABSURD = {
    "distance": ({"distance": np.linspace(2e-4, 9, 241)}, r"distance from 0\.0002 to 9 kpc cannot be believed"),
    "velocity": (
        {"radial_velocity": np.linspace(-9e4, 300, 241)},
        r"radial_velocity from -9e\+04 to 300 km/s cannot",
    ),
    "motion": ({"pm_dec": np.linspace(-5, 900, 241)}, r"pmdec from -5 to 900 mas/yr cannot be believed"),
}


@pytest.mark.parametrize(("other", "message"), ABSURD.values(), ids=ABSURD)
def test_what_no_stream_can_have_is_refused_with_a_line(other, message, tmp_path, caplog):
    folder = write_track(tmp_path, "st.A.me2020", LONG, "1111", **other)
    caplog.set_level("INFO", "stream_mapper")
    stream = known_stream("A", tracks=folder)
    assert len(stream.sources) == 2
    assert [note for note in stream.notes if "cannot be believed" in note] == [stream.notes[0]]
    assert re.search(message, caplog.text)
    there = write_track(tmp_path, "st.A.you2021", LONG, "1111")
    stream = known_stream("A.me2020", tracks=there)
    assert {source.track for source in stream.sources.values()} == {"track.st.A.me2020", "track.st.A.you2021"}


JUDGED = {  # columns, flags, unknown, means
    "a mean flagged off": ({"radial_velocity": [-189.0] * 3}, "1110", set(), {"radial_velocity"}),
    "a track flagged off": ({"radial_velocity": [-189.0, -180, -185]}, "1110", {"radial_velocity"}, set()),
    "a constant is a mean": ({"distance": [12.0] * 3}, "1111", set(), {"distance"}),
    "distances of the ends": ({"distance": [9.0, 10, 11]}, "1011", set(), {"distance"}),
    "a motion along a meridian": ({"pmra": [0.0] * 3, "pmdec": [1.0, 2, 3]}, "1111", set(), set()),
    "a mean motion": ({"pmra": [0.2] * 3, "pmdec": [-1.6] * 3}, "0020", set(), {"pmra", "pmdec"}),
    "no motion": ({"pmra": [0.0] * 3, "pmdec": [0.0] * 3}, "1111", {"pmra", "pmdec"}, set()),
    "half a motion": ({"pmra": [1.0, 2, 999], "pmdec": [1.0, 2, 3]}, "1111", {"pmra", "pmdec"}, set()),
    "nothing measured": ({"radial_velocity": [np.nan] * 3}, "1111", {"radial_velocity"}, set()),
}


@pytest.mark.parametrize(("columns", "flags", "unknown", "means"), JUDGED.values(), ids=JUDGED)
def test_columns_are_judged_by_flags_and_values(columns, flags, unknown, means):
    verdict = judge({name: np.array(values) for name, values in columns.items()}, flags)
    assert verdict.unknown == unknown
    assert verdict.means == means


def test_the_frame_is_that_of_the_track(tracks):
    matrix = known_stream("pal9", tracks=tracks).frame.orientation.matrix
    places = points(LONG)
    sky = SkyCoord(places["ra"], places["dec"]).transform_to(FRAME)
    vectors = sky.cartesian.xyz.value.T
    assert matrix @ SkyCoord(places["ra"], places["dec"]).cartesian.xyz.value == pytest.approx(vectors.T, abs=1e-12)
    assert matrix[2] == pytest.approx(pole().cartesian.xyz.value, abs=1e-12)


ENDS = {
    "all": (None, np.arange(-20, 21.0)),
    "around": ((-25.0, 10.5), np.append(np.arange(-20, 11.0), 10.5)),
    "a part": ((2.5, 3.5), [2.5, 3.5]),
    "between two points": ((2.2, 2.8), [2.2, 2.8]),
}


@pytest.mark.parametrize(("ends", "places"), ENDS.values(), ids=ENDS)
def test_the_part_that_is_asked_for_is_given(ends, places):
    phi1 = np.arange(20, -21.0, -1)
    track = resampled({"phi1": phi1, "phi2": 2 * phi1}, {}, ends, 1.0, "track")
    assert track.phi1 == pytest.approx(np.asarray(places))
    assert track.values("phi2") == pytest.approx(2 * np.asarray(places))


@pytest.mark.parametrize("ends", [(-178, -172), (172, 178), (150, 180)])
def test_the_wrap_is_looked_for_in_that_part(ends):
    phi1 = np.arange(140, 221.0)
    columns = {"phi1": (phi1 + 180) % 360 - 180, "phi2": phi1 / 10}
    track = resampled(dict(columns), {}, ends, 2.0, "track")
    assert track.values("phi2") == pytest.approx((np.array(track.phi1) % 360) / 10)
    with pytest.raises(InputError, match="crosses 180 deg"):
        resampled(columns, {}, None, 2.0, "track")


def test_the_last_place_has_none_close_to_it():
    """A spacing of four digits, ten of which fall short of the end by less than is written of a place."""
    ends = (3.414843, 44.732214)
    columns = {"phi1": np.linspace(0, 50, 501), "phi2": np.zeros(501)}
    track = resampled(columns, {}, ends, 4.131, "a track")
    assert len(track.phi1) == 11
    assert len({float(f"{place:.4g}") for place in track.phi1}) == 11
    assert (track.phi1[0], track.phi1[-1]) == ends


def test_a_turn_outside_the_part_does_not_matter():
    phi1 = np.concatenate([np.arange(0, 30.0), np.arange(30, 20, -1.0)])
    columns = {"phi1": phi1, "phi2": np.arange(40.0)}
    assert resampled(columns, {}, (0, 15), 5, "track").values("phi2") == pytest.approx([0, 5, 10, 15])
    with pytest.raises(InputError, match="turns back"):
        resampled(columns, {}, (0, 25), 5, "track")
    with pytest.raises(InputError, match=r"no place of the track is in phi1 \(40, 50\); it runs from 0 to 30 deg"):
        resampled(columns, {}, (40, 50), 5, "track")


def test_galstreams_own_tracks():
    library = Library(real_tracks())
    streams = sorted({entry.stream for entry in library.entries})
    chosen = [entry for entry in library.entries if entry.chosen]
    assert len(chosen) >= 0.95 * len(streams)
    assert library.find("pal5").short == "Pal5-PW19"
    for entry in np.random.default_rng(0).choice(np.array(chosen, dtype=object), 8, replace=False):
        stream = known_stream(entry.stream, tracks=library.folder)
        own = stream_track(entry.name, library.folder).points
        assert stream.name == entry.name
        assert set(stream.track.widths) == set(stream.track.coordinates) >= {"phi2"}
        turned = (
            SkyCoord(own["ra"] * u.deg, own["dec"] * u.deg).cartesian.xyz.value.T @ stream.frame.orientation.matrix.T
        )
        lat = np.degrees(np.arcsin(turned[:, 2]))
        assert np.interp(0.0, stream.track.phi1, stream.track.values("phi2")) == pytest.approx(
            lat[np.abs(turned[:, 1] / turned[:, 0]).argmin()], abs=0.3
        )
