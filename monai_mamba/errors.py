"""Exceptions of the package.

Every message is a sentence a user can act on: it names the file, what was found, what was expected and what to do.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

# Of a batch system or a container, and of a terminal that is closed; Windows lacks the second.
STOPS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]

_kept = "Complete results are kept."


class MonaiMambaError(Exception):
    """Base of all errors that the package raises on purpose."""


class InputError(MonaiMambaError, ValueError):
    """An input, or an option that the user set, cannot be processed as it is."""


class OutputError(MonaiMambaError, OSError):
    """A result cannot be written where the user asked for it."""


class WeightsError(MonaiMambaError, ValueError):
    """A weights file is missing, damaged, or belongs to another network."""


class NotFiniteError(MonaiMambaError, ArithmeticError):
    """A network has computed NaN or infinity."""


class DeviceError(MonaiMambaError, RuntimeError):
    """The device asked for is not there, or has too little memory."""


class QualityError(MonaiMambaError, RuntimeError):
    """Results are there, but probably wrong."""


class BatchError(MonaiMambaError, RuntimeError):
    """Some scans of a batch could not be processed; the others were."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what led to it, and so on: MONAI wraps the errors of a config in others."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def own_error(error: BaseException) -> MonaiMambaError | None:
    """The error of the package that led to another one; None if there is none."""
    return next((cause for cause in causes(error) if isinstance(cause, MonaiMambaError)), None)


@contextmanager
def writing(what: str, advice: str = "Free some space, or choose another folder with --output_dir.") -> Iterator[None]:
    """Turn an `OSError` into an `OutputError` that says what cannot be written, and what to do."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{what} cannot be written ({error.strerror or error}). {advice}") from error


def show_errors_briefly() -> None:
    """From now on, end the program with the sentence of a `MonaiMambaError` instead of the traceback that led to it.

    Likewise for Ctrl-C, for the signals `STOPS`, which clean up as Ctrl-C does and then end the program with status
    128 + signal, and for an argument that a component does not have. Characters that the streams cannot write,
    such as those of a file name in a terminal that knows ASCII only, are escaped; a log that cannot be written (its
    disk is full, its reader has gone) gives no tracebacks. For programs that run a bundle; the exception itself is
    unchanged, so callers from Python still get all of it. Other exceptions are shown as before.
    """
    logging.raiseExceptions = False
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    show_traceback = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print(f"Interrupted. {_kept}", file=sys.stderr)
            return
        for cause in causes(error):
            wrong_argument = isinstance(cause, TypeError) and "unexpected keyword argument" in str(cause)
            if wrong_argument or isinstance(cause, MonaiMambaError):
                print(f"Error: {cause}", file=sys.stderr)
                return
        show_traceback(kind, error, traceback)

    sys.excepthook = show
    for number in STOPS if _is_main_thread() else ():
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores one
            signal.signal(number, _stop)


def say_what_is_kept(text: str) -> None:
    """From now on, this is the sentence about what a run that is stopped leaves."""
    global _kept
    _kept = text


@contextmanager
def as_before() -> Iterator[None]:
    """Undo at the end what `show_errors_briefly` and `say_what_is_kept` have changed, for callers from Python."""
    hook, kept, raises = sys.excepthook, _kept, logging.raiseExceptions
    handlers = {number: signal.getsignal(number) for number in STOPS}
    try:
        yield
    finally:
        sys.excepthook, logging.raiseExceptions = hook, raises
        say_what_is_kept(kept)
        for number, handler in handlers.items() if _is_main_thread() else ():
            signal.signal(number, handler)


def _is_main_thread() -> bool:  # no other one may say what a signal does
    return threading.current_thread() is threading.main_thread()


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one must not disturb the cleaning up
    # Not print: the signal may have come while something is printed.
    os.write(2, f"Stopped by {signal.Signals(number).name}. {_kept}\n".encode(errors="backslashreplace"))
    raise SystemExit(128 + number)
