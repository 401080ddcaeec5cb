"""Compiling the native kernel: once for each kind of machine, and for each version of it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from fake_compiler import script

from monai_mamba.ops.native import build

pytestmark = pytest.mark.usefixtures("cache")


def test_machines_that_share_a_home_do_not_share_a_library(
    compiler: list[str], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the same command everywhere, though the macros tell the processors apart
    monkeypatch.setenv("CXX", script(tmp_path / "c++", f'exec {shlex.join(compiler)} "$@" $PROCESSOR'))
    targets = []
    for processor, libc in (("", "2.36"), ("-D__AVX1024F__", "2.36"), ("", "2.17")):
        monkeypatch.setenv("PROCESSOR", processor)
        monkeypatch.setattr(build.platform, "libc_ver", lambda libc=libc: ("glibc", libc))
        targets.append(build.find_target())
        assert build.find_target() == targets[-1]
    assert len({target.command for target in targets}) == 1
    assert {target.library.parent for target in targets} == {cache}
    assert len({target.library for target in targets}) == 3


@pytest.mark.usefixtures("compiler")
def test_the_name_of_the_library_says_what_it_depends_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build.find_target()
    assert build.find_target() == first
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-mno-fma" if "x86" in os.uname().machine else "-DOTHER"))
    second = build.find_target()
    source = tmp_path / "scan.cpp"
    source.write_text(build.SOURCE.read_text() + "\n")
    monkeypatch.setattr(build, "SOURCE", source)
    third = build.find_target()
    assert len({first.library, second.library, third.library}) == 3


def test_one_of_two_processes_compiles(compiler: list[str], tmp_path: Path, cache: Path) -> None:
    log = tmp_path / "log"
    # "$*" holds -dM where only macros are asked for
    logging = f'case "$*" in *-dM*) ;; *) echo compiled >> {log};; esac; exec {shlex.join(compiler)} "$@" -O1'
    environment = {**os.environ, "CXX": script(tmp_path / "c++", logging), "XDG_CACHE_HOME": str(cache.parent)}
    program = (
        "import importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('build', sys.argv[1])\n"
        "sys.modules['build'] = module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "module.build(module.find_target())\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", program, build.__file__], env=environment) for _ in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0]
    assert log.read_text().split() == ["compiled"]
    assert len(list(cache.glob("scan-*.so"))) == 1
    assert sorted(path.suffix for path in cache.iterdir()) == ["", ".so"]  # nothing but the lock and the library


@pytest.mark.usefixtures("compiler")
def test_waiting_for_another_process_ends(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = build.find_target()
    cache.mkdir(parents=True)
    with build._locked(cache / "lock"):
        monkeypatch.setattr(build, "TIMEOUT", 0.2)
        with pytest.raises(build.BuildError, match="another process"):
            build.build(target)
