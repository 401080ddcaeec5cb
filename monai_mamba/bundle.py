"""What a config cannot know by itself of its own run: where its bundle lies on disk, and what the user asked for."""

from __future__ import annotations

import difflib
import inspect
import os
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from pydoc import locate
from types import FrameType
from typing import Any, get_type_hints

from monai.bundle import (
    ConfigComponent,
    ConfigParser,
    ConfigWorkflow,
    ReferenceResolver,
    create_workflow,
    run,
    run_workflow,
)

from monai_mamba.errors import InputError
from monai_mamba.files import read_json, read_whole, user_path
from monai_mamba.options import (
    NUMBER_OPTIONS,
    TEXT_OPTIONS,
    as_config,
    check_expression,
    check_number,
    read_text,
    typed_options,
)

PACKAGE = Path(__file__).resolve().parent
TRACKING = {"experiment_name", "run_name", "save_execute_config", "tracking_uri"}  # what MONAI's tracking reads
# Entries of an inference that decide over its results, with all that they refer to but for what makes no difference.
DECIDING = ("aseg", "handlers", "inferer", "network_def", "postprocessing", "preprocessing")
NOT_DECIDING = {"bundle_root", "device", "first_bundle_root", "progress", "settings", "sw_batch_size"}
README = "The README of the bundle lists the options."


def bundle_root(name: str, beside: str | None = None) -> str:
    """Folder of the bundle `name`, for the line `"bundle_root": "$monai_mamba.bundle_root('name')"` of its configs.

    A MONAI config cannot say where it lies itself. The folder is therefore taken from the workflow that is evaluating
    the config at this moment (found on the call stack), so that a copied or renamed bundle finds its own files and not
    those of another copy. Without such a workflow, the working folder and `bundles_folder` are searched.

    Args:
        name: name of the bundle's folder, or the `name` in its `configs/metadata.json` in lower case with underscores
            for blanks.
        beside: folder of another bundle, next to which the bundle is looked for first. For configs that are not run by
            a workflow (MONAI Label).

    Returns:
        Absolute path, or `"."` (the convention of the MONAI model zoo) if there is none of that name.
    """
    here, running = Path.cwd(), []
    for workflow in _running_workflows():
        root = Path(workflow.config_root_path).resolve().parent
        running += [root, root.parent / name]
    given = [Path(path).parent / name for path in (Path(beside).absolute(), Path(beside).resolve())] if beside else []
    for root in [*given, *running, here, here / "bundles" / name, here / name, bundles_folder() / name]:
        if _is_bundle(root, name):
            return str(root)
    return "."


def bundles_folder() -> Path:
    """Folder of the bundles that came with the package: in it if it was installed, beside it in a checkout."""
    inside = PACKAGE / "bundles"
    return inside if inside.is_dir() else PACKAGE.parent / "bundles"


def shipped_bundles() -> dict[str, Path]:
    """Folders of the bundles that came with the package, by name."""
    return {file.parents[1].name: file.parents[1] for file in sorted(bundles_folder().glob("*/configs/metadata.json"))}


def results_root(bundle_root: str) -> str:
    """Folder in which a bundle makes its folder `eval`, for the default of `output_dir` in its configs.

    It is that of the bundle; but the working folder for a bundle that was installed with the package, whose folder is
    lost with the next update, and for one that cannot be written to.
    """
    is_installed = Path(bundle_root).resolve().is_relative_to(PACKAGE)
    return "." if is_installed or not os.access(bundle_root, os.W_OK) else bundle_root


def check_options() -> None:
    """Take the options of a run as they were given, and refuse those that nothing would use; MONAI would go on.

    Called by `preflight`. It does not matter how the options came: on the command line, in an `args_file`, or from
    Python. An entry is used where another one refers to it (`@name`); an argument, where the component has it.

    Raises:
        InputError: an option is unknown, unused, no text where it must be, or a number out of its range (see
            `monai_mamba.options`); names it, and the one that was probably meant.
    """
    workflow = next(_running_workflows(), None)
    if workflow is None:
        return
    parser = workflow.parser
    for option, name in (("run_id", workflow.run_id), ("init_id", workflow.init_id), ("final_id", workflow.final_id)):
        if name not in parser and name not in ("initialize", "finalize"):
            advice = (
                _nearest(name, parser.config, "") or "Put a pattern in quotes, and names in a list (\"['a', 'b']\")."
            )
            raise InputError(f"--{option} is {name!r}, an entry that the config does not have. {advice}")
    commands = [frame for frame in _stack() if frame.f_code in (run.__code__, run_workflow.__code__)]
    call = next((frame.f_locals for frame in _stack() if frame.f_code is create_workflow.__code__), {})
    if commands and not call:  # `initialize` has come before `run`
        return
    is_command_line = any(frame.f_back.f_globals["__name__"] == "fire.core" for frame in commands)
    typed = typed_options(sys.argv[1:]) if is_command_line else {}
    _take_texts(parser, typed, call.get("_args", {}))
    for name in NUMBER_OPTIONS.keys() & parser.config.keys():
        check_number(name, parser.config[name])
    _refuse_references(parser.config)
    _refuse_unused(workflow, call)
    _refuse_arguments(parser)


def options_in_use() -> dict[str, str]:
    """Entries of the config that is running by name, as text, but for those that say where results go; for a log."""
    places = {"bundle_root", "checkpoint", "ckpt_dir", "output_dir", "resume"}
    workflow = next(_running_workflows(), None)
    config = workflow.parser.config if workflow else {}
    return {name: _plain(value) for name, value in config.items() if name not in places and not name.startswith("_")}


def settings_in_use() -> str | None:
    """A short text that differs between runs which may give other results for the same scans; None without a run.

    It is of the entries `DECIDING`: options, networks and transforms as the config says them, and files, such as
    weights, by their content.
    """
    workflow = next(_running_workflows(), None)
    if workflow is None:
        return None
    parser, found = workflow.parser, {}

    def add(name: str) -> None:
        value = parser.config.get(name)
        if name in found or name not in parser.config or name in NOT_DECIDING:
            return
        if _is_option(value, parser.config):
            found[name] = text = str(parser.get_parsed_content(name))
            if user_path(text).is_file():
                found[name] = f"{zlib.crc32(read_whole(user_path(text))):08x}"
        else:
            found[name] = _plain(value)
            for reference in _references(value):
                add(reference)

    for name in DECIDING:
        add(name)
    return f"{zlib.crc32(str(sorted(found.items())).encode()):08x}"


def _is_option(value: Any, config: Mapping[str, Any]) -> bool:
    """Whether an entry is text, a number or a switch, or made of such without a call."""
    if not isinstance(value, str) or not value.startswith(("$", "@")):
        return not isinstance(value, (dict, list))
    names = _references(value) - NOT_DECIDING
    return "(" not in value and all(_is_option(config.get(name), config) for name in names)


def _references(part: Any) -> set[str]:
    """Entries of a config that a part of it refers to (`@name`)."""
    texts = [text for _, text in _parts(part) if isinstance(text, str) and text.startswith(("$", "@"))]
    names = set().union(*map(ReferenceResolver.match_refs_pattern, texts))
    return {ReferenceResolver.split_id(name)[0] for name in names} - {""}


def _parts(part: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """A part of a config and all that it consists of, each after its place (`section#name`)."""
    yield path, part
    if isinstance(part, (dict, list)):
        for key, inner in part.items() if isinstance(part, dict) else enumerate(part):
            yield from _parts(inner, f"{path}#{key}" if path else str(key))


def _take_texts(parser: ConfigParser, typed: Mapping[str, str | None], given: Mapping[str, Any]) -> None:
    """Give text options the text that was typed, or else given, in a form that MONAI leaves as it is.

    Also what was typed as None, which MONAI passes over.
    """
    for name, text in typed.items():
        if text == "None" and name in parser:
            parser[name] = None
    for name in TEXT_OPTIONS & set(parser.config):
        now = parser.config[name]
        value = read_text(name, typed[name]) if name in typed else given.get(name, now)
        value = as_config(name, value, parser.config)
        check_expression(name, value, parser.globals)
        if name not in typed and "::" in str(value) == str(now) and not str(value).startswith(("$", "@")):
            raise InputError(
                f"--{name} is {value}: MONAI reads # as ::, so the name is not known. Give it on a command line, or "
                "from Python as a pathlib.Path."
            )
        if value != now:
            parser[name] = value


def _refuse_references(config: Mapping[str, Any]) -> None:
    """Refuse references (`@name`) to entries that the config does not have."""
    for path, part in _parts(config):
        for entry in sorted(_references(part) - config.keys()) if isinstance(part, str) else ():
            advice = _nearest(entry, config, "").replace("--", "@")
            raise InputError(f"{path} is {part}, and the config has no entry {entry}. {advice}".rstrip())


def _refuse_unused(workflow: ConfigWorkflow, call: Mapping[str, Any]) -> None:
    """Refuse entries that nothing refers to, unless a file of the bundle has them as they are."""
    config = workflow.parser.config
    beside = set(workflow.config_root_path.glob("*.json")) - {Path(str(workflow.meta_file))}
    known = [_entries(read_json(file)) for file in beside]
    known.append(_entries(ConfigParser.load_config_files(call.get("config_file") or {})))
    roots = {workflow.run_id, workflow.init_id, workflow.final_id}
    text = f"{config} {call.get('_args')}"  # in the arguments of the call, macros (%name) are still to be seen
    for name, value in _entries(config).items():
        defaults = [file[name] for file in known if name in file]
        is_default = any(_plain(value) == _plain(default) or isinstance(default, (dict, list)) for default in defaults)
        section, _, entry = name.rpartition("#")
        is_data = section and not any(isinstance(file.get(section), dict) for file in known)
        is_client = name == "run_name" and not call  # of federated learning, which always gives a run its name
        if is_default or is_data or is_client or name in roots or name.startswith("_"):
            continue
        if not re.search(rf"[@%]{'(?:#|::)'.join(map(re.escape, name.split('#')))}\b", text):
            if defaults:
                raise InputError(f"--{name}: nothing in this config uses it. Leave it out.")
            if name in TRACKING:
                raise InputError(f"--{name}: only tracking uses it. Add --tracking mlflow, or leave it out.")
            siblings = config[section] if section else config
            advice = _nearest(entry, set(siblings) - {entry}, section and f"{section}#")
            raise InputError(f"--{name}: the config has no such option. {advice or README}")


def _refuse_arguments(parser: ConfigParser) -> None:
    """Refuse arguments that a component does not have."""
    for path, config in _parts(parser.config):
        if not isinstance(config, dict) or "_target_" not in config or "_disabled_" in config:
            continue
        prefix, target = f"{path}#" if path else "", config["_target_"]
        component = ConfigComponent(config, locator=parser.locator).resolve_module_name()
        component = locate(component) if isinstance(component, str) else component
        if not callable(component) and not str(target).startswith(("$", "@")):
            raise InputError(f"--{prefix}_target_: there is no component {target}. Check its name.")
        names = _arguments(component)
        for name in config if names else ():
            if name not in names and not re.fullmatch("_.+_", str(name)):
                advice = _nearest(name, names, prefix) or f"It has {', '.join(names)}."
                raise InputError(f"--{prefix}{name}: {target} has no such argument. {advice}")


def _arguments(component: Any) -> list[str]:
    """Names of the arguments of a component; none where it takes any name, or where they are not known."""
    names: list[str] = []
    while callable(component):
        try:
            parameters = inspect.signature(component).parameters.values()
        except (TypeError, ValueError):  # made in C
            return []
        names += [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
            return names
        # A preset hands all other arguments to the network that it returns.
        component = None if isinstance(component, type) else get_type_hints(component).get("return")
    return []


def _plain(value: Any) -> str:
    """A value in the words that MONAI makes of it, which writes `::` for `#`."""
    return str(value).replace("#", "::")


def _nearest(name: str, names: Iterable[str], prefix: str) -> str:
    likely = difflib.get_close_matches(name, map(str, names), n=1)
    return f"Did you mean --{prefix}{likely[0]}?" if likely else ""


def _entries(config: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of a config by name, and those of its sections (such as `train`) as `section#name`."""
    entries: dict[str, Any] = {}
    for name, value in config.items():
        name = name.lstrip("+").replace("::", "#")
        entries[name] = value
        if isinstance(value, dict) and "_target_" not in value:
            entries |= {f"{name}#{key}": part for key, part in value.items()}
    return entries


def _running_workflows() -> Iterator[ConfigWorkflow]:
    """MONAI workflows on the call stack, innermost first."""
    for frame in _stack():
        workflow = frame.f_locals.get("self")
        # `vars`, because a workflow resolves its config on attribute access; the path is set early in its constructor.
        if isinstance(workflow, ConfigWorkflow) and "config_root_path" in vars(workflow):
            yield workflow


def _stack() -> Iterator[FrameType]:
    """Calls that are under way, innermost first.

    What is read of their local names (`self` with its `config_root_path`, `_args`) is as in MONAI 1.6.1; check it
    again before `pyproject.toml` allows another minor version.
    """
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def bundle_metadata(root: Path) -> dict[str, Any]:
    """Content of the `configs/metadata.json` of a bundle; empty where it is missing or damaged."""
    return read_json(root / "configs" / "metadata.json")


def _is_bundle(root: Path, name: str) -> bool:
    metadata = bundle_metadata(root)
    return bool(metadata) and name in (root.name, str(metadata.get("name", "")).lower().replace(" ", "_"))
