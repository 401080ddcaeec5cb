"""Where a bundle lies on disk, so that its configs work from any folder and as a copy."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path

from monai.bundle import ConfigWorkflow


def bundle_root(name: str, beside: str | None = None) -> str:
    """Folder of the bundle `name`, for the line `"bundle_root": "$monai_mamba.bundle_root('name')"` of its configs.

    A MONAI config cannot say where it lies itself. The folder is therefore taken from the workflow that is evaluating
    the config at this moment (found on the call stack), so that a copied or renamed bundle finds its own files and not
    those of another copy. Without such a workflow, the working folder and the checkout beside the package are searched.

    Args:
        name: name of the bundle's folder, which is also the `name` in its `configs/metadata.json` in lower case with
            underscores for blanks.
        beside: folder of another bundle, next to which the bundle is looked for first. For configs that are not run by
            a workflow (MONAI Label).

    Returns:
        Absolute path of the folder, or `"."` (the convention of the MONAI model zoo) if there is none of that name.
    """
    here, checkout = Path.cwd(), Path(__file__).resolve().parents[1]
    running = [root for workflow_root in _running_roots() for root in (workflow_root, workflow_root.parent / name)]
    given = [Path(path).parent / name for path in (Path(beside).absolute(), Path(beside).resolve())] if beside else []
    for root in [*given, *running, here, here / "bundles" / name, here / name, checkout / "bundles" / name]:
        if _is_bundle(root, name):
            return str(root)
    return "."


def _running_roots() -> Iterator[Path]:
    """Bundle folders of the MONAI workflows on the call stack, innermost first."""
    frame = inspect.currentframe()
    while frame is not None:
        workflow = frame.f_locals.get("self")
        # `vars`, because a workflow resolves its config on attribute access; the path is set early in its constructor.
        if isinstance(workflow, ConfigWorkflow) and "config_root_path" in vars(workflow):
            yield Path(vars(workflow)["config_root_path"]).resolve().parent
        frame = frame.f_back


def _is_bundle(root: Path, name: str) -> bool:
    try:
        metadata = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return root.name == name or str(metadata.get("name", "")).lower().replace(" ", "_") == name
