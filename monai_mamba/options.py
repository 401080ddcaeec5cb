"""Options of the bundles: names are taken as the user typed them, numbers must be in their range.

Names are paths, names of tables and schemes, the device. On the way from a command line into a config, Fire reads a
value as Python (`pilot#2` is `pilot` and a comment, `2024_01` a number, `a,b` a tuple), and MONAI reads `#` as `::`.
Switches and components are left to them.
"""

from __future__ import annotations

import ast
import builtins
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import torch

from monai_mamba.errors import InputError

MAY_BE_NONE = {
    "aseg",
    "calibration",
    "dataset_dir",
    "initial_weights",
    "label_maps",
    "leave_out",
    "quality_limits",
    "run_name",
    "scan_table",
}
TEXT_OPTIONS = MAY_BE_NONE | {
    "bundle_root",
    "case_table",
    "checkpoint",
    "ckpt_dir",
    "device",
    "experiment_name",
    "first_bundle_root",
    "first_weights",
    "folds",
    "input",
    "label_convention",
    "label_scheme",
    "output_dir",
    "table",
    "task",
    "tracking_uri",
    "weights",
    "written_table",
}
Range = tuple[Callable[[float], bool], str]
COUNT: Range = (lambda x: isinstance(x, Integral) and x >= 1, "whole number from 1")
FROM_ZERO: Range = (lambda x: isinstance(x, Integral) and x >= 0, "whole number from 0")
SHARE: Range = (lambda x: 0 <= x <= 1, "number from 0 to 1")
PART: Range = (lambda x: 0 <= x < 1, "number from 0 to below 1")
WEIGHT: Range = (lambda x: 0 <= x < math.inf, "number from 0")
NUMBER_OPTIONS: dict[str, Range] = {
    **dict.fromkeys(("batch_size", "epochs", "iterations_per_epoch", "sw_batch_size"), COUNT),
    **dict.fromkeys(("first_roi_size", "roi_size", "val_interval", "windows_per_case"), COUNT),
    **dict.fromkeys(("num_workers", "seed", "warmup"), FROM_ZERO),
    **dict.fromkeys(
        ("cache_rate", "dropout_of_modalities", "mirror_prob", "paste_lesions", "synthetic_fraction"), SHARE
    ),
    **dict.fromkeys(("overlap", "val_fraction"), PART),
    **dict.fromkeys(("distillation_weight", "feature_weight", "learning_rate"), WEIGHT),
    **dict.fromkeys(("min_enhancing_ml", "weight_decay"), WEIGHT),
    "pixdim": (lambda x: 0.5 <= x <= 10, "number of mm from 0.5 to 10"),
}
LISTS = {"first_roi_size", "pixdim", "roi_size"}  # of one number for each axis


def typed_options(arguments: Sequence[str]) -> dict[str, str | None]:
    """Text by option, for `--name text` and `--name=text`; None where none follows.

    A command line, without the program, is split as Fire does. What follows the last `--` belongs to Fire.

    Raises:
        InputError: an option is given twice, of which Fire would take the last.
    """
    if "--" in arguments:
        arguments = arguments[: len(arguments) - 1 - arguments[::-1].index("--")]
    is_option = re.compile("--|-[a-zA-Z]").match
    typed: dict[str, str | None] = {}
    for argument, following in zip(arguments, [*arguments[1:], "--"], strict=False):
        if is_option(argument):
            name, equals, text = argument.lstrip("-").partition("=")
            name, text = name.replace("-", "_"), text if equals else None if is_option(following) else following
            if typed.setdefault(name, text) != text:
                raise InputError(f"--{name} is given twice, {typed[name]} and {text}. Leave one of them out.")
    return typed


def read_text(name: str, text: str | None) -> Any:
    """The value of a text option: its text; or, where that is Python for a list or mapping of texts, those; or None.

    Raises:
        InputError: there is no text.
    """
    if text is None:
        raise InputError(f"--{name} has no value. Write --{name} VALUE, or --{name}=VALUE where that begins with -.")
    if text == "None" and name in MAY_BE_NONE:
        return None
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value if parts and all(isinstance(part, str) for part in parts) else text


def as_config(name: str, value: Any, ids: Mapping[str, Any]) -> Any:
    """Write the value of a text option so that MONAI's config reader gives it back unchanged.

    Args:
        name: the option.
        value: text, a path, or a list or mapping of those. Text that begins with `$` is an expression, and `@name` is a
            reference where there is an entry of that name, as everywhere in a config.
        ids: the config.

    Raises:
        InputError: the value is no text, or empty: an empty path would be the working folder.
    """
    if isinstance(value, Mapping):
        return {key: as_config(name, part, ids) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_config(name, part, ids) for part in value]
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, torch.device) or (value is None and name in MAY_BE_NONE):
        return value
    if not isinstance(value, str):
        raise InputError(f"--{name} is {value!r} ({type(value).__name__}), expected text. Put it in quotes.")
    if not value.strip():
        raise InputError(f"--{name} is empty. Give it a value, or leave it out to get its default.")
    is_reference = value.startswith("@") and re.split("#|::", value[1:])[0] in ids
    if value.startswith("$") or is_reference or not re.search("#|^[@%]", value):
        return value
    return "$" + re.sub("[#@%]", lambda found: f"\\x{ord(found.group()):02x}", repr(value))


def check_number(name: str, value: Any) -> None:
    """Refuse the value of a number option that is none, or out of its range; references and expressions are not read.

    Raises:
        InputError: says what is expected.
    """
    if isinstance(value, str) and value.startswith(("$", "@")):
        return
    fits, kind = NUMBER_OPTIONS[name]
    numbers = value if name in LISTS else [value]
    is_list = isinstance(numbers, (list, tuple)) and len(numbers) == (3 if name in LISTS else 1)
    if not is_list or not all(isinstance(n, Real) and not isinstance(n, bool) and fits(n) for n in numbers):
        expected = f"a list of three, each a {kind}" if name in LISTS else f"a {kind}"
        raise InputError(f"--{name} is {value!r}, expected {expected}.")


def check_expression(name: str, value: Any, known: Iterable[str]) -> None:
    """Refuse a text that MONAI would take for Python although it is none, such as a file whose name begins with `$`.

    Args:
        name: the option.
        value: as `as_config` returns it.
        known: names that an expression may use, besides those of Python.

    Raises:
        InputError: the text after `$` is no expression, or begins with a name that is not known.
    """
    if not isinstance(value, str) or not value.startswith("$"):
        return
    try:
        part: ast.AST = ast.parse(re.sub(r"@[\w:#]+", "None", value[1:]).strip(), mode="eval").body
    except (SyntaxError, ValueError):
        part = ast.Name("")
    while isinstance(part, (ast.Attribute, ast.BinOp)):
        part = part.value if isinstance(part, ast.Attribute) else part.left
    if isinstance(part, ast.Name) and part.id not in {*known, *dir(builtins)}:
        raise InputError(
            f"--{name} is {value}: MONAI takes text that begins with $ for Python, and this is not valid Python. "
            f"Write ./{value} for a file of that name."
        )
