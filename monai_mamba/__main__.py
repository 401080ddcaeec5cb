"""Run a bundle that came with the package, or say what is installed: ``python -m monai_mamba run|info``."""

from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Sequence
from configparser import RawConfigParser
from itertools import takewhile

from monai.bundle import ConfigParser

from monai_mamba.bundle import shipped_bundles
from monai_mamba.errors import InputError, show_errors_briefly
from monai_mamba.files import user_path
from monai_mamba.info import print_info
from monai_mamba.options import read_text, typed_options

NO_CONFIGS = {"metadata", "folds"}  # JSON files of `configs` that cannot be run
FILES = {"args_file", "logging_file", "meta_file"}
RUN = """\
BUNDLE may be followed by the names of its configs, as in `run subcortical train evaluate`; by default `inference`.
The options are those of `python -m monai.bundle run`, and every entry of the config; the README of the bundle lists
those of interest.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a bundle or print what is installed; `arguments` are those of the command line if None.

    Raises:
        InputError: the bundle has no such config.
        MonaiMambaError: see `print_info`; the run of a bundle raises what MONAI does.
    """
    parser = argparse.ArgumentParser(prog="python -m monai_mamba", description=__doc__.split(":")[0] + ".")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="versions, selective scan, bundles, and whether their weights are intact")
    usage = "%(prog)s BUNDLE [CONFIG ...] [--OPTION VALUE ...]"
    run = commands.add_parser("run", help="run a bundle", description=RUN, usage=usage)
    run.add_argument("bundle", choices=list(shipped_bundles()))
    run.add_argument("options", nargs=argparse.REMAINDER, help="such as --input scan.nii.gz --output_dir results")
    given = parser.parse_args(arguments)
    if given.command == "info":
        print_info()
    elif {"-h", "--help"} & set(given.options):
        run.print_help()
    else:
        run_bundle(given.bundle, given.options)


def run_bundle(bundle: str, words: Sequence[str]) -> None:
    """Run a bundle that came with the package through the command line of MONAI.

    Args:
        bundle: its name.
        words: names of its configs, `inference` if there is none, and the options as on MONAI's command line.

    Raises:
        InputError: there is no such config, or an option names a file that is not there or cannot be read.
    """
    names = list(takewhile(lambda word: not word.startswith("-"), words))
    folder = shipped_bundles()[bundle] / "configs"
    configs = {file.stem: str(file) for file in sorted(folder.glob("*.json")) if file.stem not in NO_CONFIGS}
    if unknown := [name for name in names if name not in configs]:
        known = ", ".join(configs)
        raise InputError(f"{bundle} has no config {unknown[0]}. It has {known}. A scan is given with --input.")
    typed = typed_options(words)
    if "config_file" in typed:  # MONAI would take it instead of the bundle's
        raise InputError(
            f"--config_file is {typed['config_file']}, but 'run' takes the configs of the bundle by name: "
            f"{', '.join(configs)}. For others, use 'python -m monai.bundle run --config_file ...'."
        )
    for name in FILES & typed.keys():
        if (path := read_text(name, typed[name])) not in (None, "None", "False"):
            _check_file(name, path)
    files = [configs[name] for name in names or ["inference"]]
    ours = ["run", "--config_file", str(files)]
    sys.argv = [sys.argv[0], *ours, *words[len(names) :]]
    runpy.run_module("monai.bundle", run_name="__main__")


def _check_file(name: str, path: str) -> None:
    """Refuse the file of an option that MONAI cannot read: it would show where in its code it fails."""
    if not user_path(path).is_file():
        raise InputError(f"--{name} is {path}; there is no such file. Check the path.")
    try:
        if name == "logging_file":
            logging = RawConfigParser()
            logging.read(path)
            for section in ("formatters", "handlers", "loggers"):
                logging.options(section)
        else:
            ConfigParser.load_config_file(path)
    except Exception as error:  # of several parsers
        expected = "a file of Python's logging" if name == "logging_file" else "JSON or YAML"
        raise InputError(f"--{name} is {path}; expected {expected}, found something else ({error}).") from error


if __name__ == "__main__":
    show_errors_briefly()
    main()
