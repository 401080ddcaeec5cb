"""What the tests of the native kernel share."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_mamba.ops import choice, native
from monai_mamba.ops.native import build, loading


@pytest.fixture(scope="module")
def compiler() -> list[str]:
    """The compiler that would be used."""
    try:
        return [build.find_target().command[0]]
    except build.BuildError as error:
        pytest.skip(f"the native kernel cannot be compiled here: {error}")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a loader that knows nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(native, "loader", loading.Loader())
    choice.warn_once.cache_clear()
    return tmp_path / "cache" / "monai_mamba"
