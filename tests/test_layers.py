"""The package is built in layers: a module imports from the layers below, or from its own folder (blocks do not)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LAYERS = (  # from the lowest
    ("errors", "threads", "version"),
    ("files",),
    ("grids", "options", "ranks", "labels", "ops", "optimizers"),
    ("bundle", "networks.finite", "networks.layers", "data", "picture"),
    ("networks.blocks", "transforms"),
    ("networks.nets", "metrics", "losses"),
    ("handlers", "inferers", "engines"),
    ("report",),
    ("checks",),
    ("",),  # the package itself
)


def imports_of(path: Path) -> Iterator[str]:
    """Modules of the package that a file imports, without the package's name."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            start = ".".join([*base, *filter(None, [node.module])])
            names = [f"{start}.{alias.name}" for alias in node.names] if start == "monai_mamba" else [start]
        yield from (name.removeprefix("monai_mamba.") for name in names if name.startswith("monai_mamba"))


def place(module: str) -> tuple[int, str]:
    """Number of a module's layer, and the part of the package that it belongs to."""
    return next(
        (number, part)
        for number, parts in enumerate(LAYERS)
        for part in parts
        if part in ("", module) or module.startswith(f"{part}.")
    )


def test_no_arrow_points_up() -> None:
    upward = []
    for path in sorted((ROOT / "monai_mamba").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts[1:])
        layer, part = place(module)
        for imported in imports_of(path):
            below, other = place(imported)
            sideways = below == layer and (other != part or (part == "networks.blocks" and imported != part))
            if below > layer or sideways:
                upward.append(f"{module} imports {imported}")
    assert not upward
