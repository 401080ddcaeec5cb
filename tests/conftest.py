"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # as many workers as cores: threads would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def components() -> Iterator[None]:
    """MONAI lists the classes of all its modules for every config anew; here once for the same modules."""
    # Here, because the process that only hands out the tests need not import PyTorch and MONAI before it does.
    import forked  # noqa: F401 - so that every process forked here finds them imported
    from monai.bundle import ComponentLocator

    find = ComponentLocator._find_classes_or_functions
    tables: dict[tuple[str, ...], dict[str, list]] = {}

    def find_once(self: ComponentLocator, modules: Sequence[str]) -> dict[str, list]:
        known = tuple(modules)
        if known not in tables:
            tables[known] = find(self, known)
        return tables[known]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ComponentLocator, "_find_classes_or_functions", find_once)
        yield


@pytest.fixture
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mixed precision on every processor: those without bfloat16 compute it too, only slowly."""
    from monai_mamba.inferers import autocast, sliding_window

    for module in (autocast, sliding_window):
        monkeypatch.setattr(module, "has_native_bfloat16", lambda _: True)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with reference outputs and data that do not ship with the project; without it the test is skipped."""
    folder = REPOSITORY.parent / "shared"
    if not (folder / "golden").is_dir():
        pytest.skip("reference data (folder 'shared' beside the checkout) are not here")
    return folder
