"""Frames by track, pole and endpoints; rotated covariances; the motion of the Sun: against gala and by hand."""

import json
import pickle

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table

from stream_mapper.catalog import SkyFrame, load
from stream_mapper.catalog.sky.galstreams import stream_track
from stream_mapper.catalog.sky.orientation import orientation
from stream_mapper.catalog.sky.reflex import Reflex
from stream_mapper.catalog.sky.rotation import rotate, rotate_correlations, rotate_errors
from stream_mapper.description import build, describe
from stream_mapper.errors import InputError

FRAMES = ["GD1Koposov10", "Pal5PriceWhelan18", "OrphanKoposov19"]
POLE, MIDDLE = (34.78577977781821, 29.131333319097116), (148.14590426569234, 35.43732836633419)


def sky(n=400):
    """Stars all over the sky as Gaia has them, with correlations of three quantities."""
    rng = np.random.default_rng(5)
    table = Table({"ra": rng.uniform(0, 360, n), "dec": np.rad2deg(np.arcsin(rng.uniform(-1, 1, n)))})
    for name in ("parallax", "pmra", "pmdec"):
        table[name], table[f"{name}_error"] = rng.normal(0, 5, n), rng.uniform(0.01, 1, n)
    draws = rng.normal(size=(n, 3, 4))
    matrix = np.einsum("nik,njk->nij", draws, draws)
    size = np.sqrt(np.einsum("nii->ni", matrix))
    matrix = matrix / size[:, :, None] / size[:, None, :]
    for i, j, name in ((0, 1, "parallax_pmra_corr"), (0, 2, "parallax_pmdec_corr"), (1, 2, "pmra_pmdec_corr")):
        table[name] = matrix[:, i, j]
    return table


def in_gala(frame, table, pmra, pmdec):
    """phi1, phi2 [deg] and proper motions [mas/yr] by gala and astropy alone."""
    motion = {"pm_ra_cosdec": pmra * u.mas / u.yr, "pm_dec": pmdec * u.mas / u.yr}
    out = SkyCoord(np.asarray(table["ra"]) * u.deg, np.asarray(table["dec"]) * u.deg, **motion).transform_to(frame)
    speed = out.pm_phi1_cosphi2.to_value("mas/yr"), out.pm_phi2.to_value("mas/yr")
    return out.phi1.wrap_at("180d").deg, out.phi2.deg, *speed


@pytest.mark.parametrize("name", FRAMES)
def test_frame_and_covariance_agree_with_gala(name):
    """The covariance is J C J^T, with the rotation J that gala applies to proper motions of 1 mas/yr."""
    gala = pytest.importorskip("gala.coordinates")
    table, frame = sky(), getattr(gala, name)()
    out = SkyFrame(name).add_stream_coordinates(table)
    expected = in_gala(frame, table, np.asarray(table["pmra"]), np.asarray(table["pmdec"]))
    for column, values in zip(("phi1", "phi2", "pm_phi1", "pm_phi2"), expected, strict=True):
        np.testing.assert_allclose(out[column], values, rtol=0, atol=1e-9)
    ones, zeros = np.ones(len(table)), np.zeros(len(table))
    images = (in_gala(frame, table, *pair)[2:] for pair in ((ones, zeros), (zeros, ones)))
    jacobian = np.zeros((len(table), 3, 3))
    jacobian[:, 0, 0] = 1
    for i, image in enumerate(images):
        jacobian[:, 1:, i + 1] = np.stack(image, axis=-1)
    sigma = np.stack([table[f"{n}_error"] for n in ("parallax", "pmra", "pmdec")], axis=-1)
    corr = np.tile(np.eye(3), (len(table), 1, 1))
    for i, j, n in ((0, 1, "parallax_pmra_corr"), (0, 2, "parallax_pmdec_corr"), (1, 2, "pmra_pmdec_corr")):
        corr[:, i, j] = corr[:, j, i] = table[n]
    turned = jacobian @ (corr * sigma[:, :, None] * sigma[:, None, :]) @ jacobian.transpose(0, 2, 1)
    errors = np.stack([sigma[:, 0], out["pm_phi1_err"], out["pm_phi2_err"]], axis=-1)
    names = {(0, 1): "parallax_pm_phi1_corr", (0, 2): "parallax_pm_phi2_corr", (1, 2): "pm_phi1_pm_phi2_corr"}
    for i in range(3):
        np.testing.assert_allclose(errors[:, i] ** 2, turned[:, i, i], atol=1e-9)
    for (i, j), n in names.items():
        np.testing.assert_allclose(out[n] * errors[:, i] * errors[:, j], turned[:, i, j], atol=1e-9)


def test_no_negative_variance_in_a_million():
    """Errors over five decades, correlations up to +-1 and beyond the last digit before it, any direction."""
    rng, n = np.random.default_rng(6), 1_000_000
    sigma = 10 ** rng.uniform(-3, 2, (2, n))
    corr = np.tanh(rng.normal(0, 4, n))
    corr[: n // 10] = rng.choice([-1.0, 1.0, np.nextafter(1, 0), -np.nextafter(1, 0)], n // 10)
    angle = rng.uniform(-np.pi, np.pi, n)
    angle[: n // 20] = np.arctan2(sigma[0, : n // 20], sigma[1, : n // 20])  # where a full correlation cancels
    rotation = np.stack([np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)], -1).reshape(n, 2, 2)
    err1, err2, turned = rotate_errors(rotation, *sigma, corr)
    assert np.isfinite([err1, err2, turned]).all()
    assert min(err1.min(), err2.min()) >= 0
    assert np.abs(turned).max() <= 1
    np.testing.assert_allclose(err1**2 + err2**2, (sigma**2).sum(0), rtol=1e-12)
    determinant = (sigma[0] * sigma[1]) ** 2 * (1 - corr) * (1 + corr)
    assert (np.abs((err1 * err2) ** 2 * (1 - turned**2) - determinant) <= 1e-14 * (sigma**2).sum(0) ** 2).all()
    other = np.tanh(rng.normal(0, 4, n)) * np.sqrt(0.5)
    both = rotate_correlations(rotation, tuple(sigma), (other, -other), (err1, err2))
    assert np.isfinite(both).all()
    assert np.abs(both).max() <= 1


SETTINGS = {
    "pole and ra0": {"pole": [34.6, 29.7], "ra0": 200.0},
    "pole and far ra0": {"pole": [34.6, -29.7], "ra0": 10.0},
    "pole and origin": {"pole": [34.6, 29.7], "origin": [200.0, 59.45]},
    "endpoints": {"endpoints": [[124.0, -8.0], [219.6, 58.2]]},
    "endpoints and ra0": {"endpoints": [[124.0, -8.0], [219.6, 58.2]], "ra0": 150.0},
}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS.keys())
def test_great_circles_agree_with_gala(setting):
    gala = pytest.importorskip("gala.coordinates")
    ra0 = {"ra0": setting["ra0"] * u.deg} if "ra0" in setting else {}
    if "endpoints" in setting:
        ends = [SkyCoord(*place, unit="deg") for place in setting["endpoints"]]
        frame = gala.GreatCircleICRSFrame.from_endpoints(*ends, **ra0)
    elif ra0:
        pole = SkyCoord(*setting["pole"], unit="deg")
        near = SkyCoord(setting["ra0"], 0, unit="deg")
        frame = gala.GreatCircleICRSFrame.from_pole_ra0(pole, **ra0, origin_disambiguate=near)
    else:
        pole, origin = (SkyCoord(*setting[name], unit="deg") for name in ("pole", "origin"))
        with pytest.warns(RuntimeWarning, match="not orthogonal"):
            frame = gala.GreatCircleICRSFrame(pole=pole, origin=origin, priority="pole")
    found = orientation(setting)
    table = sky(50)
    phi1, phi2, *_ = in_gala(frame, table, np.zeros(50), np.zeros(50))
    if "origin" in setting:
        np.testing.assert_allclose(found.matrix[2] @ frame._R[2], 1, rtol=1e-12)
        return
    ours = rotate(found.matrix, np.asarray(table["ra"]), np.asarray(table["dec"]))
    np.testing.assert_allclose(ours[0], phi1, atol=1e-9)
    np.testing.assert_allclose(ours[1], phi2, atol=1e-9)
    if ra0:
        assert found.axis(0)[0] == pytest.approx(setting["ra0"])


def write_track(folder, distance=True, **other):
    """A small track as galstreams writes them, on the great circle of its pole, and the list of names."""
    tracks = folder / "tracks"
    (folder / "lib").mkdir()
    tracks.mkdir()
    ra = np.linspace(130, 170, 9)
    slope = -np.cos(np.deg2rad(ra - POLE[0])) / np.tan(np.deg2rad(POLE[1]))
    track = QTable({"ra": ra * u.deg, "dec": np.rad2deg(np.arctan(slope)) * u.deg})
    track["distance"] = (np.linspace(8, 10, 9) if distance else np.ones(9)) * u.kpc
    for name in ("pm_ra_cosdec", "pm_dec"):
        track[name] = np.linspace(-5, -3, 9) * u.mas / u.yr
    track["radial_velocity"] = np.zeros(9) * u.km / u.s
    summary = QTable({"StreamName": ["GD-9"], "InfoFlags": ["1110"]})
    for name, place in {"mid": MIDDLE, "pole": POLE}.items():
        summary[f"{name}.ra"], summary[f"{name}.dec"] = ([x] * u.deg for x in place)
    for name, value in other.items():
        summary[name] = value
    track.write(tracks / "track.st.GD-9.someone2021.ecsv")
    summary.write(tracks / "track.st.GD-9.someone2021.summary.ecsv")
    text = "# Imp On TrackName Name TrackRefs\n st 1 GD-9-S21 GD-9 someone2021 S2021\n# st 0 Old-S20 Old s2020 -\n"
    (folder / "lib" / "master_log.txt").write_text(text)
    return tracks


def test_frame_of_a_track(tmp_path):
    gala, tracks = pytest.importorskip("gala.coordinates"), write_track(tmp_path)
    pole, middle = (SkyCoord(*place, unit="deg") for place in (POLE, MIDDLE))
    frame = gala.GreatCircleICRSFrame.from_pole_ra0(pole, middle.ra, origin_disambiguate=middle)
    for name in ("GD-9-S21", "track.st.GD-9.someone2021"):
        found = SkyFrame({"track": name, "tracks": str(tracks)})
        np.testing.assert_allclose(found.orientation.matrix, frame._R, atol=1e-12)
        assert found.metadata()["name"] == "track.st.GD-9.someone2021"
    track = stream_track("GD-9-S21", tracks)
    assert set(track.points) == {"ra", "dec", "distance", "pmra", "pmdec"}
    table = Table({name: track.points[name] for name in ("ra", "dec")})
    np.testing.assert_allclose(found.add_stream_coordinates(table)["phi2"], 0, atol=1e-9)


def test_distances_of_a_track(tmp_path):
    tracks = write_track(tmp_path)
    frame = SkyFrame({"track": "GD-9-S21", "tracks": str(tracks)})
    reflex = Reflex({"track": "GD-9-S21", "tracks": str(tracks)})
    points = stream_track("GD-9-S21", tracks).points
    phi1, _, _ = rotate(frame.orientation.matrix, points["ra"], points["dec"])
    np.testing.assert_allclose(reflex.distance_at(frame.orientation, phi1), points["distance"], rtol=1e-12)
    kept = Reflex(**reflex.settings(frame.orientation))
    np.testing.assert_array_equal(kept.distance_at(frame.orientation, phi1), points["distance"])


def test_refused_tracks(tmp_path):
    tracks = write_track(tmp_path, distance=False)
    assert "distance" not in stream_track("GD-9-S21", tracks).points
    frame = {"track": "GD-9-S21", "tracks": str(tracks)}
    with pytest.raises(InputError, match="has no distances; give another, or numbers"):
        SkyFrame(frame, reflex=Reflex(frame)).metadata()
    with pytest.raises(InputError, match=r"no track 'GD-9-X'; there are GD-9-S21, track\.st\.GD-9\.someone2021"):
        SkyFrame({**frame, "track": "GD-9-X"}).metadata()
    (tracks / "track.st.GD-9.someone2021.ecsv").write_text("ra,dec\n")
    with pytest.raises(InputError, match="cannot be read as a track"):
        SkyFrame(frame).metadata()
    with pytest.raises(InputError, match="is no folder; give that of galstreams"):
        SkyFrame({**frame, "track": "GD-1", "tracks": str(tmp_path / "gone" / "tracks")}).metadata()


def test_galstreams_is_not_imported(monkeypatch):
    monkeypatch.setattr("stream_mapper.catalog.sky.library.find_spec", lambda _: None)
    with pytest.raises(InputError, match="galstreams is not installed; pip install galstreams, or give the folder"):
        SkyFrame({"track": "GD-1-I21"}).metadata()


REFUSED = {
    "two ways": ({"pole": [1, 2], "track": "GD-1-I21"}, r"\['pole', 'track'\] of .* is not understood"),
    "no way": ({"ra0": 3}, "not understood; give an import path, or one of track, pole"),
    "misspelt": ({"pole": [1, 2], "ra": 3}, r"\['ra'\] of .* is not understood"),
    "open": ({"pole": [1, 2]}, "a pole alone leaves open where phi1 is zero; give ra0 or origin"),
    "both": ({"pole": [1, 2], "ra0": 3, "origin": [4, 5]}, "ra0 and origin are both given"),
    "at the pole": ({"pole": [1, 2], "origin": [1, 2]}, "the origin is at a pole"),
    "meridian": ({"pole": [90, 0], "ra0": 3}, "runs along a meridian"),
    "one place": ({"endpoints": [[1, 2], [1, 2]]}, "one place, or opposite"),
    "three ends": ({"endpoints": [[1, 2], [3, 4], [5, 6]]}, "give two"),
    "latitude": ({"pole": [1, 92], "ra0": 3}, r"\[1, 92\] is no place on the sky"),
    "matrix": ({"matrix": [[1, 0, 0], [0, 1, 0], [0, 0, 2]]}, "is no rotation"),
    "mirror": ({"matrix": [[1, 0, 0], [0, 1, 0], [0, 0, -1]]}, "is no rotation"),
}


@pytest.mark.parametrize(("setting", "match"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_frames(setting, match):
    with pytest.raises(InputError, match=match) as caught:
        SkyFrame(setting).metadata()
    assert "\n" not in str(caught.value)


WRONG_REFLEX = {
    "distance": ({"distance": 0.0}, "distance must be a number above zero"),
    "order": ({"distance": {"phi1": [0, -1], "distance": [8, 9]}}, "phi1 has to grow"),
    "lengths": ({"distance": {"phi1": [0, 1], "distance": [8]}}, "one distance above zero for each"),
    "names": ({"distance": {"phi1": [0], "dist": [8]}}, r"has \['dist', 'phi1'\]; give a number"),
    "velocity": ({"distance": 8.0, "v_sun": (1.0, 2.0)}, "give numbers, v_sun three"),
    "centre": ({"distance": 8.0, "galcen_distance": -1.0}, "galcen_distance must be"),
}


@pytest.mark.parametrize(("settings", "match"), WRONG_REFLEX.values(), ids=WRONG_REFLEX.keys())
def test_refused_reflex(settings, match):
    with pytest.raises(InputError, match=match):
        Reflex(**settings)


def star(ra, dec, pmra, pmdec):
    return Table({"ra": [ra], "dec": [dec], "pmra": [pmra], "pmdec": [pmdec]})


# Frame, star, distance [kpc]; then pm_phi1, pm_phi2 [mas/yr] by gala.coordinates.reflex_correct, gala 1.11.0 with
# astropy 7.1.1 and numpy 2.2 (with astropy 8 it fails), radial velocity 0, galactocentric_frame_defaults v4.0.
GALA = [
    ("GD1Koposov10", (150.0, 35.0, -5.3, -12.6), 8.0, (-7.416486959108774, -0.7448183024454246)),
    ("GD1Koposov10", (200.0, 58.0, -8.4, -4.0), 10.0, (-5.211660637593687, 0.3375973212536481)),
    ("Pal5PriceWhelan18", (229.02, -0.11, -2.736, -2.646), 21.9, (1.4472433710620702, 0.12622473816516702)),
]


@pytest.mark.parametrize(("name", "place", "distance", "expected"), GALA)
def test_reflex_agrees_with_gala(name, place, distance, expected):
    out = SkyFrame(name, reflex=Reflex(distance)).add_stream_coordinates(star(*place))
    assert (out["pm_phi1_reflex"][0], out["pm_phi2_reflex"][0]) == pytest.approx(expected, abs=5e-8)


def test_reflex_by_hand():
    """Towards the Galactic pole a star at rest moves backwards at v_sun / (4.74047 d); corrected, it stays."""
    frame = SkyFrame({"pole": [266.4051, -28.936175], "origin": [192.85948, 27.12825]}, reflex=Reflex(10.0, z_sun=0.0))
    out = frame.add_stream_coordinates(star(192.85948, 27.12825, 0.0, 0.0))
    # phi2 points to the Galactic centre, phi1 along the other axis of the plane, l = 90 or 270 deg.
    assert abs(out["pm_phi1_reflex"][0]) == pytest.approx(245.6 / (4.740470463 * 10), abs=2e-4)
    assert out["pm_phi2_reflex"][0] == pytest.approx(12.9 / (4.740470463 * 10), abs=6e-3)
    speed = np.hypot(out["pm_phi1_reflex"][0], out["pm_phi2_reflex"][0]) * 4.740470463 * 10
    assert speed == pytest.approx(np.hypot(245.6, 12.9), rel=1e-5)


def test_reflex_columns_and_distances(caplog):
    table = sky(6)
    table["ra"], table["dec"] = np.linspace(130, 220, 6), np.linspace(20, 58, 6)
    plain = SkyFrame(FRAMES[0])
    track = {"phi1": [-60.0, -20.0], "distance": [7.0, 9.0]}
    freed = SkyFrame(FRAMES[0], reflex=Reflex(track))
    out = freed.add_stream_coordinates(table)
    assert "outside phi1 -60 to -20 deg" in caplog.text
    np.testing.assert_array_equal(out["pm_phi1"], plain.add_stream_coordinates(table)["pm_phi1"])
    np.testing.assert_array_equal(out["pm_phi2_reflex_err"], out["pm_phi2_err"])
    assert out["pm_phi1_reflex"].unit == out["pm_phi1_reflex_err"].unit == u.mas / u.yr
    distance = np.interp(out["phi1"], *track.values())
    for i, kpc in enumerate(distance):
        one = SkyFrame(FRAMES[0], reflex=Reflex(float(kpc))).add_stream_coordinates(table[i : i + 1])
        assert one["pm_phi2_reflex"][0] == pytest.approx(out["pm_phi2_reflex"][i], abs=1e-12)
    data, _ = load(table, ["pm_phi1_reflex", "pm_phi1_reflex_err", "pm_phi1_reflex_pm_phi2_reflex_corr"], freed)
    assert data.where[data.names].all()
    table["dec"][2] = np.nan
    assert np.isnan(freed.add_stream_coordinates(table)["pm_phi1_reflex"][2])


def test_the_frame_is_said_in_plain_words():
    reflex = Reflex({"phi1": [-60.0, -20.0], "distance": [7.0, 9.0]})
    frame = SkyFrame("GD1Koposov10", reflex=reflex)
    said = frame.metadata()
    assert json.loads(json.dumps(said)) == said
    assert said["name"] == "GD1Koposov10"
    assert said["reflex"]["distance"] == {"phi1": [-60.0, -20.0], "distance": [7.0, 9.0]}
    assert said["pole"] == pytest.approx([34.5987, 29.7331], abs=1e-3)
    assert "reflex" not in SkyFrame("GD1Koposov10").metadata()
    assert frame.add_stream_coordinates(sky(3)).meta["frame"] == said


def test_a_frame_of_settings_is_the_same():
    """What a checkpoint keeps needs neither gala nor files."""
    frame = SkyFrame("Pal5PriceWhelan18", pm_corr=0.3, reflex=Reflex(21.9))
    again = build(json.loads(json.dumps(describe(frame))))
    assert again.metadata() == frame.metadata()
    one, other = (load(sky(), ["phi1", "pm_phi1_reflex", "pm_phi1_err"], f)[0] for f in (frame, again))
    assert all(torch.equal(one[name], other[name]) for name in one.names)
    assert pickle.loads(pickle.dumps(frame)).metadata() == frame.metadata()
    assert describe(frame)["init_args"]["frame"]["name"] == "Pal5PriceWhelan18"


def test_a_correlation_beyond_one_is_refused():
    table = sky(5)
    table["pmra_pmdec_corr"][3] = -1.5
    with pytest.raises(InputError, match=r"'pmra_pmdec_corr'.* is outside -1..1 in 1 rows, e.g. -1.5 in row 3"):
        SkyFrame(FRAMES[0]).add_stream_coordinates(table)


def test_the_error_of_one_proper_motion_alone_is_of_no_use(caplog):
    pytest.importorskip("gala")
    table = sky(5)
    table.remove_column("pmdec_error")
    out = SkyFrame(FRAMES[0]).add_stream_coordinates(table)
    assert "pm_phi1" in out.colnames
    assert "pm_phi1_err" not in out.colnames
    assert "proper-motion errors need both" in caplog.text
