"""SIGTERM, which a batch system, a container or ``timeout`` ends a process with: status 143 and one line, always."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from stream_mapper.ranks import is_first

TERMINATED = 128 + signal.SIGTERM
"""Exit status after SIGTERM, as a shell has it."""

_AGAIN = 0.2  # seconds between two looks whether the exception was lost


class Terminated(SystemExit):
    """SIGTERM has come.

    Arguments:
        left: What is left of the work.
    """

    def __init__(self, left: str = "no file is half written; start the same command again") -> None:
        super().__init__(TERMINATED)
        self.left = left


class _Sigterm:
    """Ends what is going on as an error does, so that nothing half done is left; a second signal changes nothing.

    Libraries lose an exception that comes while they are imported, and Python that of a finaliser or of a callback: an
    alarm finds that nothing is being ended, and it is raised again.
    """

    def __init__(self) -> None:
        self.came = self.is_heeded = False

    def __call__(self, *_: object) -> None:
        if self.came:
            return
        self.came = True
        signal.signal(signal.SIGALRM, _raise_if_lost)
        signal.setitimer(signal.ITIMER_REAL, _AGAIN, _AGAIN)
        raise Terminated

    def let_go(self, unraisable: Any) -> None:
        """Say nothing of its exception where Python has to let it go; in place of ``sys.unraisablehook``."""
        if not (self.came and isinstance(unraisable.exc_value, Terminated)):
            sys.__unraisablehook__(unraisable)


_sigterm = _Sigterm()


def _raise_if_lost(*_: object) -> None:
    """Raise it again, unless it is being heeded: what is put in order then is not disturbed."""
    under_way = sys.exception()
    while under_way is not None:
        if isinstance(under_way, Terminated):
            return
        under_way = under_way.__context__
    raise Terminated


def sigterm_came() -> bool:
    """Whether SIGTERM has come, so that whatever is raised since may be a consequence of it."""
    return _sigterm.came


def take_back_sigterm() -> None:
    """Answer SIGTERM again where a library has taken it, if it is heeded here.

    Lightning tells the other processes before it ends one, and would wait for ever for those that are waiting for it.
    """
    if _sigterm.is_heeded and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _sigterm)


@contextmanager
def heeding_sigterm(until_exit: bool = False) -> Iterator[None]:
    """Inside, SIGTERM ends the process with status 143 and a line, whatever becomes of the exception that it raises.

    Inside another one, in a thread, and where SIGTERM is ignored or answered otherwise, it does nothing.

    Arguments:
        until_exit: Whether the work of the process is over at the end, so that there is nothing more to be ended.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    hook, alarm = sys.unraisablehook, signal.getsignal(signal.SIGALRM)
    _sigterm.came, _sigterm.is_heeded = False, True
    signal.signal(signal.SIGTERM, _sigterm)
    sys.unraisablehook = _sigterm.let_go
    try:
        yield
    except BaseException as stop:
        if not _sigterm.came:
            raise
        _end(stop)
    finally:
        _sigterm.is_heeded = False
        signal.signal(signal.SIGTERM, signal.SIG_IGN if until_exit else signal.SIG_DFL)
        sys.unraisablehook = hook
        if _sigterm.came:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, alarm)


def _end(stop: BaseException) -> NoReturn:
    """Say what is left, in the first process of a fit."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    left = stop if isinstance(stop, Terminated) else Terminated()
    if is_first():
        sys.stderr.write(f"terminated: {' '.join(left.left.split())}\n")
    raise SystemExit(TERMINATED) from None
