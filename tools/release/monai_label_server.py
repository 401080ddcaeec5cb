"""A virtual environment with MONAI Label in it, and its server."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from monai_mamba.errors import InputError


def python_of(environment: Path) -> str:
    """The interpreter of a virtual environment."""
    return str(environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def run(*command: str | Path, **options: object) -> str:
    """Run a program, and return what it printed.

    Raises:
        InputError: it failed; the message ends with its last lines.
    """
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise InputError(f"{' '.join(map(str, command))}: exit status {done.returncode}.\n{tail}")
    return done.stdout


class Server(NamedTuple):
    """A running server: where it listens, such as `http://127.0.0.1:8000`, and the file with what it prints."""

    address: str
    log: Path

    def ask(self, path: str, data: bytes | None = None, kind: str = "application/json") -> bytes:
        """Content of the answer to a GET request, or to a POST request where there are data.

        Raises:
            InputError: the server refuses; the message ends with the last error in its log.
        """
        request = urllib.request.Request(self.address + path, data=data, headers={"Content-Type": kind})
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            time.sleep(1)  # the server answers before it writes to its log
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
            cause = next((line for line in reversed(lines) if re.match(r"[\w.]+(Error|Exception):", line)), "unknown")
            raise InputError(f"{path}: the server answered {error.code} ({cause}). Its log: {self.log}") from error

    def info(self) -> dict:
        """What the server says about itself."""
        return json.loads(self.ask("/info/"))

    def segment(self, model: str, image: str, result: Path, **params: object) -> None:
        """Write the labels of an image to a file."""
        params = {"result_extension": ".nii.gz", "result_dtype": "uint8", **params}
        form = urllib.parse.urlencode({"params": json.dumps(params)}).encode()
        query = urllib.parse.urlencode({"image": image, "output": "image"})
        result.write_bytes(self.ask(f"/infer/{model}?{query}", form, "application/x-www-form-urlencoded"))

    def train(self, model: str, **params: object) -> None:
        """Train a model and wait for the end, as 3D Slicer does.

        Raises:
            InputError: the training failed; the message ends with its last line.
        """
        self.ask(f"/train/{model}", json.dumps(params).encode())
        while (task := json.loads(self.ask("/train/")))["status"] in ("SUBMITTED", "RUNNING"):
            time.sleep(2)
        if task["status"] != "DONE":
            last = (task.get("details") or ["no output"])[-1]
            raise InputError(f"the training ended with {task['status']} ({last}). Its log: {self.log}")


@contextlib.contextmanager
def serve(environment: Path, app: Path, studies: Path, models: list[str]) -> Iterator[Server]:
    """Start the server, and end it afterwards.

    Raises:
        InputError: it does not start; the message ends with the last lines of its log.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python_of(environment), "-m", "monailabel.main", "start_server", "--app", str(app)]
    command += ["--studies", str(studies), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--conf", "models", ",".join(models), "--conf", "zoo_source", "local", "--conf", "sam2", "false"]
    path = os.pathsep.join([str(Path(python_of(environment)).parent), os.environ["PATH"]])
    log = app.parent / "server.log"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command,
            cwd=app.parent,
            env={**os.environ, "PATH": path, "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(f"http://127.0.0.1:{port}", log)
    try:
        while True:
            try:
                server.info()
                break
            except urllib.error.URLError:
                if process.poll() is not None:
                    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
                    raise InputError(f"The server does not start. The end of {log}:\n{tail}") from None
                time.sleep(1)
        yield server
    finally:
        if os.name == "nt":
            process.terminate()
        elif process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()
