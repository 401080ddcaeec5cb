"""Exceptions of the package.

Every message is a sentence a user can act on: it names the file, what was found, what was expected and what to do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType


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

    Likewise for Ctrl-C, and for an argument that a component does not have. Characters that the streams cannot write,
    such as those of a file name in a terminal that knows ASCII only, are escaped. For programs that run a bundle; the
    exception itself is unchanged, so callers from Python still get all of it. Other exceptions are shown as before.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    show_traceback = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print("Interrupted. Complete results are kept.", file=sys.stderr)
            return
        for cause in causes(error):
            wrong_argument = isinstance(cause, TypeError) and "unexpected keyword argument" in str(cause)
            if wrong_argument or isinstance(cause, MonaiMambaError):
                print(f"Error: {cause}", file=sys.stderr)
                return
        show_traceback(kind, error, traceback)

    sys.excepthook = show
