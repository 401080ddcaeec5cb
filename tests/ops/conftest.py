"""What the tests of the operators share."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_mamba.ops import native
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
