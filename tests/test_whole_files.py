"""Files are whole or not there, no input is written over, and trainers leave a scheduler's signals alone."""

import errno
import os
from pathlib import Path

import lightning as L
import pytest
import torch
from astropy.table import Table
from small_models import mixture

import stream_mapper as sml
from stream_mapper.catalog import check_apart, read_table, replace_file, write_table
from stream_mapper.errors import InputError
from stream_mapper.inference.ensemble import Ensemble
from stream_mapper.predict import predict
from stream_mapper.results.checkpoint import header_of, save_whole, write_checkpoint
from stream_mapper.signals import Terminated
from stream_mapper.training.whole_files import EpochCheckpoint, WholeCheckpoints, beside_nothing, without_requeue

pytestmark = pytest.mark.usefixtures("messages_as_they_were")

STOPS = (OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), Terminated(), RuntimeError("torch"))


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: type(stop).__name__)
def test_whatever_stops_the_writing_the_old_file_stays(stop, tmp_path):
    target = tmp_path / "t.txt"
    target.write_text("old")

    def write(new):
        new.write_text("half of the n")
        raise stop

    with pytest.raises(type(stop)) as stopped:
        replace_file(target, write)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["t.txt"]
    if isinstance(stop, OSError):
        assert str(target) in str(stopped.value)


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """Else a failure of power could leave the name with nothing, or half, behind it."""
    events = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append("sync"), fsync(fd)))
    monkeypatch.setattr(Path, "replace", lambda *paths: (events.append("name"), replace(*paths)))
    replace_file(tmp_path / "t.txt", lambda new: new.write_text("new"))
    assert events == ["sync", "name", "sync"]


@pytest.mark.parametrize("suffix", ["fits", "ecsv", "csv", "parquet", "vot"])
def test_a_full_disk_is_one_line_with_the_name(suffix, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device") as refused:
        write_table(Table({"g": [1.0]}), tmp_path / f"t.{suffix}")
    assert f"t.{suffix}" in str(refused.value)
    assert not list(tmp_path.iterdir())


# Outputs that are inputs ----------------------------------------------------------------------------------------------


def same(tmp_path, kind):
    """Another name of a file."""
    table, other = tmp_path / "t.parquet", tmp_path / "other.parquet"
    write_table(Table({"g": [1.0]}), table)
    if kind == "symbolic link":
        other.symlink_to(table.name)
    elif kind == "hard link":
        other.hardlink_to(table)
    elif kind == "another way":
        (tmp_path / "in").mkdir()
        other = tmp_path / "in" / ".." / "t.parquet"
    return table, table if kind == "the file" else other


@pytest.mark.parametrize("kind", ["the file", "symbolic link", "hard link", "another way"])
def test_an_output_that_is_read_is_refused(kind, tmp_path):
    table, other = same(tmp_path, kind)
    before = table.read_bytes()
    for source, target in ((table, other), (other, table)):
        with pytest.raises(InputError, match="which is read; give the output a name of its own"):
            predict(str(tmp_path / "best.ckpt"), str(source), str(target))
    assert table.read_bytes() == before
    check_apart(tmp_path / "new.parquet", table, other)


# Checkpoints ----------------------------------------------------------------------------------------------------------


class Falls(L.LightningModule):
    """A fit that gets worse from epoch to epoch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch, batch_idx):
        return (self.weight - batch[0]).square().sum()

    def validation_step(self, batch, batch_idx):
        self.log("val", -float(self.current_epoch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore")
def test_the_last_checkpoint_is_of_the_last_epoch(tmp_path):
    """Lightning's is that of the last best one."""
    saver = EpochCheckpoint(tmp_path, filename="best", monitor="val", mode="max", save_last=True)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = L.Trainer(max_epochs=4, callbacks=[saver], num_sanity_val_steps=0, **quiet)
    trainer.strategy.checkpoint_io = WholeCheckpoints()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(4)), batch_size=2)
    module = Falls()
    trainer.fit(module, loader, loader)
    epochs = {path.stem: torch.load(path, weights_only=True)["epoch"] for path in tmp_path.glob("*.ckpt")}
    assert epochs == {"best": 0, "last": 3}
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(last["weight"], module.weight.detach())


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "checkpoints" / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"epoch": 1}, path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left on device") as stopped:
        WholeCheckpoints().save_checkpoint({"epoch": 2}, path)
    assert str(path) in str(stopped.value)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert os.listdir(path.parent) == ["last.ckpt"]


def test_a_checkpoint_of_an_unfinished_fit_is_said_to_be(tmp_path, caplog):
    model = mixture("stream", net=sml.nn.Constant(1))
    ensemble = Ensemble(model, 1)
    write_checkpoint(tmp_path / "last.ckpt", model, ensemble, header_of(model, ensemble), epoch=3)
    sml.load(tmp_path / "last.ckpt")
    assert "is of a fit that has not finished" in caplog.text


# A scheduler ----------------------------------------------------------------------------------------------------------


def test_trainers_leave_the_signals_of_slurm_alone(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert without_requeue() == {}
    for name, value in {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "fit", "SLURM_JOB_ID": "1"}.items():
        monkeypatch.setenv(name, value)
    (environment,) = without_requeue()["plugins"]
    assert not environment.auto_requeue
    assert not Path(beside_nothing()["default_root_dir"]).exists()


def test_a_table_is_what_was_written(tmp_path):
    """What the tests above refuse is written otherwise."""
    write_table(Table({"g": [1.0]}), tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet")["g"].tolist() == [1.0]
    save_whole(tmp_path / "a.ckpt", {"epoch": 1})
    assert torch.load(tmp_path / "a.ckpt", weights_only=True) == {"epoch": 1}
