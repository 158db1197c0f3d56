"""A part of the sky is copied out of HATS star by star, and files far from it are not opened."""

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from stream_mapper.archive import Field
from stream_mapper.catalog import SkyFrame, can_write_hats, copy_region, files_near, read_table, write_hats
from stream_mapper.catalog.formats import hats_region
from stream_mapper.errors import InputError

pytestmark = pytest.mark.skipif(not can_write_hats(), reason="needs hats")
GD1, ICRS = "gala.coordinates.GD1Koposov10", "astropy.coordinates.ICRS"
WINDOWS = {
    "a strip": ((-60.0, 20.0), (-3.0, 2.0)),
    "small": ((10.0, 14.0), (1.0, 3.0)),
    "near a pole": ((-20.0, 100.0), (60.0, 79.0)),
    "all around": ((-180.0, 180.0), (-1.0, 1.0)),
    "beyond 180": ((170.0, 250.0), (-40.0, 10.0)),
}


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    """Stars all over the sky, more of them in one place, as HATS with pixels of several orders; the folder and them."""
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 20_000), np.degrees(np.arcsin(rng.uniform(-1, 1, 20_000)))
    ra[:6000], dec[:6000] = rng.normal(40, 3, 6000) % 360, rng.normal(-70, 2, 6000)
    stars = Table({"id": np.arange(20_000), "ra": ra, "dec": dec, "g": rng.normal(20, 1, 20_000)})
    stars["g"].unit = "mag"
    path = tmp_path_factory.mktemp("hats") / "sky"
    write_hats(stars, path, "sky", "a test", rows=200)
    return path, stars


@pytest.fixture(params=WINDOWS.values(), ids=WINDOWS)
def field(request):
    pytest.importorskip("gala")
    return Field(SkyFrame(GD1), *request.param)


def test_the_stars_of_a_field_are_copied_all_and_alone(sky, field, tmp_path):
    path, stars = sky
    inside = field.contains(np.asarray(stars["ra"]), np.asarray(stars["dec"]))
    assert copy_region(path, tmp_path / "stars.parquet", field) == inside.sum() > 0
    found = read_table(tmp_path / "stars.parquet")
    assert sorted(found["id"]) == np.flatnonzero(inside).tolist()
    assert str(found["g"].unit) == "mag"
    np.testing.assert_array_equal(found["g"], stars["g"][found["id"]])


def test_files_far_from_a_field_are_not_opened(sky, field):
    """Nor are those that touch it left out."""
    path, stars = sky
    near = files_near(path, field)
    every = sorted(path.glob("dataset/*/*/*.parquet"))
    inside = set(np.flatnonzero(field.contains(np.asarray(stars["ra"]), np.asarray(stars["dec"]))).tolist())
    needed = [file for file in every if inside & set(pq.read_table(file)["id"].to_pylist())]
    assert set(needed) <= set(near) < set(every)
    assert len(near) <= 3 * len(needed) + 8


def test_a_circle_that_touches_a_field_is_kept(field):
    """Circles about places near and far, by the stars that are in them."""
    rng = np.random.default_rng(2)
    ra, dec = rng.uniform(0, 360, 40), np.degrees(np.arcsin(rng.uniform(-1, 1, 40)))
    for radius in (1.0, 8.0, 40.0):
        kept = field.may_touch(ra, dec, radius)
        for i in np.flatnonzero(~kept):
            around = offsets(ra[i], dec[i], radius * np.sqrt(rng.random(3000)), rng.uniform(0, 360, 3000))
            assert not field.contains(*around).any()


def offsets(ra, dec, distance, angle):
    """Places at a distance and an angle from one, all in deg."""
    lat, far, turn = (np.radians(value) for value in (dec, distance, angle))
    new = np.arcsin(np.sin(lat) * np.cos(far) + np.cos(lat) * np.sin(far) * np.cos(turn))
    east = np.arctan2(np.sin(turn) * np.sin(far) * np.cos(lat), np.cos(far) - np.sin(lat) * np.sin(new))
    return (ra + np.degrees(east)) % 360, np.degrees(new)


@pytest.mark.parametrize("order", [0, 1, 3, 8])
def test_no_corner_of_a_pixel_is_farther_from_its_centre(order):
    nested = pytest.importorskip("cdshealpix.nested")
    pixels = np.unique(np.linspace(0, 12 * 4**order - 1, 300).astype(np.uint64))
    lon, lat = (np.asarray(angle.rad) for angle in nested.vertices(pixels, order))
    ra, dec = (np.radians(values)[:, None] for values in hats_region._centres(order, pixels.tolist()))
    cosine = np.sin(lat) * np.sin(dec) + np.cos(lat) * np.cos(dec) * np.cos(lon - ra)
    farthest = np.degrees(np.arccos(np.clip(cosine, -1, 1))).max()
    assert farthest <= hats_region._radius(order)
    assert farthest > 0.9 * hats_region._radius(order)


def test_of_a_collection_the_catalogue_is_read(sky, tmp_path):
    path, stars = sky
    shutil.copytree(path, tmp_path / "both" / "stars")
    text = "obs_collection=both\nhats_primary_table_url=stars\nall_margins=margin\n"
    write_hats(stars[:100], tmp_path / "both" / "margin", "margin", "a test")
    (tmp_path / "both" / "collection.properties").write_text(text)
    field = Field(SkyFrame(ICRS), (0.0, 360.0), (-20.0, 20.0))
    assert copy_region(tmp_path / "both", tmp_path / "stars.parquet", field) == (np.abs(stars["dec"]) <= 20).sum()


def test_where_there_are_no_stars_nothing_is_written(sky, tmp_path):
    _, stars = sky
    write_hats(stars[stars["dec"] < -60], tmp_path / "south", "south", "a test")
    field = Field(SkyFrame(ICRS), (0.0, 50.0), (70.0, 75.0))
    assert copy_region(tmp_path / "south", tmp_path / "stars.parquet", field) == 0
    assert not (tmp_path / "stars.parquet").exists()


def test_what_is_no_hats_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no HATS catalogue or collection, a folder with"):
        copy_region(tmp_path, tmp_path / "stars.parquet", Field(SkyFrame(ICRS), (0.0, 50.0), (70.0, 75.0)))


def test_what_is_written_is_opened_by_lsdb_and_the_same_each_time(sky, tmp_path):
    lsdb = pytest.importorskip("lsdb")
    path, stars = sky
    opened = lsdb.open_catalog(path)
    assert opened.hc_structure.catalog_info.total_rows == len(stars)
    assert len({pixel.order for pixel in opened.get_healpix_pixels()}) > 2
    near = opened.cone_search(40.0, -70.0, 3600.0).compute()
    away = np.hypot((stars["ra"] - 40) * np.cos(np.radians(stars["dec"])), stars["dec"] + 70)
    assert abs(len(near) - (away < 1).sum()) <= 0.03 * len(near)
    assert set(near["id"]) <= set(stars["id"][away < 1.05])
    write_hats(stars[::-1], tmp_path / "sky", "sky", "a test", rows=200)
    write_hats(stars, tmp_path / "sky", "sky", "a test", rows=200)
    files = {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}
    assert {file: (tmp_path / "sky" / file).read_bytes() for file in files} == files
    assert [other.name for other in tmp_path.iterdir()] == ["sky"]
