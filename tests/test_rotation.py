"""Stars rotated into the frame of a stream, against astropy, and the errors of what is rotated."""

import pickle
from typing import ClassVar

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.coordinates import (
    ICRS,
    BaseCoordinateFrame,
    RepresentationMapping,
    SkyCoord,
    SphericalRepresentation,
    StaticMatrixTransform,
    frame_transform_graph,
)
from astropy.table import QTable, Table

from stream_mapper.catalog import SkyFrame, default_unit, load
from stream_mapper.catalog.sky.orientation import frame_class, matrix_of_class
from stream_mapper.catalog.sky.rotation import angle_of, rotate, rotate_errors

FRAME = "gala.coordinates.GD1Koposov10"


def sky(n=300):
    """Stars all over the sky with errors and correlations."""
    rng = np.random.default_rng(1)
    columns = {"ra": rng.uniform(0, 360, n) * u.deg, "dec": np.rad2deg(np.arcsin(rng.uniform(-1, 1, n))) * u.deg}
    motion = {name: rng.normal(0, 5, n) * u.mas / u.yr for name in ("pmra", "pmdec")}
    errors = {name: rng.uniform(0, 1, n) * u.mas / u.yr for name in ("pmra_error", "pmdec_error")}
    return QTable({**columns, **motion, **errors, "pmra_pmdec_corr": rng.uniform(-1, 1, n)})


def reference(name, table):
    """The stars in a frame of gala, by astropy alone."""
    motion = {"pm_ra_cosdec": table["pmra"], "pm_dec": table["pmdec"]}
    return SkyCoord(table["ra"], table["dec"], **motion).transform_to(frame_class(name)())


@pytest.mark.parametrize("name", [FRAME, "gala.coordinates.Pal5PriceWhelan18"])
def test_frame_agrees_with_astropy(name):
    table = sky()
    out, expected = SkyFrame(name).add_stream_coordinates(table), reference(name, table)
    np.testing.assert_allclose(out["phi1"].value, expected.phi1.wrap_at("180d").deg, atol=1e-11)
    np.testing.assert_allclose(out["phi2"].value, expected.phi2.deg, atol=1e-11)
    np.testing.assert_allclose(out["pm_phi1"].value, expected.pm_phi1_cosphi2.to_value("mas/yr"), atol=1e-8)
    np.testing.assert_allclose(out["pm_phi2"].value, expected.pm_phi2.to_value("mas/yr"), atol=1e-8)
    assert (np.abs(out["phi1"].value) <= 180).all()
    assert "phi1" not in table.colnames


def test_covariance_agrees_with_the_rotation_of_many_draws():
    """Errors of the rotated motion are the scatter of rotated draws, here by astropy for one star."""
    n, sigma, corr = 100_000, np.array([0.3, 0.8]), -0.58
    cov = np.array([[sigma[0] ** 2, corr * sigma.prod()], [corr * sigma.prod(), sigma[1] ** 2]])
    draws = np.random.default_rng(2).multivariate_normal([-7, -12], cov, n)
    star = {"ra": [150.0] * n * u.deg, "dec": [25.0] * n * u.deg}
    out = reference(FRAME, QTable({**star, "pmra": draws[:, 0] * u.mas / u.yr, "pmdec": draws[:, 1] * u.mas / u.yr}))
    scatter = np.cov(out.pm_phi1_cosphi2.value, out.pm_phi2.value)
    _, _, rotation = rotate(matrix_of_class(frame_class(FRAME)), np.array([150.0]), np.array([25.0]))
    got = rotate_errors(rotation, sigma[:1], sigma[1:], np.array([corr]))
    assert got[0][0] == pytest.approx(scatter[0, 0] ** 0.5, rel=0.01)
    assert got[1][0] == pytest.approx(scatter[1, 1] ** 0.5, rel=0.01)
    assert got[2][0] == pytest.approx(scatter[0, 1] / (scatter[0, 0] * scatter[1, 1]) ** 0.5, abs=0.01)


def test_covariance_keeps_trace_and_determinant():
    table = sky()
    out = SkyFrame().add_stream_coordinates(table)
    s1, s2, e1, e2 = (np.asarray(out[n].value) for n in ("pmra_error", "pmdec_error", "pm_phi1_err", "pm_phi2_err"))
    rho, turned = np.asarray(out["pmra_pmdec_corr"]), np.asarray(out["pm_phi1_pm_phi2_corr"])
    np.testing.assert_allclose(e1**2 + e2**2, s1**2 + s2**2, rtol=1e-9)
    np.testing.assert_allclose((e1 * e2) ** 2 * (1 - turned**2), (s1 * s2) ** 2 * (1 - rho**2), atol=1e-12)


@pytest.mark.parametrize("corr", [-1.0, 1.0])
def test_variance_is_never_negative(corr):
    table = sky()
    table["pmra_pmdec_corr"] = corr
    table["pmra_error"][:5] = table["pmdec_error"][:5] = 1e-9 * u.mas / u.yr
    out = SkyFrame().add_stream_coordinates(table)
    for name in ("pm_phi1_err", "pm_phi2_err", "pm_phi1_pm_phi2_corr"):
        assert np.isfinite(np.asarray(out[name])).all()
    assert (out["pm_phi1_err"][:5] >= 0).all()


class PoleFrame(BaseCoordinateFrame):
    """A frame with its pole at ra = 35 deg, dec = 28 deg, and phi1 = 0 on the meridian of ra = 200 deg."""

    frame_specific_representation_info: ClassVar = {
        SphericalRepresentation: [RepresentationMapping("lon", "phi1"), RepresentationMapping("lat", "phi2")]
    }


def towards(lon, lat):
    """Unit vectors of a place on the sky, and of east and north there, (N, 3) each; angles in rad."""
    place = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], -1)
    east = np.stack([-np.sin(lon), np.cos(lon), np.zeros_like(lon)], -1)
    return place, east, np.cross(place, east)


def _pole_matrix():
    pole, origin = (towards(*np.deg2rad([lon, lat]))[0] for lon, lat in ((35.0, 28.0), (200.0, 0.0)))
    second = np.cross(pole, origin) / np.linalg.norm(np.cross(pole, origin))
    return np.stack([np.cross(second, pole), second, pole])


frame_transform_graph.transform(StaticMatrixTransform, ICRS, PoleFrame)(_pole_matrix)


def test_angle_turns_the_stream_into_the_catalogue():
    """Against the unit vectors of both frames, each carried there by the matrix of the pole."""
    table, matrix = sky(), _pole_matrix()
    place, east, north = towards(*(table[name].to_value("rad") for name in ("ra", "dec")))
    x, y, z = matrix @ place.T
    _, along, across = towards(np.arctan2(y, x), np.arcsin(z))
    _, _, rotation = rotate(matrix_of_class(PoleFrame), table["ra"].value, table["dec"].value)
    theta = angle_of(rotation)
    np.testing.assert_allclose(np.cos(theta), np.sum(east * (along @ matrix), -1), atol=1e-9)
    np.testing.assert_allclose(np.sin(theta), np.sum(north * (along @ matrix), -1), atol=1e-9)
    np.testing.assert_allclose(np.cos(theta), np.sum(north * (across @ matrix), -1), atol=1e-9)


@pytest.mark.parametrize("name", [FRAME, "gala.coordinates.Pal5PriceWhelan18"])
def test_angle_is_a_column(name):
    table = sky()
    table["dec"][3] = np.nan * u.deg
    data, _ = load(table, ["pm_phi1", "pm_phi2", "pm_angle"], SkyFrame(name), dtype=torch.float64)
    assert data.where["pm_angle"].tolist() == [i != 3 for i in range(len(table))]
    x, y, theta = (data[n].numpy()[4:] for n in ("pm_phi1", "pm_phi2", "pm_angle"))
    np.testing.assert_allclose(x * np.cos(theta) - y * np.sin(theta), table["pmra"].value[4:], atol=1e-7)
    np.testing.assert_allclose(x * np.sin(theta) + y * np.cos(theta), table["pmdec"].value[4:], atol=1e-7)
    del table["pmra"], table["pmdec"]
    alone, _ = load(table, ["pm_angle"], SkyFrame(name), dtype=torch.float64)
    assert torch.equal(alone["pm_angle"], data["pm_angle"])
    assert default_unit("pm_angle") == "rad"


def test_correlation_falls_back_to_the_constant():
    with_corr, without = sky(), sky()
    with_corr["pmra_pmdec_corr"] = np.nan
    del without["pmra_pmdec_corr"]
    frames = SkyFrame(pm_corr=-0.5), SkyFrame(pm_corr=-0.5), SkyFrame()
    a, b, c = (
        f.add_stream_coordinates(t)["pm_phi1_err"] for f, t in zip(frames, (with_corr, without, without), strict=True)
    )
    assert (a == b).all()
    assert not (b == c).any()


def test_frame_leaves_gaps_where_they_are(caplog):
    table = sky(4)
    table["pmra"][1], table["dec"][2], table["pmdec_error"][3] = [
        np.nan * table[n].unit for n in ("pmra", "dec", "pmra")
    ]
    table["phi1"] = np.zeros(4)
    names = ["phi1", "phi2", "pm_phi1", "pm_phi2", "pm_phi1_err"]
    data, same = load(table, names, SkyFrame())
    expected = [[True] * 5, [True, True, False, False, True], [False] * 5, [True] * 4 + [False]]
    assert data.where[tuple(names)].tolist() == expected
    assert same is table
    assert (table["phi1"] == 0).all()
    assert "columns ['phi1'] are computed anew" in caplog.text


def test_frame_without_proper_motions_or_errors(caplog):
    table = sky()
    assert "pm_phi1" not in SkyFrame().add_stream_coordinates(table["ra", "dec"]).colnames
    del table["pmra_error"]
    assert "pm_phi1_err" not in SkyFrame().add_stream_coordinates(table).colnames
    assert "proper-motion errors need both" in caplog.text


def test_frame_takes_other_names_and_units():
    table, other = sky(), Table()
    other["RA_rad"], other["DE_ICRS"] = table["ra"].to(u.rad), table["dec"].to(u.arcmin)
    other["mu"], other["pmDE"] = table["pmra"].to(u.uas / u.yr), table["pmdec"].value
    out = SkyFrame(ra="RA_rad", pmra="mu").add_stream_coordinates(other)
    expected = SkyFrame().add_stream_coordinates(table)
    for name in ("phi1", "phi2", "pm_phi1", "pm_phi2"):
        np.testing.assert_allclose(out[name], expected[name].value, rtol=1e-9)


def test_frame_can_be_pickled():
    assert vars(pickle.loads(pickle.dumps(SkyFrame(pm_corr=0.5)))) == vars(SkyFrame(pm_corr=0.5))
