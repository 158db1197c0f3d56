"""Asynchronous jobs of a TAP service, by pyvo, without a login; failures of the network are tried again."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from stream_mapper.archive.answer import Answer, RefusedError, TransientError, failure, read_answer
from stream_mapper.errors import InputError, check_at_least, check_positive

logger = logging.getLogger("stream_mapper")

Result = TypeVar("Result")

GAIA_ARCHIVE = "https://gea.esac.esa.int/tap-server/tap"

_WAITING = {"PENDING", "QUEUED", "EXECUTING", "RUN", "HELD", "SUSPENDED", "UNKNOWN"}
_FINISHED = {"COMPLETED", "ARCHIVED"}
_LONGEST_PAUSE = 600.0


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


def check_address(url: str) -> None:
    """Raise InputError if this is no address of a service."""
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise InputError(f"url {url!r} is no address of a TAP service; an example is {GAIA_ARCHIVE}.")


class Archive:
    """A TAP service.

    Arguments:
        url: Its address, up to the part before ``/async``.
        patience: How failures are met.

    Raises:
        InputError: If pyvo is not installed, or the address is none.
    """

    def __init__(self, url: str = GAIA_ARCHIVE, patience: Patience | None = None) -> None:
        check_address(url)
        self.url, self.patience = url.rstrip("/"), patience or Patience()
        pyvo, http = _pyvo("pyvo"), _pyvo("stream_mapper.archive.session")
        self._failures, self._session = http.failures, http.Session(self.patience.timeout)
        self._service = pyvo.dal.TAPService(self.url, session=self._session)

    @property
    def software(self) -> str:
        """Name and version of what speaks to the service."""
        return f"pyvo {importlib.import_module('pyvo').__version__}"

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
        result = job.result_uri or f"{job.url}/results/result"
        self.patience(lambda: self._session.download(result, scratch))
        return read_answer(scratch)

    def _start(self, adql: str, limit: int) -> Any:
        with self._failures():
            return self._service.submit_job(adql, maxrec=limit).run()

    def _phase(self, job: Any) -> str:
        with self._failures():
            return str(job.phase).upper()

    def _wait(self, job: Any) -> None:
        """Wait for the end of a job; look often at first, every ten seconds later."""
        start, pause = time.monotonic(), 0.1
        while (phase := self.patience(lambda: self._phase(job))) in _WAITING:
            if time.monotonic() - start > self.patience.job_time:
                raise TransientError(f"job {job.job_id} has not ended after {self.patience.job_time:g} s")
            time.sleep(pause)
            pause = min(1.5 * pause, 10.0)
        if phase == "ERROR":
            raise failure(self.patience(lambda: self._reason(job)))
        if phase not in _FINISHED:
            raise TransientError(f"job {job.job_id} ended as {phase}")

    def _reason(self, job: Any) -> str:
        """Why a job failed, as the service says at length."""
        with self._failures():
            return str(self._session.get(f"{job.url}/error").text)


def _pyvo(module: str) -> Any:
    """A module that needs pyvo.

    Raises:
        InputError: If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        advice = "pip install 'stream_mapper[query]'"
        raise InputError(f"pyvo cannot be imported ({error}); a query needs it: {advice}.") from error
