"""What the tests of the operators share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from monai_mamba.ops import choice, mamba_ssm, native, scan_backend
from monai_mamba.ops.native import build, loading
from monai_mamba.ops.native.kernel import Kernel


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of the native kernel, compiled for this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        try:
            target = build.find_target()
        except build.BuildError as error:
            pytest.skip(f"the native kernel cannot be compiled here: {error}")
        build.build(target)
        return target.library


@pytest.fixture
def kernel(library: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """The native kernel, loaded, so that scans that ask for it take it."""
    loader = loading.Loader()
    loader.kernel = Kernel(library)
    monkeypatch.setattr(native, "loader", loader)
    return loader.kernel


@pytest.fixture
def fresh() -> Iterator[None]:
    """Forget what was found out and said before, and after."""
    mamba_ssm.probe.cache_clear()
    choice.warn_once.cache_clear()
    with scan_backend("auto"):
        yield
    mamba_ssm.probe.cache_clear()
    choice.warn_once.cache_clear()


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType | None], None]:
    """Put a module, or a hole, in the place of mamba-ssm's kernel, and let the CPU count as the device it runs on."""

    def put(module: ModuleType | None) -> None:
        monkeypatch.setattr(mamba_ssm, "DEVICE_TYPE", "cpu")
        monkeypatch.setitem(sys.modules, mamba_ssm.MODULE, module)

    return put
