"""Tasks on the workers of Dask: of a cluster made on this machine, or of one that runs already."""

from __future__ import annotations

import logging
import os
import signal
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from stream_mapper import __version__
from stream_mapper.errors import InputError, check_at_least

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster, Worker

Item = TypeVar("Item")
Result = TypeVar("Result")

_log = logging.getLogger("stream_mapper")
_one_at_a_time = Lock()

_EVENTS = "all"  # what the scheduler calls those that are of no worker or client
_AGAIN = 3  # times that an item is tried again whose worker has ended
_CONNECT = 20  # seconds to wait for a scheduler
_TRIM = "MALLOC_TRIM_THRESHOLD_"  # Dask has freed memory given back at once, so that each tensor waits for new pages


class LostWorkersError(InputError):
    """The workers have ended early each time that an item was tried."""


@dataclass(frozen=True)
class Workers:
    """Where tasks are computed: in this process, in some of this machine, or on a cluster of Dask.

    Arguments:
        processes: Processes of this machine.
        scheduler: Address of a scheduler, such as ``tcp://node1:8786``, whose workers are used instead.
        scheduler_file: The file in which a scheduler has written its address, in place of that.

    Raises:
        InputError: If more than one of these is asked for, or fewer than one process.
    """

    processes: int = 1
    scheduler: str | None = None
    scheduler_file: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        check_at_least("processes", self.processes)
        asked = {"processes": self.processes > 1} | {
            name: getattr(self, name) is not None for name in ("scheduler", "scheduler_file")
        }
        if len(given := [name for name, is_given in asked.items() if is_given]) > 1:
            raise InputError(f"{' and '.join(given)}: each says where to compute; give one of them.")

    @property
    def is_elsewhere(self) -> bool:
        """Whether a cluster is named that runs already."""
        return self.scheduler is not None or self.scheduler_file is not None

    def are_many(self, items: int) -> bool:
        """Whether so many items are shared out, or computed in this process, which needs no cluster."""
        return items > 0 and (self.is_elsewhere or min(self.processes, items) > 1)

    def results(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        name: Callable[[Item], str],
        lost: Callable[[Item, InputError], Result] | None = None,
    ) -> Generator[tuple[Item, Result]]:
        """The results of a function, each with the item that it is of, as they are found.

        Without a cluster they come in the order of the items. A worker that ends early
        is said in a line, and what it was at is tried again, on any worker.

        Arguments:
            function: What is computed; a worker has to be able to import it.
            items: What it is computed of.
            name: What messages call an item.
            lost: Gives a result to an item at which the workers end early each time that it is tried, of the error
                that says so; by default the error is raised.

        Raises:
            InputError: If there are no workers to be had, or they end early each time that one item is tried.
        """
        if not self.are_many(len(items)):
            yield from ((item, function(item)) for item in items)
            return
        with self._client(len(items)) as client:
            task = partial(_in_turn, __version__, self._threads(), function)
            yield from _results(client, task, items, name, lost)

    def _threads(self) -> int | None:
        """Threads of torch for each process of this machine; a worker elsewhere knows its own."""
        return None if self.is_elsewhere else max(1, torch.get_num_threads() // self.processes)

    @contextmanager
    def _client(self, items: int) -> Iterator[Client]:
        """A connection to the scheduler; a cluster of this machine lasts as long."""
        distributed = _distributed()
        with ExitStack() as stack:
            given: dict[str, Any]
            if self.is_elsewhere:
                given = {"address": self.scheduler} if self.scheduler_file is None else {"scheduler_file": self._file()}
            else:
                given = {"address": stack.enter_context(_cluster_here(min(self.processes, items)))}
            try:
                client = stack.enter_context(distributed.Client(**given, timeout=_CONNECT, set_as_default=False))
            except (OSError, ValueError, TimeoutError) as error:
                where = self.scheduler or self.scheduler_file
                advice = "is it running, and can it be reached from here?"
                raise InputError(f"no scheduler answers at {where} ({error}); {advice}") from error
            if self.is_elsewhere and not client.nthreads():
                _log.info("%s has no workers yet; the work begins when there is one.", client.scheduler.address)
            yield client

    def _file(self) -> str:
        """The file of the scheduler, which Dask would wait for without end."""
        path = str(self.scheduler_file)
        if not Path(path).is_file():
            raise InputError(f"{path}: does not exist; give the file that `dask scheduler --scheduler-file` writes.")
        return path


class _Watch:
    """Says in a line that a worker ended early.

    Arguments:
        names: What messages call the tasks, by their keys.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names
        self._told: set[str] = set()  # a scheduler tells some events twice

    def __call__(self, event: tuple[float, Any]) -> None:
        """Heed an event of the scheduler."""
        _, told = event
        if not isinstance(told, dict) or told.get("action") != "remove-worker" or told.get("expected"):
            return
        lost = [self.names[key] for key in told["processing-tasks"] if key in self.names]
        if lost and told["worker"] not in self._told:
            self._told.add(told["worker"])
            text = "a worker ended early, perhaps for want of memory; it was at %s, which is tried again up to 3 times."
            _log.warning(text, ", ".join(sorted(lost)))


def _results(
    client: Client,
    function: Callable[[Item], Result],
    items: Sequence[Item],
    name: Callable[[Item], str],
    lost: Callable[[Item, InputError], Result] | None,
) -> Generator[tuple[Item, Result]]:
    """The results of tasks, as they end."""
    run = uuid.uuid4().hex
    of = {f"stream-mapper-{run}-{i}": item for i, item in enumerate(items)}
    client.subscribe_topic(_EVENTS, _Watch({key: name(item) for key, item in of.items()}))
    try:
        futures = [client.submit(function, item, key=key, pure=False) for key, item in of.items()]
        for future in _distributed().as_completed(futures, loop=client.loop):
            item = of[future.key]
            try:
                result = _result(future, name(item))
            except LostWorkersError as error:
                if lost is None:
                    raise
                result = lost(item, error)
            yield item, result
            future.release()
    finally:
        client.unsubscribe_topic(_EVENTS)


def _result(future: Future[Result], name: str) -> Result:
    """The result of a task that has ended.

    Raises:
        InputError: If it could not be computed by these workers.
    """
    distributed = _distributed()
    try:
        return future.result()
    except distributed.KilledWorker as error:
        times = error.allowed_failures + 1
        advice = "what is done is kept; start again with fewer processes or less in memory at once"
        text = f"{name}: {times} workers ended while they were at it, perhaps for want of memory; {advice}."
        raise LostWorkersError(text) from error
    except ModuleNotFoundError as error:
        raise InputError(f"a worker cannot import what it needs ({error}); install the same there.") from error


def _in_turn(version: str, threads: int | None, function: Callable[[Item], Result], item: Item) -> Result:
    """One task of a worker, which has one at a time, in all its threads: models change while they are computed with."""
    if version != __version__:
        raise InputError(f"a worker has stream_mapper {__version__}, not {version}; install the same there.")
    with _one_at_a_time:
        torch.set_num_threads(threads or _distributed().get_worker().state.nthreads)
        return function(item)


def dask_setup(_: Worker) -> None:
    """Begin a worker of this machine: Dask calls this as the module is given as ``preload``.

    Ctrl-C ends the process that asked for the work, and that ends its workers, which have nothing to say.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _cluster_here(processes: int) -> Iterator[LocalCluster]:
    """A cluster of so many processes of this machine, which nobody else can talk to."""
    import dask  # noqa: PLC0415 (loaded if it is needed)

    distributed = _distributed()
    before = dask.config.get("distributed.nanny.pre-spawn-environ")
    settings = {
        "distributed.nanny.pre-spawn-environ": {name: before[name] for name in before if name != _TRIM},
        "distributed.scheduler.worker-saturation": 1.0,  # a worker that ends takes one task with it
        "distributed.worker.multiprocessing-method": "spawn",
        "distributed.deploy.lost-worker-timeout": "1 day",  # of one that starts again, which may take longer than 15 s
        "distributed.scheduler.allowed-failures": _AGAIN,
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
    }
    with dask.config.set(settings), _begun(distributed.LocalCluster, processes) as cluster:
        yield cluster


def _begun(kind: type[LocalCluster], processes: int, again: int = _AGAIN) -> LocalCluster:
    """A cluster all of whose processes have begun; where one of them ends at once, all are begun anew, a few times.

    Raises:
        InputError: If one ends each time.
    """
    try:
        return kind(
            n_workers=processes,
            threads_per_worker=1,
            memory_limit=0,  # what a task holds is bounded by the one who asked for it
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # any port that is free
            security=True,
            silence_logs=logging.CRITICAL,
            preload=[__name__],
        )
    except ImportError as error:  # of what makes the keys
        raise _missing(error) from error
    except RuntimeError as error:
        if not again:
            text = f"{processes} processes cannot be begun ({error}); start again with fewer"
            raise InputError(f"{text}.") from error
        _log.warning("a worker ended while it began, perhaps for want of memory; all are begun anew.")
        return _begun(kind, processes, again - 1)


def _distributed() -> Any:
    """Dask's scheduler and workers.

    Raises:
        InputError: If they are not installed.
    """
    try:
        import distributed  # noqa: PLC0415 (loaded if it is needed)
    except ImportError as error:
        raise _missing(error) from error
    return distributed


def _missing(error: ImportError) -> InputError:
    """What to say of Dask, or a part of it, that is not installed."""
    advice = "pip install 'stream_mapper[dask]', or leave --processes at 1"
    return InputError(f"to share out the work needs Dask, which is not installed ({error}): {advice}.")
