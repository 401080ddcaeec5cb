"""Compiling the native kernel on the machine that runs it, and keeping the result for the next time."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("scan.cpp")
TOKENS = 32  # tokens between two kept states
COLUMNS = 16  # channels of kept states that lie together, whatever the lanes
SIZES = (f"-DTOKENS={TOKENS}", f"-DCOLUMNS={COLUMNS}")
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=fast", "-fPIC", "-shared", "-pthread", *SIZES)
SYSTEM = os.name
COMPILERS = ("c++", "g++", "clang++")
TIMEOUT = 60.0  # seconds to compile, and to wait for another process that compiles


class BuildError(Exception):
    """The library cannot be had; the text is the reason."""


class Target(NamedTuple):
    """What to build.

    Attributes:
        command: compiler and flags.
        library: the file to make; its name says all that it depends on.
    """

    command: tuple[str, ...]
    library: Path


def find_target() -> Target:
    """Find compiler, flags and place of the library for this machine.

    The compiler is ``$CXX``, or else the first of c++, g++ and clang++. It is asked for its predefined macros: they
    name its version and the instruction sets of this processor. Machines that share a home but differ in these, or in
    the C library, each get a library of their own.

    Raises:
        BuildError: there is no compiler, it does not work, or there is no home for the library.
    """
    if SYSTEM != "posix":
        raise BuildError(f"it supports Linux and macOS only, this is {sys.platform}")
    compiler = _compiler()
    for flags in ((*FLAGS, "-march=native"), FLAGS):  # not every compiler knows the processor it runs on
        result = _run(*compiler, *flags, "-x", "c++", "-dM", "-E", os.devnull)
        if result.returncode == 0:
            break
    else:
        raise BuildError(f"the C++ compiler {shlex.join(compiler)} does not work{_last_line(result)}")
    digest = hashlib.sha256(SOURCE.read_bytes())
    digest.update(f"{shlex.join((*compiler, *flags))}\n{platform.libc_ver()}\n{result.stdout}".encode())
    return Target((*compiler, *flags), cache_folder() / f"scan-{digest.hexdigest()[:20]}.so")


def _compiler() -> list[str]:
    wanted = shlex.split(os.environ.get("CXX", ""))
    if wanted:
        return wanted
    if sys.platform == "darwin" and _run("xcode-select", "-p").returncode:
        raise BuildError("there is no C++ compiler")  # calling the placeholder would ask the user to install one
    found = next(filter(None, map(shutil.which, COMPILERS)), None)
    if found is None:
        raise BuildError("there is no C++ compiler")
    return [found]


def cache_folder() -> Path:
    """The user's folder for what can be made again.

    Raises:
        BuildError: the user has no home.
    """
    if root := os.environ.get("XDG_CACHE_HOME"):
        return Path(root) / "monai_mamba"
    try:
        home = Path.home()
    except RuntimeError as error:
        raise BuildError(f"there is no folder to store it in ({error})") from error
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "monai_mamba"


def build(target: Target) -> None:
    """Compile the library unless it is there; of several processes one compiles and the others wait.

    Raises:
        BuildError: the compiler fails or takes too long, or another process does.
        OSError: the library's folder cannot be written.
    """
    folder = target.library.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(folder / "lock"):
        if target.library.exists():
            return
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            output = Path(scratch) / target.library.name
            result = _run(*target.command, str(SOURCE), "-o", str(output))
            if result.returncode:
                raise BuildError(f"the C++ compiler {target.command[0]} failed{_last_line(result)}")
            output.replace(target.library)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    import fcntl  # not on Windows

    deadline = time.monotonic() + TIMEOUT
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BuildError(f"another process has held {path} for {TIMEOUT:.0f} s") from None
                time.sleep(0.05)
        yield


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{command[0]} took more than {TIMEOUT:.0f} s") from error
    except OSError as error:
        raise BuildError(f"{command[0]} does not start ({error})") from error


def _last_line(result: subprocess.CompletedProcess[str]) -> str:
    lines = result.stderr.strip().splitlines()
    return f" ({lines[-1]})" if lines else ""
