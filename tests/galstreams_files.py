"""Files as galstreams writes them, of a stream that is made up, and where the real ones are."""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import ICRS, SkyCoord, SkyOffsetFrame
from astropy.table import QTable

FRAME = SkyOffsetFrame(origin=ICRS(150 * u.deg, 25 * u.deg), rotation=35 * u.deg)
UNITS = {"distance": u.kpc, "pm_ra_cosdec": u.mas / u.yr, "pm_dec": u.mas / u.yr, "radial_velocity": u.km / u.s}


def phi2(phi1):
    return 0.4 - (np.asarray(phi1) - 3) ** 2 / 700


def truth(phi1):
    """Every coordinate of the stream at phi1."""
    phi1 = np.asarray(phi1, dtype=float)
    distance = 9 + phi1 / 20
    motion = {"pm_phi1": -5 + 0.03 * phi1, "pm_phi2": 1 - 0.02 * phi1}
    return {"phi2": phi2(phi1), **motion, "distance": distance, "radial_velocity": -80 + 2 * phi1}


def points(phi1):
    """The stream on the sky, turned there by astropy."""
    true = truth(phi1)
    frame = SkyCoord(
        phi1 * u.deg,
        true["phi2"] * u.deg,
        distance=true["distance"] * u.kpc,
        pm_lon_coslat=true["pm_phi1"] * u.mas / u.yr,
        pm_lat=true["pm_phi2"] * u.mas / u.yr,
        radial_velocity=true["radial_velocity"] * u.km / u.s,
        frame=FRAME,
    )
    sky = frame.transform_to("icrs")
    return {name: getattr(sky, name) for name in ("ra", "dec", *UNITS)}


def pole(sign=1):
    return SkyCoord(0 * u.deg, sign * 90 * u.deg, frame=FRAME).icrs


def write_track(folder, name, phi1, flags, widths=(0.0, 0.0, 0.0), sign=1, **other):
    """Write a track and its summary into ``folder/tracks``; ``sign`` -1 turns its own frame around."""
    tracks = folder / "tracks"
    tracks.mkdir(exist_ok=True)
    columns = {name: column if hasattr(column, "unit") else column * UNITS[name] for name, column in other.items()}
    QTable({**points(phi1), **columns}).write(tracks / f"track.{name}.ecsv")
    summary = QTable({"StreamName": [name], "InfoFlags": [flags]})
    places = {"mid": FRAME.origin, "pole": pole(sign)}
    for key, place in places.items():
        summary[f"{key}.ra"], summary[f"{key}.dec"] = [place.ra.deg] * u.deg, [place.dec.deg] * u.deg
    names = {"phi2": u.deg, "pm_phi1_cosphi2": u.mas / u.yr, "pm_phi2": u.mas / u.yr}
    for (key, unit), width in zip(names.items(), widths, strict=True):
        summary[f"width_{key}"] = [width] * unit
    summary.write(tracks / f"track.{name}.summary.ecsv")
    return str(tracks)


def write_log(folder, rows):
    """Write the list of tracks: (Imp, On, TrackName, Name, TrackRefs) and a width in phi2 each."""
    (folder / "lib").mkdir(exist_ok=True)
    tail = "0 {} ref -9.0 ref -9.0 ref -9.0 ref 0.0 ref comment"
    lines = [" ".join([*map(str, row[:5]), row[4].title(), "-", tail.format(row[5])]) for row in rows]
    (folder / "lib" / "master_log.txt").write_text("# Imp On TrackName Name ...\n" + "\n".join(lines) + "\n")


def real_tracks():
    """Folder of galstreams' own tracks; skips the test where there is none."""
    folder = os.environ.get("GALSTREAMS_TRACKS")
    spec = find_spec("galstreams")
    if folder is None and spec is not None and spec.submodule_search_locations:
        folder = str(Path(spec.submodule_search_locations[0]) / "tracks")
    if folder is None or not Path(folder).is_dir():
        pytest.skip("needs the files of galstreams: install it, or set GALSTREAMS_TRACKS to the folder of its tracks")
    return folder


def thin_stream(folder):
    """A folder of galstreams with one stream, Thin, 40 deg long and 0.15 deg wide; the path of its tracks."""
    write_track(folder, "st.Thin.me2020", np.linspace(-20, 20, 161), "1111")
    write_log(folder, [("st", 1, "Thin-M20", "Thin", "me2020", 0.15)])
    return str(folder / "tracks")
