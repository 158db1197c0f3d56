"""Tasks on workers of Dask, and none where one process is enough."""

import math
import os
import signal
import subprocess
import sys

import pytest

from stream_mapper import cluster
from stream_mapper.cluster import Workers
from stream_mapper.errors import InputError


def deadly(number):
    """Ends whoever computes it of 2."""
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_one_process_or_one_item_needs_no_dask(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert list(Workers().results(math.sqrt, [4, 9], str)) == [(4, 2), (9, 3)]
    assert list(Workers(8).results(math.sqrt, [4], str)) == [(4, 2)]
    assert list(Workers(8).results(math.sqrt, [], str)) == []
    assert list(Workers(scheduler="tcp://127.0.0.1:1").results(math.sqrt, [], str)) == []
    with pytest.raises(InputError, match=r"pip install 'stream_mapper\[dask\]', or leave --processes at 1"):
        list(Workers(2).results(math.sqrt, [4, 9], str))


def test_dask_is_not_loaded_before_it_is_needed():
    code = "import sys, stream_mapper.predict, stream_mapper.prediction; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "stream_mapper.cluster" in loaded
    assert {"dask", "distributed", "hats", "lsdb"} & set(loaded) == set()


def test_workers_keep_the_memory_that_they_freed():
    """Else every tensor waits for new pages, which made two workers slower than one."""
    pytest.importorskip("distributed")
    names = ["MALLOC_TRIM_THRESHOLD_", "OMP_NUM_THREADS"]
    assert list(Workers(2).results(os.environ.get, names, str)) == [
        (names[0], os.environ.get(names[0])),
        (names[1], "1"),
    ]


def test_an_item_that_ends_every_worker_is_named(monkeypatch, caplog):
    pytest.importorskip("distributed")
    monkeypatch.setattr(cluster, "_AGAIN", 1)
    with pytest.raises(InputError, match="part 2: 2 workers ended while they were at it, perhaps for want of memory"):
        list(Workers(2).results(deadly, [2, 3, 4], "part {}".format))
    said = [line for line in caplog.messages if "a worker ended early" in line]
    assert len(said) == 2
    assert all("it was at part 2" in line for line in said)


def test_an_item_that_ends_every_worker_may_have_a_result_of_its_own(monkeypatch):
    """The others have theirs."""
    distributed = pytest.importorskip("distributed")

    class Done:
        """A task that has ended; 3 has ended its workers, too."""

        def __init__(self, function, item, key):
            self.key, self.item, self.function = key, item, function

        def result(self):
            if self.item == 3:
                raise distributed.KilledWorker(self.key, None, 3)
            return self.function(self.item)

        def release(self):
            """Keep nothing."""

    class Cluster:
        """A scheduler whose tasks have ended when they are handed over."""

        loop = None
        submit = staticmethod(lambda function, item, key, pure: Done(function, item, key))
        subscribe_topic = unsubscribe_topic = staticmethod(lambda *_: None)

    monkeypatch.setattr(distributed, "as_completed", lambda futures, loop: futures)
    lost = lambda item, error: f"{item} {error}"  # noqa: E731
    found = dict(cluster._results(Cluster(), math.sqrt, [4, 3, 9], "part {}".format, lost))
    assert (found[4], found[9]) == (2, 3)
    assert found[3].startswith("3 part 3: 4 workers ended while they were at it")
    with pytest.raises(cluster.LostWorkersError, match="part 3: 4 workers ended"):
        list(cluster._results(Cluster(), math.sqrt, [4, 3, 9], "part {}".format, None))


@pytest.mark.parametrize("failures", [2, 9])
def test_processes_that_end_while_they_begin_are_begun_anew(failures, caplog):
    begun = []

    def local_cluster(**options):
        begun.append(options["n_workers"])
        if len(begun) <= failures:
            raise RuntimeError("Nanny failed to start.")
        return "a cluster"

    if failures > cluster._AGAIN:
        with pytest.raises(InputError, match=r"7 processes cannot be begun \(Nanny failed to start\.\); start again"):
            cluster._begun(local_cluster, 7)
    else:
        assert cluster._begun(local_cluster, 7) == "a cluster"
    assert begun == [7] * (min(failures, cluster._AGAIN) + 1)
    assert caplog.text.count("a worker ended while it began") == min(failures, cluster._AGAIN)


def test_workers_of_another_version_are_refused():
    with pytest.raises(InputError, match=r"a worker has stream_mapper .*, not 0\.0\.1; install the same there"):
        cluster._in_turn("0.0.1", 1, math.sqrt, 4)


@pytest.mark.parametrize("count", [0, -2])
def test_fewer_than_one_process_is_refused(count):
    with pytest.raises(InputError, match="processes must be 1 or more"):
        Workers(count)


def test_places_that_contradict_each_other_are_refused():
    with pytest.raises(InputError, match="scheduler and scheduler_file: each says where to compute; give one of them"):
        Workers(scheduler="tcp://127.0.0.1:1", scheduler_file="file.json")
