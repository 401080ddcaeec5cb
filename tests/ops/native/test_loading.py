"""Loading the native kernel, and that whatever goes wrong costs speed and nothing else."""

from __future__ import annotations

import re
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fake_compiler import script
from scan_problems import Size, cross_problem
from torch._subclasses.fake_tensor import FakeTensorMode

from monai_mamba.errors import DeviceError
from monai_mamba.ops import cross_selective_scan, explain, native, scan_backend
from monai_mamba.ops.native import build, loading

SIZE = Size(1, 2, 21, 5, 3)
pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def hasty_library(compiler: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library, compiled in haste."""
    path = tmp_path_factory.mktemp("library") / "scan.so"
    build.build(build.Target((*compiler, *build.FLAGS, "-O1"), path))
    return path


@pytest.fixture
def quick(hasty_library: Path, monkeypatch: pytest.MonkeyPatch) -> list[build.Target]:
    """Copy the library instead of compiling it; the targets that were asked for."""
    built: list[build.Target] = []

    def copy(target: build.Target) -> None:
        built.append(target)
        target.library.parent.mkdir(parents=True)
        shutil.copy(hasty_library, target.library)

    monkeypatch.setattr(loading, "build", copy)
    return built


def scan(backend: str = "auto") -> torch.Tensor:
    problem = {name: tensor if name == "order" else tensor.float() for name, tensor in cross_problem(SIZE).items()}
    return cross_selective_scan(**problem, backend=backend)


def without_compiler(patch: pytest.MonkeyPatch, folder: Path) -> str:
    patch.delenv("CXX", raising=False)
    patch.setenv("PATH", "")
    patch.setattr(sys, "platform", "linux")
    return "there is no C++ compiler"


def missing_compiler(patch: pytest.MonkeyPatch, folder: Path) -> str:
    patch.setenv("CXX", "/nonexistent/c++")
    return "/nonexistent/c++ does not start"


def broken_compiler(patch: pytest.MonkeyPatch, folder: Path) -> str:
    patch.setenv("CXX", "/bin/false")
    return "/bin/false does not work"


def compiler_without_headers(patch: pytest.MonkeyPatch, folder: Path) -> str:
    failing = 'case "$*" in *-dM*) echo "#define X 1";; *) echo "no such file: cstring" >&2; exit 1;; esac'
    patch.setenv("CXX", script(folder / "c++", failing))
    return "no such file: cstring"


def endless_compiler(patch: pytest.MonkeyPatch, folder: Path) -> str:
    patch.setenv("CXX", script(folder / "c++", 'case "$*" in *-dM*) echo "#define X 1";; *) exec sleep 100;; esac'))
    patch.setattr(build, "TIMEOUT", 0.5)
    return "took more than"


def compiler_of_rubbish(patch: pytest.MonkeyPatch, folder: Path) -> str:
    patch.setenv("CXX", script(folder / "c++", 'for last; do :; done; echo rubbish > "$last"'))
    return "scan-"


def unwritable_cache(patch: pytest.MonkeyPatch, folder: Path) -> str:
    (folder / "file").write_text("where a folder should be")  # refuses the superuser too, unlike permissions
    patch.setenv("XDG_CACHE_HOME", str(folder / "file"))
    return "Not a directory"


def no_home(patch: pytest.MonkeyPatch, folder: Path) -> str:
    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    patch.delenv("XDG_CACHE_HOME")
    patch.setattr(Path, "home", fail)
    return "Could not determine home"


def switched_off(patch: pytest.MonkeyPatch, folder: Path) -> str:
    patch.setenv(loading.VARIABLE, "1")
    return "MONAI_MAMBA_NO_JIT is set"


def unbalanced_quotes(patch: pytest.MonkeyPatch, folder: Path) -> str:
    patch.setenv("CXX", "c++ 'quoted")
    return "No closing quotation"


def another_system(patch: pytest.MonkeyPatch, folder: Path) -> str:
    patch.setattr(build, "SYSTEM", "nt")
    return "Linux and macOS"


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(
    "obstacle",
    [
        without_compiler,
        missing_compiler,
        broken_compiler,
        compiler_without_headers,
        endless_compiler,
        compiler_of_rubbish,
        unwritable_cache,
        no_home,
        switched_off,
        unbalanced_quotes,
        another_system,
    ],
)
def test_obstacles_cost_nothing_unasked_and_one_warning_on_request(
    obstacle: Callable[[pytest.MonkeyPatch, Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "WORTHWHILE", 0)
    expected = scan("torch")
    reason = obstacle(monkeypatch, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(scan(), expected)
    with pytest.warns(UserWarning, match=re.escape(reason)) as caught:
        found = scan("native")
    assert len(caught) == 1
    assert torch.equal(found, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(scan("native"), expected)
        assert re.match(f"torch: .*{re.escape(reason)}", explain(backend="native"))
        assert re.search(f"^- native: .*{re.escape(reason)}", explain(), re.MULTILINE)
    with pytest.raises(DeviceError, match=f"{re.escape(reason)}.*backend='torch'"):
        native.forward(None, False)


@pytest.mark.usefixtures("compiler")
def test_a_kernel_that_computes_wrong_values_is_not_used(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "scan.cpp"
    source.write_text(build.SOURCE.read_text().replace("0.6931472f", "0.7f"))
    monkeypatch.setattr(build, "SOURCE", source)
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-O1"))  # sooner made
    with pytest.warns(UserWarning, match="wrong values") as caught:
        found = scan("native")
    assert len(caught) == 1
    assert torch.equal(found, scan("torch"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan("native")
    assert "wrong values" in explain(backend="native")
    assert list(cache.glob("scan-*.so"))  # it was made and refused


def test_small_scans_neither_look_nor_compile_nor_load(
    quick: list[build.Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise LookupError("nobody asked for the native kernel")

    scan("native")  # leaves a library in the cache
    monkeypatch.setattr(native, "loader", loading.Loader())
    for name in ("find_target", "build", "Kernel"):
        monkeypatch.setattr(loading, name, fail)
    assert explain(shape=(1, 2, 21, 5), states=3).startswith("torch: the scan has fewer than 1,048,576 state updates\n")
    assert torch.equal(scan(), scan("torch"))
    with pytest.warns(UserWarning, match="nobody asked"):  # so these are the ways there are
        scan("native")


def test_the_first_large_scan_compiles_the_kernel_and_takes_it(
    quick: list[build.Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "WORTHWHILE", 2 * 21 * 5 * 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = scan(), scan()
    assert len(quick) == 1
    assert torch.equal(first, second)
    assert torch.equal(first, scan("native"))


@pytest.mark.parametrize("value", ["", "0"])
def test_compiling_can_be_allowed_again(value: str, quick: list[build.Target], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(loading.VARIABLE, "1")
    assert explain().startswith("torch: MONAI_MAMBA_NO_JIT is set\n")
    monkeypatch.setenv(loading.VARIABLE, value)
    assert explain().startswith("native: ")
    assert len(quick) == 1


def test_asking_for_the_kernel_compiles_it_once(quick: list[build.Target]) -> None:
    assert explain(backend="native").startswith("native: ")
    scan("native")
    assert len(quick) == 1


def test_the_setting_asks_for_the_kernel(quick: list[build.Target]) -> None:
    with scan_backend("native"):
        assert explain().startswith("native: ")
        found = scan()
    assert len(quick) == 1
    assert torch.equal(found, scan("native"))


def test_a_library_that_is_there_is_loaded(quick: list[build.Target], monkeypatch: pytest.MonkeyPatch) -> None:
    scan("native")
    monkeypatch.setattr(native, "loader", loading.Loader())
    assert explain(backend="native").startswith("native: ")
    assert len(quick) == 1


@pytest.mark.usefixtures("quick")
def test_tensors_without_numbers_settle_nothing() -> None:
    with FakeTensorMode(), pytest.warns(UserWarning, match="have no data"):
        assert scan("native").shape == (1, 21, 5)
    assert native.loader.kernel is None
    scan("native")
    assert native.loader.kernel is not None
