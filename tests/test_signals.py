"""SIGTERM ends a command with status 143 and one line, wherever it comes and whatever libraries make of it."""

import contextlib
import os
import signal
import sys
import time

import pytest

import stream_mapper.__main__ as console
from stream_mapper.catalog import replace_file
from stream_mapper.commands import run
from stream_mapper.errors import InputError
from stream_mapper.signals import Terminated, heeding_sigterm, take_back_sigterm

pytestmark = pytest.mark.usefixtures("messages_as_they_were")


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1)


def work_on(seconds=30):
    """What goes on if the exception was lost."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.01)


class Finalised:
    def __del__(self):
        terminate()


def in_a_finaliser(_):
    del [Finalised()][0]
    work_on()


def where_everything_is_caught(_):
    with contextlib.suppress(BaseException):
        terminate()
    work_on()


def in_an_import(_):
    """As numpy's import for C, which makes an ImportError of whatever is raised."""
    try:
        terminate()
    except BaseException:
        raise ImportError("numpy.core.multiarray failed to import") from None


def where_it_becomes_an_input_error(_):
    try:
        terminate()
    except BaseException:
        raise InputError("the configuration cannot be used") from None


def where_it_becomes_an_exit(_):
    try:
        terminate()
    except BaseException:
        sys.exit(1)


def and_again_while_things_are_put_in_order(folder):
    """A second one, and the time of several looks: what is put in order is not disturbed."""
    try:
        terminate()
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.7)
        (folder / "in order").touch()


def in_a_write(folder):
    def write(new):
        new.write_text("half")
        terminate()

    replace_file(folder / "t.txt", write)


MOMENTS = (
    in_a_finaliser,
    where_everything_is_caught,
    in_an_import,
    where_it_becomes_an_input_error,
    where_it_becomes_an_exit,
    and_again_while_things_are_put_in_order,
    in_a_write,
)


def forked(work, folder):
    """Exit status of a function in a process of its own, and what it said."""
    said = folder / "said"
    child = os.fork()
    if child == 0:
        try:
            os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 2)
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
            sys.unraisablehook = sys.__unraisablehook__
            work()
        except SystemExit as stop:
            sys.stderr.flush()
            os._exit(stop.code)
        finally:
            os._exit(99)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    text = said.read_text()
    said.unlink()
    return status, text.splitlines()


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)
def test_sigterm_is_143_and_a_line(moment, tmp_path):
    status, lines = forked(lambda: run(moment, tmp_path), tmp_path)
    assert status == 143
    assert lines == ["terminated: no file is half written; start the same command again"]
    assert os.listdir(tmp_path) == (["in order"] if "order" in moment.__name__ else [])


def test_sigterm_is_143_before_a_command_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(console.importlib, "import_module", in_an_import)
    status, lines = forked(lambda: console.main(["fit"]), tmp_path)
    assert status == 143
    assert [line.split(":")[0] for line in lines] == ["terminated"]


def test_a_library_that_takes_the_signal_loses_it_again(tmp_path):
    def taken(_):
        signal.signal(signal.SIGTERM, lambda *_: time.sleep(30))
        take_back_sigterm()
        terminate()

    assert forked(lambda: run(taken, []), tmp_path)[0] == 143
    take_back_sigterm()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # outside of a command it is nobody's


def test_what_is_left_is_said(tmp_path):
    def leave(_):
        raise Terminated("3 of 9 parts\n are done")

    def stopped(_):
        try:
            terminate()
        except Terminated:
            leave(_)

    assert forked(lambda: run(stopped, []), tmp_path) == (143, ["terminated: 3 of 9 parts are done"])


def test_an_error_without_a_signal_stays_what_it_is(tmp_path):
    """The table above could not fail otherwise."""

    def refuse(_):
        raise InputError("no such table")

    assert forked(lambda: run(refuse, []), tmp_path) == (2, ["error: no such table"])


def test_all_is_as_it_was_afterwards():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)], sys.unraisablehook
    with heeding_sigterm(), heeding_sigterm():
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    assert before == ([signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)], sys.unraisablehook)


def test_once_the_work_of_a_process_is_done_sigterm_changes_nothing(tmp_path):
    def work():
        with heeding_sigterm(until_exit=True):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        sys.exit(0)

    assert forked(work, tmp_path) == (0, [])


def test_a_handler_of_ones_own_stays(capsys):
    ours = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        run(lambda _: os.kill(os.getpid(), signal.SIGTERM), [])
    finally:
        signal.signal(signal.SIGTERM, ours)
    assert capsys.readouterr().err == ""
