"""A fit that was stopped goes on, in every stage, to the bits of the one that nobody stopped."""

import importlib
import json
import os
import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from astropy.table import Table

import stream_mapper as sml
from stream_mapper.catalog import read_table, write_table
from stream_mapper.errors import InputError
from stream_mapper.finish import main as finish
from stream_mapper.fit import main as fit
from stream_mapper.predict import main as predict
from stream_mapper.report import main as report
from stream_mapper.results.random_state import random_state, set_random_state
from stream_mapper.results.stages import Stages, digest_of, left_of
from stream_mapper.training import claims
from stream_mapper.training.batches import Batches
from stream_mapper.training.callbacks import StopEarly
from stream_mapper.training.cli import StreamCLI
from stream_mapper.training.resuming import differences, newest_run, take_resume
from stream_mapper.training.whole_files import EpochCheckpoint

pytestmark = pytest.mark.usefixtures("messages_as_they_were")

FAULTS = Path(__file__).parents[1] / "experiments" / "faults"
STATUS = {"background": -10, "epoch": 143, "next epoch": 130, "posterior": 143}  # of the stops that are no SIGKILL


@pytest.fixture(scope="module")
def resumed():
    """The script that stops fits, as a module."""
    sys.path.insert(0, str(FAULTS))
    yield importlib.import_module("resumed")
    sys.path.remove(str(FAULTS))
    sys.modules.pop("resumed")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A folder with fits that nobody stopped, one that was stopped in every stage, and the exit status of each stop."""
    root = tmp_path_factory.mktemp("stopped")
    command = [sys.executable, "-W", "ignore", str(FAULTS / "resumed.py"), "--stages", str(root)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return root, json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def copied(stopped, tmp_path):
    """A copy of the run as one of the stops left it, elsewhere."""
    return lambda name: Path(shutil.copytree(stopped[0] / "stopped" / name, tmp_path / name.replace(" ", "_")))


def refused(command, args, capsys):
    """The one line of a command that refuses."""
    with pytest.raises(SystemExit) as status:
        command(args)
    assert status.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


# Bits -----------------------------------------------------------------------------------------------------------------


def test_a_fit_that_was_stopped_in_every_stage_ends_with_the_same_bits(stopped, resumed):
    root, statuses = stopped
    assert statuses.pop("whole") == statuses.pop("finish") == 0
    for name in resumed.STOPS:
        assert statuses[name] == STATUS.get(name, -9), name
    assert resumed.differences(root / "whole" / "version_0", root / "runs" / "version_0") == []
    assert not (root / "runs" / "version_0" / "stages").exists()


def test_as_a_job_of_slurm_it_writes_nothing_into_the_working_folder(stopped):
    assert list((stopped[0] / "here").iterdir()) == []


def test_the_stops_were_where_they_were_to_be(stopped, resumed):
    """Else the test above would be of one stage alone."""
    root, _ = stopped
    left = {name: root / "stopped" / name for name in resumed.STOPS}
    assert not left["flow"].exists()
    kept = {name: {path.stem for path in (run / "stages").glob("*.ckpt")} for name, run in left.items()}
    assert kept["background"] == {"background.0"}
    assert kept["copies"] >= {"background.0", "copies.0.0"} > kept["background"]
    assert "mixture" not in kept["next epoch"]
    epochs = [torch.load(left[name] / "checkpoints" / "last.ckpt")["epoch"] for name in ("epoch", "next epoch")]
    assert epochs[0] < epochs[1]
    for before, after in (("mixture", "polish"), ("polish", "posterior")):
        assert before in kept[before]
        assert after in kept[after]
    assert "polish" not in kept["mixture"]
    assert "posterior" not in kept["polish"]
    assert (left["tables"] / "memberships.parquet").is_file()
    assert not (left["tables"] / "metrics.json").exists()


def test_the_comparison_can_fail(stopped, resumed, tmp_path):
    whole = stopped[0] / "whole" / "version_0"
    other = Path(shutil.copytree(whole, tmp_path / "other"))
    table = read_table(other / "track.ecsv")
    table["phi2"][3] = np.nextafter(table["phi2"][3], 99)
    write_table(table, other / "track.ecsv")
    (other / ".0").touch()
    assert resumed.differences(whole, other) == ["track.ecsv phi2", str(other / ".0")]


def test_a_fit_and_its_table_in_another_folder_go_on_after_the_last_epoch(
    stopped, copied, resumed, capsys, caplog, monkeypatch
):
    """Stopped after the last epoch of all, before anything was made of it: ``finish`` leaves that to ``fit``."""
    run = copied("mixture")
    (run / "stages" / "mixture.ckpt").unlink()
    line = refused(finish, [str(run)], capsys)
    assert "its training is not over" in line
    assert f"stream-mapper fit --resume {run}" in line
    shutil.copy(stopped[0] / "stars.parquet", run.parent)
    monkeypatch.setattr("stream_mapper.results.run_folder.figures", lambda *_, **__: {})
    monkeypatch.setattr("stream_mapper.fitted._write_page", lambda *_: None)
    fit(["--resume", str(run), "--data.path", str(run.parent / "stars.parquet")])
    assert resumed.differences(stopped[0] / "whole" / "version_0", run) == []
    fit([f"--resume={run}"])
    assert f"{run} is complete." in caplog.text


def test_random_numbers_go_on():
    state = random_state()
    before = torch.rand(3).tolist(), np.random.rand(3).tolist(), [random.random() for _ in range(3)]  # noqa: NPY002
    set_random_state(state)
    assert before == (torch.rand(3).tolist(), np.random.rand(3).tolist(), [random.random() for _ in range(3)])  # noqa: NPY002


def test_the_order_of_the_stars_is_that_of_the_epoch():
    batches = Batches(sml.Data({"x": torch.arange(50.0)}), 20, shuffle=True)
    orders = []
    for epoch in (0, 1, 0):
        batches.set_epoch(epoch)
        orders.append(torch.cat([batch.stars["x"] for batch in batches]).tolist())
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


@pytest.mark.parametrize(("waited", "stops"), [(2, False), (3, True)])
def test_a_fit_that_stopped_early_does_not_train_on(waited, stops):
    early = StopEarly(patience=3)
    early.load_state_dict({**early.state_dict(), "wait_count": waited})
    trainer = SimpleNamespace(should_stop=False)
    early.on_train_start(trainer, None)
    assert trainer.should_stop is stops


def test_the_best_epoch_is_known_in_a_folder_that_was_moved(tmp_path):
    before, after = (EpochCheckpoint(tmp_path / name, monitor="val", filename="best_epoch") for name in "ab")
    before.best_model_path = str(tmp_path / "a" / "best_epoch.ckpt")
    before.best_k_models = {before.best_model_path: torch.tensor(1.0)}
    after.load_state_dict(before.state_dict())
    assert after.best_model_path == str(tmp_path / "b" / "best_epoch.ckpt")
    assert list(after.best_k_models) == [after.best_model_path]


# What may be given ----------------------------------------------------------------------------------------------------

CHANGED = {
    "epochs": ("--trainer.max_epochs=9", "trainer.max_epochs: 9 in place of 4"),
    "draws": ("--results.draws=7", "results.draws: 7 in place of 1"),
    "seed": ("--seed_everything=3", "seed_everything: 3 in place of 0"),
    "rate": ("--model.learning_rate=0.5", "model.learning_rate: 0.5 in place of 0.01"),
}


@pytest.mark.parametrize(("option", "message"), CHANGED.values(), ids=CHANGED)
def test_a_run_keeps_its_configuration(option, message, copied, capsys):
    run = copied("epoch")
    line = refused(fit, ["--resume", str(run), option], capsys)
    assert message in line
    assert "Leave that out, or begin a new fit" in line


def test_what_changes_no_number_may_be_given(stopped, copied):
    run = copied("epoch")
    free = ["--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.log_every_n_steps=3"]
    cli = StreamCLI(["--ckpt_path", str(run / "checkpoints" / "last.ckpt"), *free])
    assert Path(cli.trainer.log_dir) == cli.run_folder == run
    assert cli.stages().last_epoch() == run / "checkpoints" / "last.ckpt"
    claims.give_back(run)
    cli = StreamCLI(["--resume", str(run), "--config", str(stopped[0] / "config.yaml")])
    assert cli.run_folder == run
    claims.give_back(run)


def test_only_options_that_change_numbers_make_a_difference():
    kept = {"trainer": {"max_epochs": 3, "devices": 1}, "model": {"a": [1, 2]}}
    assert differences(kept, {"trainer": {"max_epochs": 3, "devices": 4}, "model": {"a": [1, 2]}}) == []
    assert differences(kept, {"trainer": {"devices": 1}, "model": {"a": [1]}}) == [
        "trainer.max_epochs: None in place of 3",
        "model.a: [1] in place of [1, 2]",
    ]


def test_a_catalogue_that_has_changed_is_refused(stopped, copied, tmp_path, capsys):
    run, table = copied("epoch"), read_table(stopped[0] / "stars.parquet")
    table["phi2"][5] = np.nextafter(table["phi2"][5], 99)
    write_table(table, tmp_path / "changed.parquet")
    line = refused(fit, ["--resume", str(run), "--data.path", str(tmp_path / "changed.parquet")], capsys)
    assert f"{run}: the catalogue has changed since this fit began" in line


def test_a_digest_is_of_names_numbers_and_what_is_missing():
    tables = [
        Table({"a": [1.0, 2.0], "b": ["x", "y"]}),
        Table({"a": [1.0, 2.0], "c": ["x", "y"]}),
        Table({"a": [1.0, 2.5], "b": ["x", "y"]}),
        Table({"a": [1.0, 2.0], "b": ["x", "z"]}),
        Table({"a": np.ma.array([1.0, 2.0], mask=[0, 1]), "b": ["x", "y"]}),
    ]
    assert len({digest_of(table) for table in tables}) == 5
    assert digest_of(tables[0]) == digest_of(tables[0].copy())
    assert digest_of(sml.Data({"a": [1.0]})) != digest_of(sml.Data({"a": [2.0]}))


def test_a_stage_that_cannot_be_read_is_one_line(copied, capsys):
    run = copied("mixture")
    (run / "stages" / "copies.0.1.ckpt").write_bytes(b"PK\x03\x04")
    assert "copies.0.1.ckpt: cannot be read; remove it" in refused(fit, ["--resume", str(run)], capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume"], "no run follows"),
        (["--resume", "nowhere"], "nowhere: is not the folder of a fit"),
    ],
)
def test_what_cannot_be_gone_on_with_is_one_line(arguments, message, capsys):
    assert message in refused(fit, arguments, capsys)


def test_a_run_without_its_stages_is_said_to_be(copied, capsys):
    run = copied("epoch")
    shutil.rmtree(run / "stages")
    assert "has not what a fit needs to go on: fit again" in refused(fit, ["--resume", str(run)], capsys)


def test_the_option_is_taken_in_any_place():
    assert take_resume(["-c", "a", "--resume=b", "--d"]) == ("b", ["-c", "a", "--d"])
    assert take_resume(["--ckpt_path", "b"]) == ("b", [])
    assert take_resume(["--model=a=b"]) == (None, ["--model=a=b"])


# Runs that are not complete -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "advice"), [("epoch", "fit --resume"), ("tables", "finish")])
def test_a_run_that_is_not_complete_says_so(name, advice, stopped, copied, capsys, caplog, tmp_path):
    run, stars = copied(name), str(stopped[0] / "stars.parquet")
    says = f"{run} is not complete: stream-mapper {advice} {run}"
    assert says in refused(report, [str(run)], capsys)
    to = ["--catalogue", stars, "--output", str(tmp_path / "out.parquet")]
    assert says in refused(predict, ["--checkpoint", str(run), *to], capsys)
    with pytest.raises(InputError, match="is not complete: stream-mapper"):
        sml.load(run)
    sml.load(run / "checkpoints" / "last.ckpt")
    assert says in caplog.text
    if name == "epoch":
        missing = refused(predict, ["--checkpoint", str(run / "checkpoints" / "best.ckpt"), *to], capsys)
        assert missing == f"error: {run / 'checkpoints' / 'best.ckpt'}: no such checkpoint; {says} goes on with it."


def test_a_complete_run_has_nothing_left(stopped, tmp_path):
    assert left_of(stopped[0] / "whole" / "version_0") is None
    assert left_of(tmp_path) is None


# A folder of several --------------------------------------------------------------------------------------------------


def test_a_folder_is_made_for_one_fit_alone(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(claims.new_folder, [tmp_path / "runs"] * 64))
    assert sorted(int(path.name.removeprefix("version_")) for path in made) == list(range(64))


def test_two_fits_into_one_folder_at_once_are_two_runs(stopped, resumed):
    runs = [stopped[0] / "whole" / f"version_{i}" for i in range(2)]
    assert sorted((stopped[0] / "whole").iterdir()) == runs
    assert resumed.differences(*runs) == []


HOLD = """
import fcntl, sys, time
file = open(sys.argv[1] + "/.lock", "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("taken", flush=True)
time.sleep(600)
"""


def test_a_run_that_goes_on_is_not_gone_on_with_by_another(copied, capsys):
    run = copied("epoch")
    kept = StreamCLI(["--config", str(run / "config.yaml")]).kept()
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "taken\n"
    try:
        assert "another fit is being made there" in refused(fit, ["--resume", str(run)], capsys)
        assert newest_run(run.parent, kept) is None
    finally:
        other.kill()
        other.wait()
    assert newest_run(run.parent, kept) == run  # a process that was killed has nothing any more
    claims.give_back(run)


def test_the_newest_run_of_this_configuration_goes_on(copied, caplog):
    old, new = copied("epoch"), copied("next epoch")
    os.utime(old / "config.yaml", (1, 1))
    kept = StreamCLI(["--config", str(new / "config.yaml")]).kept()
    assert newest_run(new.parent, kept) == new
    claims.give_back(new)
    assert newest_run(new.parent, kept | {"seed_everything": 9}) is None
    assert "is of another configuration (seed_everything: 9 in place of 0): it stays as it is" in caplog.text
    (new / "metrics.json").write_text("{}")
    assert newest_run(new.parent, kept) == old
    claims.give_back(old)


def test_processes_that_a_cluster_started_together_name_the_run(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="several processes were started at once; give the folder"):
        newest_run(tmp_path, {})
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("STREAM_MAPPER_RESUMED", raising=False)
    with pytest.raises(InputError, match="several processes"):
        newest_run(tmp_path, {})
    monkeypatch.setenv("STREAM_MAPPER_RESUMED", str(tmp_path))  # by the first process, of those that it starts
    assert newest_run(tmp_path, {}) == tmp_path


def test_stages_that_are_not_kept_cost_nothing(tmp_path):
    stages = Stages()
    stages.check("the table", lambda: pytest.fail("it was asked for"))
    assert stages.do("polish", torch.nn.Linear(1, 1), lambda: 3) == 3
    assert stages.folder is None
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_named(stopped):
    root, statuses = stopped
    said = [line for line in (root / "full.log").read_text().splitlines() if line.startswith("error: ")]
    assert statuses["full"] == 2
    assert len(said) == 1
    assert "File too large" in said[0]
    assert "stages/background.0.ckpt" in said[0]
