"""What a user reads when a run ends."""

from __future__ import annotations

import io
import logging
import signal
import sys

import pytest

from monai_mamba.errors import STOPS, InputError, as_before, say_what_is_kept, show_errors_briefly


@pytest.fixture
def show(monkeypatch):
    """Show an exception as the end of a program does; others than ours go to a hook that prints OTHER."""
    monkeypatch.setattr(sys, "excepthook", lambda *_: print("OTHER", file=sys.stderr))

    def end(error: BaseException) -> None:
        sys.excepthook(type(error), error, error.__traceback__)

    with as_before():
        for number in STOPS:
            signal.signal(number, signal.SIG_DFL)  # nohup ignores one
        show_errors_briefly()
        yield end


def test_our_errors_are_one_sentence_however_deep_they_lie(show, capsys):
    try:
        try:
            raise InputError("scan.nii: is empty.")
        except InputError as error:
            raise RuntimeError("Failed to evaluate") from error
    except RuntimeError as error:
        show(error)
    assert capsys.readouterr().err == "Error: scan.nii: is empty.\n"


def test_an_argument_that_a_component_does_not_have_is_one_sentence(show, capsys):
    error = RuntimeError("Failed to instantiate")
    error.__cause__ = TypeError("f() got an unexpected keyword argument 'overlapp'")
    show(error)
    assert capsys.readouterr().err == "Error: f() got an unexpected keyword argument 'overlapp'\n"


def test_a_log_that_cannot_be_written_gives_no_tracebacks(show, capsys):
    """Its disk is full, or it went to a program that has ended, such as head."""
    logger = logging.getLogger("broken")
    logger.propagate = False
    stream = io.StringIO()
    logger.addHandler(logging.StreamHandler(stream))
    stream.close()
    logger.error("said to nobody")
    assert capsys.readouterr().err == ""


def test_other_errors_keep_their_traceback(show, capsys):
    show(ValueError("unexpected"))
    assert capsys.readouterr().err == "OTHER\n"


def test_ctrl_c_is_no_error_of_the_scan_it_interrupts(show, capsys):
    try:
        try:
            raise InputError("scan.nii: is empty.")
        except InputError:
            raise KeyboardInterrupt from None
    except KeyboardInterrupt as error:
        show(error)
    assert capsys.readouterr().err.startswith("Interrupted.")


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_to_stop_ends_in_one_sentence_and_its_status(show, number, capfd):
    say_what_is_kept("Two cups are full.")
    with pytest.raises(SystemExit) as caught:
        signal.raise_signal(number)
    assert caught.value.code == 128 + number
    signal.raise_signal(number)  # while it cleans up
    assert capfd.readouterr().err == f"Stopped by {number.name}. Two cups are full.\n"


def test_callers_from_python_get_their_own_handling_back():
    before = [sys.excepthook, *map(signal.getsignal, STOPS)]
    with as_before():
        show_errors_briefly()
        assert [sys.excepthook, *map(signal.getsignal, STOPS)] != before
    assert [sys.excepthook, *map(signal.getsignal, STOPS)] == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
def test_what_nohup_ignores_is_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with as_before():
            show_errors_briefly()
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
