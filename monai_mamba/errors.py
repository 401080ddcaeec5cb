"""Exceptions of the package.

Every message is a sentence a user can act on: it names the file, what was found, what was expected and what to do.
"""

from __future__ import annotations

import sys
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


def own_error(error: BaseException) -> MonaiMambaError | None:
    """The error of the package that led to another one, as MONAI wraps those of a config; None if there is none."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, MonaiMambaError):
        cause = cause.__cause__ or cause.__context__
    return cause


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
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, MonaiMambaError):
            if isinstance(cause, TypeError) and "unexpected keyword argument" in str(cause):
                break
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            show_traceback(kind, error, traceback)
        else:
            print(f"Error: {cause}", file=sys.stderr)

    sys.excepthook = show
