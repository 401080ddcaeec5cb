"""Every module of the package has tests of its name, in the folder of tests that mirrors its own."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, TESTS = ROOT / "monai_mamba", ROOT / "tests"


def test_every_module_has_tests_of_its_name() -> None:
    """`package/__main__.py` has them in `package/test_package_main.py`, because pytest wants each name once."""
    without = []
    for module in PACKAGE.rglob("*.py"):
        folder, name = module.relative_to(PACKAGE).parent, module.stem
        if name == "__main__":
            name = "_".join([*folder.parts[-1:], "main"])
        if name != "__init__" and not (TESTS / folder / f"test_{name}.py").is_file():
            without.append(module)
    assert not without
