"""What a config cannot know by itself of its own run: where its bundle lies on disk, and what the user asked for."""

from __future__ import annotations

import difflib
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle import run as run_bundle

from monai_mamba.errors import InputError


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


def check_options() -> None:
    """Refuse an option of the command line that the config does not have; MONAI would add it, and nothing would use it.

    The options are those of the `monai.bundle.run` that is evaluating the config at this moment (found on the call
    stack). One that the config or another option refers to (`@name`) is a new entry of the user's own. With
    `tracking` nothing is checked, because that has options of its own.

    Raises:
        InputError: names the option, and the one that was probably meant.
    """
    call = next((frame.f_locals for frame in _stack() if frame.f_code is run_bundle.__code__), {})
    if not call.get("config_file") or call.get("tracking"):
        return
    config, options = ConfigParser.load_config_files(call["config_file"]), call["override"]
    for option in options:
        name = re.split("#|::", option)[0]
        if name not in config and not re.search(rf"[@%]{re.escape(name)}\b", f"{config} {options}"):
            likely = difflib.get_close_matches(name, config, n=1)
            advice = f"Did you mean --{likely[0]}?" if likely else "The README of the bundle lists the options."
            raise InputError(f"--{name}: the config {call['config_file']} has no such option. {advice}")


def _running_roots() -> Iterator[Path]:
    """Bundle folders of the MONAI workflows on the call stack, innermost first."""
    for frame in _stack():
        workflow = frame.f_locals.get("self")
        # `vars`, because a workflow resolves its config on attribute access; the path is set early in its constructor.
        if isinstance(workflow, ConfigWorkflow) and "config_root_path" in vars(workflow):
            yield Path(vars(workflow)["config_root_path"]).resolve().parent


def _stack() -> Iterator[FrameType]:
    """Calls that are under way, innermost first."""
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_bundle(root: Path, name: str) -> bool:
    try:
        metadata = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return root.name == name or str(metadata.get("name", "")).lower().replace(" ", "_") == name
