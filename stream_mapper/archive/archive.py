"""Asynchronous jobs of a TAP service, by astroquery, without a login; failures of the network are tried again."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from stream_mapper.archive.answer import Answer, RefusedError, TransientError, failure, message_of, read_answer
from stream_mapper.errors import InputError, check_at_least, check_positive

logger = logging.getLogger("stream_mapper")

Result = TypeVar("Result")

GAIA_ARCHIVE = "https://gea.esac.esa.int/tap-server/tap"

_WAITING = {"PENDING", "QUEUED", "EXECUTING", "RUN", "HELD", "SUSPENDED", "UNKNOWN"}
_FINISHED = {"COMPLETED", "ARCHIVED"}
_LONGEST_PAUSE = 600.0
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Patience:
    """How often a step is tried, and how long to wait in between.

    Arguments:
        attempts: Attempts in all.
        pause: Seconds after the first failure; twice as long after each further one, up to ten minutes.
        timeout: Seconds without an answer after which a connection has failed.
        job_time: Seconds after which a job that has not ended has failed.
    """

    attempts: int = 6
    pause: float = 10.0
    timeout: float = 120.0
    job_time: float = 7200.0

    def __post_init__(self) -> None:
        check_at_least("attempts", self.attempts)
        for name in ("pause", "timeout", "job_time"):
            check_positive(name, getattr(self, name))

    def __call__(self, step: Callable[[], Result]) -> Result:
        """The result of a step, tried again after every `TransientError`.

        Raises:
            ConnectionError: If the last attempt failed too.
        """
        for attempt in range(1, self.attempts + 1):
            try:
                return step()
            except TransientError as error:
                if attempt == self.attempts:
                    raise ConnectionError(f"{error}, in the last of {attempt} attempts") from error
                pause = min(self.pause * 2 ** (attempt - 1), _LONGEST_PAUSE)
                logger.warning("%s; attempt %d of %d in %g s.", error, attempt + 1, self.attempts, pause)
                time.sleep(pause)
        raise AssertionError("there is always an attempt")


class Archive:
    """A TAP service.

    Arguments:
        url: Its address, up to the part before ``/async``.
        patience: How failures are met.

    Raises:
        InputError: If astroquery is not installed, or the address is none.
    """

    def __init__(self, url: str = GAIA_ARCHIVE, patience: Patience | None = None) -> None:
        self.url, self.patience = url.rstrip("/"), patience or Patience()
        self.connection = _Connection(self.url, self.patience.timeout)
        self._tap = _astroquery("core").Tap(connhandler=self.connection)

    @property
    def software(self) -> str:
        """Name and version of what speaks to the service."""
        return f"astroquery {importlib.import_module('astroquery').__version__}"

    def run(self, adql: str, limit: int, scratch: Path) -> Answer:
        """The answer to a query, by an asynchronous job.

        Arguments:
            adql: The query.
            limit: Most rows to answer with.
            scratch: File for the download, removed afterwards.

        Raises:
            InputError: If the archive refuses the query.
            ConnectionError: If all attempts failed.
        """
        try:
            return self.patience(lambda: self._job(adql, limit, scratch))
        except RefusedError as error:
            raise InputError(f"{self.url} refuses the query: {error}") from error
        finally:
            scratch.unlink(missing_ok=True)

    def _job(self, adql: str, limit: int, scratch: Path) -> Answer:
        """One job, from its start to its answer; each request is tried several times, and then the job."""
        job = self.patience(lambda: self._start(adql, limit))
        self._wait(job)
        self.patience(lambda: self.connection.download(f"async/{job}/results/result", scratch))
        return read_answer(scratch)

    def _start(self, adql: str, limit: int) -> str:
        with _failures():
            job = self._tap.launch_job_async(adql, background=True, maxrec=limit)
        return str(job.jobid)

    def _wait(self, job: str) -> None:
        """Wait for the end of a job; look often at first, every ten seconds later."""
        start, pause = time.monotonic(), 0.1
        while (phase := self.patience(lambda: self.connection.text(f"async/{job}/phase")).strip().upper()) in _WAITING:
            if time.monotonic() - start > self.patience.job_time:
                raise TransientError(f"job {job} has not ended after {self.patience.job_time:g} s")
            time.sleep(pause)
            pause = min(1.5 * pause, 10.0)
        if phase == "ERROR":
            raise failure(self.patience(lambda: self.connection.text(f"async/{job}/error")))
        if phase not in _FINISHED:
            raise TransientError(f"job {job} ended as {phase}")


class _Connection:
    """Astroquery's connection to a service, with a time limit and errors that say what the service said."""

    def __init__(self, url: str, timeout: float) -> None:
        address = urlsplit(url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise InputError(f"url {url!r} is no address of a TAP service; an example is {GAIA_ARCHIVE}.")
        secure, path = address.scheme == "https", address.path.strip("/")
        port = address.port or (443 if secure else 80)
        maker = _ConnectionMaker(address.hostname, port, timeout)
        connection = _astroquery("conn.tapconn").TapConn
        self._inner = connection(
            secure, address.hostname, server_context=path, port=port, sslport=port, connhandler=maker
        )

    def __getattr__(self, name: str) -> Any:
        """Everything else is astroquery's."""
        return getattr(self._inner, name)

    def check_launch_response_status(self, response: Any, _debug: bool, expected: int, **_: Any) -> bool:
        """Raise the error of a request that was not answered as expected; astroquery asks this after a start."""
        if response.status != expected:
            raise failure(response.read().decode("utf-8", "replace"), response.status)
        return False

    def text(self, path: str) -> str:
        """A short text of the service."""
        with _failures():
            return self._get(path).read().decode("utf-8", "replace")

    def download(self, path: str, target: Path) -> None:
        """Write what the service sends to a file."""
        with _failures():
            response = self._get(path)
        with target.open("wb") as file:
            while chunk := self._read(response):
                file.write(chunk)

    def _read(self, response: Any) -> bytes:
        with _failures():
            return response.read(_CHUNK)

    def _get(self, path: str) -> Any:
        """The response to a GET, redirections followed."""
        response = self._inner.execute_tapget(path)
        for _ in range(5):
            if response.status not in (301, 302, 303, 307, 308):
                break
            response = self._inner.execute_tapget(response.getheader("location"))
        self.check_launch_response_status(response, False, 200)
        return response


class _ConnectionMaker:
    """Makes connections with a time limit, which astroquery's own lack."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self._host, self._port, self._timeout = host, port, timeout

    def get_connection(self, *, ishttps: bool = False, **_: Any) -> HTTPConnection:
        """A new connection."""
        kind = HTTPSConnection if ishttps else HTTPConnection
        return kind(self._host, self._port, timeout=self._timeout)


@contextmanager
def _failures() -> Iterator[None]:
    """Call every error of the network a TransientError."""
    try:
        yield
    except (OSError, HTTPException) as error:
        raise TransientError(f"the connection failed ({message_of(str(error)) or type(error).__name__})") from error


def _astroquery(module: str) -> Any:
    """A module of astroquery's TAP client.

    Raises:
        InputError: If it is not installed.
    """
    try:
        return importlib.import_module(f"astroquery.utils.tap.{module}")
    except ImportError as error:
        advice = "pip install 'stream_mapper[query]'"
        raise InputError(f"astroquery cannot be imported ({error}); a query needs it: {advice}.") from error
