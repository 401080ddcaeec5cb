"""What a user reads when a run ends."""

from __future__ import annotations

import sys

import pytest

from monai_mamba.errors import InputError, show_errors_briefly


@pytest.fixture
def show(monkeypatch):
    """Show an exception as the end of a program does; others than ours go to a hook that prints OTHER."""
    monkeypatch.setattr(sys, "excepthook", lambda *_: print("OTHER", file=sys.stderr))
    show_errors_briefly()

    def end(error: BaseException) -> None:
        sys.excepthook(type(error), error, error.__traceback__)

    return end


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
