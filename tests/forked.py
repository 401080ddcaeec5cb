"""Commands as processes of their own that need not import PyTorch and MONAI: forked from one that has done so."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from subprocess import CompletedProcess

import torch

METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"  # Windows cannot fork
CONTEXT = multiprocessing.get_context(METHOD)
CONTEXT.set_forkserver_preload(["monai_mamba", "monai.bundle", "fire"])
EXECUTABLE, RUN = sys.executable, subprocess.run  # as they are before a test changes them


class Command:
    """A command that has been started.

    Args:
        command: `[sys.executable, "-m", module, *arguments]`.
        cwd: where it runs, this folder by default.
        env: its variables, those of this process by default.
        limit: name of a limit in `resource`, and its value.

    Attributes:
        process: its process.
    """

    def __init__(
        self,
        command: Sequence[str],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        limit: tuple[str, int] | None = None,
    ) -> None:
        self.command = list(command)
        self._output, end = CONTEXT.Pipe(duplex=False)
        values = self.command[2:], str(cwd or Path.cwd()), dict(env or os.environ), limit, end
        self.process = CONTEXT.Process(target=_run, args=values)
        self.process.start()
        end.close()

    def wait(self) -> CompletedProcess:
        """Its exit status and all that it printed."""
        chunks = []
        while chunk := os.read(self._output.fileno(), 1 << 16):
            chunks.append(chunk)
        self.process.join()
        text = b"".join(chunks).decode()
        return CompletedProcess(self.command, self.process.exitcode, text, text)


def run(command: Sequence[str], **options: object) -> CompletedProcess:
    """Stands in for `subprocess.run` where a module of Python is run; stdout and stderr are one."""
    if list(command[:2]) != [EXECUTABLE, "-m"]:
        return RUN(command, **options)
    return Command(command, cwd=options.get("cwd"), env=options.get("env")).wait()


def run_as_two_processes(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> list[CompletedProcess]:
    """Run a command with the variables that `torchrun` sets for two processes, on the CPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": "2", "CUDA_VISIBLE_DEVICES": "", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [{**env, **group, "RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
    return [started.wait() for started in [Command(command, cwd, variables) for variables in ranks]]


def _run(words: list[str], cwd: str, env: dict[str, str], limit: tuple[str, int] | None, output: Connection) -> None:
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(output.fileno(), number)
        setattr(sys, name, open(number, "w", buffering=1, encoding="utf-8", errors="backslashreplace"))  # noqa: SIM115
    output.close()
    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = [part for part in env.get("PYTHONPATH", "").split(os.pathsep) if part]
    torch.set_num_threads(int(env.get("OMP_NUM_THREADS", "1")))
    os.chdir(cwd)
    if limit:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error instead of the end of the process, as with a full disk
        resource.setrlimit(getattr(resource, limit[0]), (limit[1], limit[1]))
    sys.argv = words
    try:
        runpy.run_module(words[0], run_name="__main__")
    except Exception:
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
