"""A fit on several processes is the fit on one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stream_mapper.catalog import read_table
from stream_mapper.data import Data
from stream_mapper.errors import InputError
from stream_mapper.fit import main as fit
from stream_mapper.training.batches import Batches
from stream_mapper.training.cli import StreamCLI

ROOT = Path(__file__).parent.parent
# Odd numbers of stars in the batches of the flows, of the mixture and held out: the processes' shares differ.
SMALL = "{class_path: stream_mapper.mock.TailoredMock, init_args: {n_stream: 100, n_background: 412, seed: 3}}"
QUICK = [
    "--background.max_epochs=2",
    "--trainer.max_epochs=4",
    "--results.draws=2",
    "--results.track_draws=2",
    "--results.figures=false",
]
CONFIG = ROOT / "experiments" / "mock" / "config.yaml"
ARGUMENTS = ["--config", str(CONFIG), "--data.simulator", SMALL, "--background.copies=1", *QUICK]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
TWO = ["--trainer.devices=2", "--trainer.strategy=ddp"]


def on_two(*arguments):
    """A fit on two processes; whether there is a GPU or not, on the CPU."""
    command = [sys.executable, "-m", "stream_mapper.fit", *ARGUMENTS, *arguments, *TWO]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=ENVIRONMENT, check=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run folders of one process and of two, and what the two said."""
    root = tmp_path_factory.mktemp("runs")
    batches = ["--data.batch_size=92"]
    fit([*ARGUMENTS, *batches, "--trainer.default_root_dir", str(root / "one"), "--trainer.accelerator=cpu"])
    two = on_two(*batches, "--trainer.default_root_dir", str(root / "two"))
    assert two.returncode == 0, two.stderr
    return root / "one" / "version_0", root / "two" / "version_0", two


def curves(run):
    events = EventAccumulator(str(run))
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag.startswith(("train/", "val/"))]
    return {tag: np.array([event.value for event in events.Scalars(tag)]) for tag in tags}


def test_the_loss_falls_as_with_one_process(runs):
    one, two = curves(runs[0]), curves(runs[1])
    assert one.keys() == two.keys() >= {"train/loss", "train/members", "val/ln_likelihood"}
    for tag, values in one.items():
        assert len(two[tag]) == len(values) >= 4, tag
        assert two[tag] == pytest.approx(values, rel=1e-5), tag
    assert np.ptp(one["train/loss"]) > 0.1


def test_the_memberships_are_those_of_one_process(runs):
    one, two = (read_table(run / "memberships.parquet") for run in runs[:2])
    assert one.colnames == two.colnames
    assert len(one) == len(two)
    for name in one.colnames:
        if name.startswith("p_"):
            assert np.abs(np.asarray(one[name]) - np.asarray(two[name])).max() < 1e-3, name  # sums in float32
        else:
            assert np.array_equal(np.asarray(one[name]), np.asarray(two[name])), name
    assert np.ptp(np.asarray(one["p_member"])) > 0.9


def test_only_the_first_process_speaks_and_writes(runs):
    folder, said = runs[1], runs[2]
    assert said.stderr.count("training the flow over") == 2
    assert said.stderr.count("the weights are those of") == 1
    assert said.stdout.count("expected members") == 1
    assert [path.name for path in folder.parent.iterdir()] == ["version_0"]
    writers = {path.name.split(".")[-2] for path in folder.glob("events.out.tfevents*")}
    assert len(writers) == 1, writers  # the number of the process
    for pattern in ("config.yaml", "metrics.json", "checkpoints/best*", "checkpoints/last*"):
        assert len(list(folder.glob(pattern))) == 1, pattern


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--data.batch_size=1"], "training stars in batches of 1 leave 1"),
        (["--data.val_fraction=1e-3"], "1 held-out stars in batches of 1 leave 1"),
        (["--background.val_fraction=1e-3"], "1 held-out off-stream stars in batches of 1 leave 1"),
    ],
)
def test_an_input_that_cannot_be_used_is_one_line_before_there_is_a_second_process(option, message, capsys):
    with pytest.raises(SystemExit) as stop:
        fit([*ARGUMENTS, *TWO, *option, "--trainer.accelerator=cpu"])
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert said.count("\n") == 1
    assert message in said
    assert "for 2 processes to share; use fewer devices" in said


def stopped_at(path, with_signal, command, log):
    """Exit status of a fit that gets a signal as soon as a file is there, and what its processes said."""
    with log.open("w") as said:
        first = subprocess.Popen(command, stdout=said, stderr=said, env=ENVIRONMENT)
        while first.poll() is None and not path.is_file():
            time.sleep(0.01)
        first.send_signal(with_signal)
        status = first.wait(60)
    time.sleep(8)  # in which the other one ends
    return status, log.read_text()


@pytest.mark.long
def test_a_fit_on_two_processes_that_was_stopped_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    """The weights drop out star by star here, so that each process has drawn other random numbers."""
    monkeypatch.syspath_prepend(str(ROOT / "experiments" / "faults"))
    from resumed import differences, inputs

    arguments = inputs(tmp_path)
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    mixture = config["model"]["model"]["init_args"]
    mixture["net"] = mixture["net"]["init_args"]["net"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-W", "ignore", "-m", "stream_mapper.fit", *arguments, *TWO, "--trainer.accelerator=cpu"]
    whole, parts = ([*command, "--resume=auto", f"--trainer.default_root_dir={tmp_path / name}"] for name in "ab")
    assert subprocess.run(whole, env=ENVIRONMENT, check=False, capture_output=True).returncode == 0
    run = tmp_path / "b" / "version_0"
    for name, with_signal, status, lines in (
        ("stages/background.0.ckpt", signal.SIGKILL, -9, 0),
        ("checkpoints/last.ckpt", signal.SIGTERM, 143, 1),
    ):
        ended, said = stopped_at(run / name, with_signal, parts, tmp_path / "log")
        assert ended == status
        assert said.count("terminated: ") == lines
        assert "Traceback" not in said
    assert subprocess.run(parts, env=ENVIRONMENT, check=False, capture_output=True).returncode == 0
    assert differences(tmp_path / "a" / "version_0", run) == []


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("stars", "size", "processes"), [(10, 5, 2), (11, 4, 3), (7, None, 2), (101, 20, 4)])
def test_the_shares_of_a_batch_are_the_batch(stars, size, processes, shuffle):
    data = Data({"x": torch.arange(stars)})
    shares = [Batches(data, size, shuffle, 1, rank, processes) for rank in range(processes)]
    whole = Batches(data, size, shuffle, 1)
    for _ in range(2):
        for batch, *parts in zip(whole, *shares, strict=True):
            assert min(len(part) for part in parts) > 0
            shared = torch.cat([part.stars["x"] for part in parts])
            assert shared.sort().values.equal(batch.stars["x"].sort().values)
    assert sum(whole.sizes) == stars
    assert whole.sizes == [len(batch) for batch in whole]


def test_batches_too_small_to_share_are_refused():
    with pytest.raises(InputError, match="7 stars in batches of 2 leave 1 for 2 processes to share"):
        Batches(Data({"x": torch.arange(7)}), 2, world_size=2)


@pytest.mark.parametrize("strategy", ["ddp", "{class_path: lightning.pytorch.strategies.DDPStrategy}"])
def test_the_flows_run_on_what_the_mixture_does(strategy):
    """A strategy given as a class serves one trainer, so that of the flows has another one."""
    options = ["--trainer.accelerator=cpu", "--trainer.devices=3", f"--trainer.strategy={strategy}"]
    cli = StreamCLI([*ARGUMENTS, *options])
    trainer = L.Trainer(logger=False, enable_checkpointing=False, **cli.runs_on())
    assert type(trainer.strategy) is type(cli.trainer.strategy)
    assert trainer.strategy is not cli.trainer.strategy
    assert trainer.num_devices == 3
