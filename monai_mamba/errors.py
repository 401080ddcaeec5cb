"""Exceptions of the package.

Every message is a sentence a user can act on: it names the file, what was found, what was expected and what to do.
"""

from __future__ import annotations


class MonaiMambaError(Exception):
    """Base of all errors that the package raises on purpose."""


class InputError(MonaiMambaError, ValueError):
    """An input, or an option that the user set, cannot be processed as it is."""


class OutputError(MonaiMambaError, OSError):
    """A result cannot be written where the user asked for it."""


class WeightsError(MonaiMambaError, ValueError):
    """A weights file is missing, damaged, or belongs to another network."""


class DeviceError(MonaiMambaError, RuntimeError):
    """The device asked for is not there, or has too little memory."""


class BatchError(MonaiMambaError, RuntimeError):
    """Some scans of a batch could not be processed; the others were."""
