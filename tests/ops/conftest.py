"""What the tests of the operators share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _no_native_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results do not depend on what earlier runs left in the user's cache; the tests of the kernel lift this."""
    monkeypatch.setenv("MONAI_MAMBA_NO_JIT", "1")
