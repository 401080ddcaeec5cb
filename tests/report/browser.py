"""A headless Chromium driven over the WebDriver protocol, which is plain HTTP with JSON."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--window-size=1000,900",
]
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND"


class Browser:
    """One page in a browser without a network."""

    def __init__(self, port: int, profile: Path, binary: str) -> None:
        self.port, self.session = port, ""
        options = {"binary": binary, "args": [*ARGUMENTS, OFFLINE, f"--user-data-dir={profile}"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self.session = "/" + self._call("POST", "", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def open(self, path: Path) -> None:
        """Open a file."""
        self._call("POST", "/url", {"url": path.resolve().as_uri()})

    def run(self, script: str) -> Any:
        """What a script returns in the page."""
        return self._call("POST", "/execute/sync", {"script": script, "args": []})

    def wait_for(self, script: str, *expected: object, seconds: float = 240) -> Any:
        """Repeat a script until it returns one of the expected values."""
        end = time.monotonic() + seconds
        while (value := self.run(script)) not in expected:
            assert time.monotonic() < end, f"{script}: {value!r} after {seconds} s; expected one of {expected}"
            time.sleep(0.2)
        return value

    def log(self) -> list[str]:
        """Errors that the browser has written to its console, such as violations of the page's policy."""
        return [entry["message"] for entry in self._call("POST", "/se/log", {"type": "browser"}) if _is_error(entry)]

    def screenshot(self) -> bytes:
        """The window as PNG."""
        return base64.b64decode(self._call("GET", "/screenshot"))

    def close(self) -> None:
        """End the browser."""
        self._call("DELETE", "")

    def _call(self, method: str, path: str, body: dict | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        address = f"http://127.0.0.1:{self.port}/session{self.session}{path}"
        request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=300) as answer:
            return json.load(answer)["value"]


def _is_error(entry: dict[str, str]) -> bool:
    return entry["level"] == "SEVERE"


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Start a browser; the test is skipped where there is none.

    Args:
        profile: an empty folder.
    """
    driver = shutil.which("chromedriver")
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    if not driver or not binary:
        pytest.skip("no Chromium with its chromedriver here (Debian: apt-get install chromium chromium-driver)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for_port(port)
        browser = Browser(port, profile, binary)
        try:
            yield browser
        finally:
            browser.close()
    finally:
        process.terminate()
        process.wait()


def _wait_for_port(port: int) -> None:
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError("chromedriver does not answer after 30 s")
