"""The folder that a fit begins with: its files are those that the commands take."""

import numpy as np
import pytest
import yaml
from galstreams_files import thin_stream

from stream_mapper.__main__ import main
from stream_mapper.catalog import SkyFrame, read_table, to_table, write_table
from stream_mapper.errors import InputError
from stream_mapper.fit import fit_command
from stream_mapper.init import init
from stream_mapper.mock import TrackMock
from stream_mapper.pipeline import read
from stream_mapper.training.cli import StreamCLI

FEW = ["--background.copies=0", "--results.draws=4", "--results.track_draws=4", "--results.figures=false"]
QUICK = ["--trainer.max_epochs=8", "--data.batch_size=512", "--background.max_epochs=40", "--background.batch_size=512"]


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    """A folder of galstreams with one stream, 40 deg long."""
    return thin_stream(tmp_path_factory.mktemp("galstreams"))


@pytest.fixture(scope="module")
def table(tracks, tmp_path_factory):
    """The path of the stars of its field."""
    path = tmp_path_factory.mktemp("stars") / "stars.parquet"
    mock = TrackMock("Thin", 400, 6000, survey="panstarrs1", tracks=tracks)
    write_table(to_table(mock.simulate()), path)
    return str(path)


def test_a_fit_of_what_is_written_finds_the_stream(tracks, table, tmp_path):
    lines = init("thin", table, "panstarrs1", "synthetic", output=str(tmp_path / "thin"), tracks=tracks)
    assert lines[-2:] == [str(tmp_path / "thin" / name) for name in ("config.yaml", "README.md")]
    text = (tmp_path / "thin" / "config.yaml").read_text()
    assert len(text.splitlines()) < 60
    fit = fit_command(
        ["--config", str(tmp_path / "thin" / "config.yaml"), f"--trainer.default_root_dir={tmp_path}", *QUICK, *FEW]
    )
    assert list(fit.model.components) == ["stream", "background"]
    assert set(fit.model.coord_names) == {"phi2", "pm_phi1", "pm_phi2", "g", "r"}
    metrics = fit.metrics
    assert metrics["true_members"] == 400
    assert metrics["average_precision"] > 0.6
    assert fit.folder.parent == tmp_path
    assert not (fit.folder / "figures").exists()  # by results.figures
    assert not (fit.folder / "report.html").exists()
    assert (fit.folder / "track.ecsv").is_file()


def test_a_query_is_written_where_there_is_no_table(tracks, tmp_path, capsys):
    main(["init", "THIN", "--output", str(tmp_path / "a b"), "--tracks", tracks, "--survey", "panstarrs1"])
    said = capsys.readouterr().out
    assert "phi1: (-24.0, 24.0)." in said
    asked = yaml.safe_load((tmp_path / "a b" / "query.yaml").read_text())
    assert asked["phi1"] == [-24.0, 24.0]
    assert asked["crossmatch"] == "panstarrs1"
    main(["query", "--config", str(tmp_path / "a b" / "query.yaml"), "--dry_run", "true"])
    assert capsys.readouterr().out.count("SELECT") == 24
    config = yaml.safe_load((tmp_path / "a b" / "config.yaml").read_text())
    assert config["data"]["path"] == asked["output"]
    recipe = config["model"]["model"]["init_args"]
    assert recipe["coordinates"] == ["phi2", "pm_phi1", "pm_phi2"]
    readme = (tmp_path / "a b" / "README.md").read_text()
    assert f"stream-mapper fit --config '{tmp_path}/a b/config.yaml'" in readme
    assert "- **off_stream**: " in readme
    assert "that needs `--isochrone`" in readme


def test_what_is_there_is_kept(tracks, tmp_path):
    (tmp_path / "query.yaml").write_text("mine")
    with pytest.raises(InputError, match=r"has query\.yaml already; give another --output"):
        init("thin", output=str(tmp_path), tracks=tracks)
    assert [path.name for path in tmp_path.iterdir()] == ["query.yaml"]


def test_an_isochrone_needs_its_bands(tracks, tmp_path):
    with pytest.raises(InputError, match=r"say which columns of mist\.cmd are which bands"):
        init("thin", isochrone="mist.cmd", output=str(tmp_path / "x"), tracks=tracks)
    assert not (tmp_path / "x").exists()


def test_a_stream_that_is_not_known_is_one_line(tracks, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["init", "Thick", "--tracks", tracks])
    assert capsys.readouterr().err.count("\n") == 1


def dry_run_of(config):
    """The model of a configuration and its stars, after the pass before the training."""
    cli = StreamCLI(["--config", str(config)])
    return cli.model.model, read(cli.model.model, cli.model.ensemble, cli.datamodule)


def test_what_a_table_has_besides_is_taken_by_a_fit(tracks, table, tmp_path):
    """Radial velocities under the names of DESI, correlations, and a cut that moves along the stream."""
    stars = read_table(table)
    rng = np.random.default_rng(0)
    spectra = rng.random(len(stars)) < 0.2
    stars["VRAD"] = np.where(spectra, rng.normal(0, 100, len(stars)), np.nan)
    stars["VRAD_ERR"] = np.where(spectra, 2.0, np.nan)
    phi1 = SkyFrame({"track": "Thin", "tracks": tracks}).add_stream_coordinates(stars)["phi1"]
    near = np.abs(stars["pmra"] + 2 - 0.1 * phi1) < 6
    kept = near & (np.abs(stars["pmdec"] + 3 + 0.12 * phi1) < 6)
    write_table(stars[kept], tmp_path / "stars.parquet")
    folder = tmp_path / "thin"
    init("thin", str(tmp_path / "stars.parquet"), "panstarrs1", "synthetic", output=str(folder), tracks=tracks)
    text = yaml.safe_load((folder / "config.yaml").read_text())
    assert text["data"]["survey"] == ["panstarrs1", "desi_mws"]
    recipe = text["model"]["model"]["init_args"]
    assert recipe["correlation"] is True
    assert recipe["window"]["pmra"]["class_path"] == "stream_mapper.WindowAlong"
    model, found = dry_run_of(folder / "config.yaml")
    assert model.coord_names == ("phi2", "pmra", "pmdec", "g", "r", "radial_velocity")
    assert "pmra_pmdec_corr" in model.columns
    assert int(found.fitted.sum()) > 0.5 * kept.sum()
    velocity = model.components["stream"].components["radial_velocity"]
    assert velocity.params["radial_velocity.ln-sigma"].bounds.upper == pytest.approx(2.7)


def test_a_table_without_extinction_is_read_so(tracks, table, tmp_path):
    stars = read_table(table)
    stars.rename_columns(["g", "r"], ["gmag_dered", "rmag_dered"])
    stars.rename_columns(["g_err", "r_err"], ["e_gmag", "e_rmag"])
    write_table(stars, tmp_path / "stars.parquet")
    init("thin", str(tmp_path / "stars.parquet"), None, "synthetic", output=str(tmp_path / "thin"), tracks=tracks)
    text = yaml.safe_load((tmp_path / "thin" / "config.yaml").read_text())
    assert text["data"]["survey"] == "panstarrs1_dereddened"
    assert "corrections" not in text["data"]
    assert "**dereddened**: True. The table has gmag_dered, rmag_dered" in (tmp_path / "thin" / "README.md").read_text()
    model, found = dry_run_of(tmp_path / "thin" / "config.yaml")
    assert set(model.coord_names) == {"phi2", "pm_phi1", "pm_phi2", "g", "r"}
    assert {"g_err", "r_err"} <= set(model.columns)
    assert found.fitted.any()


def test_a_table_of_one_magnitude_and_a_colour_is_fitted_without_them(tracks, table, tmp_path):
    stars = read_table(table)
    stars.rename_columns(["g", "g_err", "r"], ["Gmag", "e_Gmag", "BP-RP"])
    stars.remove_column("r_err")
    write_table(stars, tmp_path / "stars.parquet")
    lines = init(
        "thin",
        str(tmp_path / "stars.parquet"),
        None,
        "synthetic",
        {"G": "", "BP": "", "RP": ""},
        output=str(tmp_path / "thin"),
        tracks=tracks,
    )
    assert "colour: None. The table has not both magnitudes of BP - RP." in lines
    assert "two bands in the table" in (tmp_path / "thin" / "README.md").read_text()
    model, found = dry_run_of(tmp_path / "thin" / "config.yaml")
    assert set(model.coord_names) == {"phi2", "pm_phi1", "pm_phi2"}
    assert found.fitted.any()


def test_the_cuts_of_a_query_are_those_of_the_fit(tracks, tmp_path, capsys):
    init("thin", None, "panstarrs1", "synthetic", output=str(tmp_path / "thin"), tracks=tracks)
    config, query = (yaml.safe_load((tmp_path / "thin" / f"{name}.yaml").read_text()) for name in ("config", "query"))
    parallax, colour = config["data"]["selection"]["init_args"]["selections"]
    ((name, (low, high)),) = colour["init_args"]["bounds"].items()
    assert name == "g - r"
    limit = parallax["init_args"]["bounds"]["parallax"][1]
    bright, faint = config["model"]["model"]["init_args"]["window"]["g"]
    for condition in (
        f"gaia.parallax - 3 * gaia.parallax_error <= {limit:g} OR gaia.parallax IS NULL",
        f"ps1.g_mean_psf_mag BETWEEN {bright:g} AND {faint:g} OR ps1.g_mean_psf_mag IS NULL OR ps1.g_mean_psf_mag < -9",
        f"ps1.g_mean_psf_mag - ps1.r_mean_psf_mag BETWEEN {low:g} AND {high:g} OR ps1.g_mean_psf_mag IS NULL",
    ):
        assert condition in query["where"]
    main(["query", "--config", str(tmp_path / "thin" / "query.yaml"), "--dry_run=true"])
    assert query["where"] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("survey", "asked"),
    {
        "twomass": {"crossmatch": "twomass"},
        "gaia_dr4": {"catalogue": "gaiadr4.gaia_source"},
        "gaia_dr3": {},
        "des": {"crossmatch": "des"},
        "delve": {"crossmatch": "delve"},
    }.items(),
)
def test_a_query_joins_what_the_archive_has(survey, asked, tracks, tmp_path):
    init("thin", survey=survey, output=str(tmp_path / "thin"), tracks=tracks)
    query = yaml.safe_load((tmp_path / "thin" / "query.yaml").read_text())
    assert {name: query[name] for name in ("crossmatch", "catalogue") if name in query} == asked


def test_a_query_joins_spectra(tracks, tmp_path, capsys):
    init("thin", None, "delve", "synthetic", output=str(tmp_path / "thin"), tracks=tracks, spectra="desi_mws")
    query = yaml.safe_load((tmp_path / "thin" / "query.yaml").read_text())
    assert (query["crossmatch"], query["spectra"]) == ("delve", "desi")
    for lacking in ("delve.mag_psf_g > 90", "delve.mag_psf_r > 90", "gaia.parallax > 1e+30"):
        assert f"OR {lacking}" in query["where"]
    main(["query", "--config", str(tmp_path / "thin" / "query.yaml"), "--dry_run=true"])
    assert "desi.vrad" in capsys.readouterr().out
    with pytest.raises(InputError, match="no query joins spectra of 'lamost'; known are desi_mws"):
        init("thin", output=str(tmp_path / "other"), tracks=tracks, spectra="lamost")
    with pytest.raises(InputError, match="with a table there is none"):
        init("thin", "stars.parquet", output=str(tmp_path / "other"), tracks=tracks, spectra="desi_mws")
