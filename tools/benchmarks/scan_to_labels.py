"""Time and memory of a bundle, a whole head or brain, from file to file.

For `brats_multimodal` the case that ships is resampled to the grid of BraTS, 4 x 240 x 240 x 155 voxels. A network
without weights that ship gets random ones: they take the same time. SAMSEG runs beside them where it is installed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from pathlib import Path
from statistics import median

from monai.bundle import ConfigParser
from nibabel import load
from nibabel.processing import resample_from_to
from reports import dates, machine_line, number, save_image, table
from synthesis.tumors import grid

from monai_mamba.handlers.weights import save_weights
from monai_mamba.threads import usable_cores

from . import results
from .machine import describe, run_measured
from .results import Row, groups
from .stages import STAGES

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
TUMORS = "brats_multimodal"
OWN = "default"
SAMSEG = ("-m", "samseg.cli.run_samseg")
KEY = ("bundle", "network", "input", "amp", "mirror", "device", "cpu", "gpu", "threads")


def read_configs(bundle: str, network: str) -> ConfigParser:
    """The inference configuration of a bundle, with an overlay of the network unless it is `OWN`."""
    parser = ConfigParser()
    parser.read_config([str(path) for path in config_files(bundle, network)])
    return parser


def config_files(bundle: str, network: str) -> list[Path]:
    """Files of the configuration; those of an overlay come last."""
    folder = BUNDLES / bundle / "configs"
    return [folder / "inference.json", *([] if network == OWN else [folder / f"network_{network}.json"])]


def tumor_case(folder: Path) -> Path:
    """Write the tumor bundle's sample on the grid of BraTS at 1 mm; return the folder."""
    for path in sorted((BUNDLES / TUMORS / "sample_data").rglob("*-t[12]?.nii.gz")):
        image = resample_from_to(load(path), grid(1.0), order=1)
        save_image(folder / path.name, image.get_fdata().astype("int16"), image.affine)
    return folder


def command(options: argparse.Namespace, network: str, stages: Path, arguments: list[str]) -> list[str]:
    """Run the bundle and write its `stages`; the output folder has to follow."""
    program = [sys.executable, str(Path(__file__).with_name("stages.py")), str(stages), "run", "--config_file"]
    program += [str([str(path) for path in config_files(options.bundle, network)]), "--device", options.device.type]
    return [*program, *arguments, "--output_dir"]


def markdown(rows: list[Row]) -> str:
    """Document of all rows, one section per machine."""
    parts = ["# From scan to labels\n\nWritten by `tools/benchmark.py scan-to-labels`; see docs/benchmarks.md.\n"]
    for same in groups(rows, "device", "cpu", "gpu", "threads", "torch", "bundle", "input").values():
        first, runs = same[0], min(len(row["all_seconds"]) for row in same)
        parts.append(f"\n## {first['bundle']}: {first['input']}\n\n")
        parts.append(f"{machine_line(first)}; {dates(same)}; medians of {runs} runs or more.\n\n")
        headers = ("network, amp, mirror", "s", *STAGES, "CPU s", "peak GiB")
        figures = ("seconds", *STAGES, "cpu_seconds", "peak_GiB")
        lines = []
        for row in same:
            settings = ", ".join((row["network"], row["amp"], row["mirror"]))
            lines.append([settings, *(number(row.get(figure)) for figure in figures)])
        parts.append(table(headers, lines))
    return "".join(parts)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    bundles = [path.parents[1].name for path in sorted(BUNDLES.glob("*/configs/inference.json"))]
    text = "values of the bundle's option to compare (the bundle's own)"
    parser.add_argument("--bundle", choices=bundles, default="subcortical", help="(%(default)s)")
    parser.add_argument("--networks", nargs="+", default=[OWN], help="NAME of its network_NAME.json, or %(default)s")
    parser.add_argument("--threads", type=int, default=min(2, usable_cores()))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--input", help="scan, or folder with one case, instead of the bundle's sample")
    parser.add_argument("--amp", nargs="+", choices=["True", "False"], help=text)
    parser.add_argument("--mirror", nargs="+", choices=["True", "False"], help=text)
    text = "Python of an environment with SAMSEG, to run it on the same scan"
    parser.add_argument("--samseg", metavar="PYTHON", help=text)
    results.add_common_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Print a line of JSON for each network and combination of the bundle's options, run in turns."""
    runs: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        parser = read_configs(options.bundle, OWN)
        if options.input:
            name, source = Path(options.input).name, options.input
        elif options.bundle == TUMORS:
            name = "the bundle's sample at 1 mm, 240 x 240 x 155"
            source = str(tumor_case(Path(scratch) / "case"))
        else:
            name, source = "the bundle's sample", parser.get_parsed_content("input")
        stages, commands = Path(scratch) / "stages.json", {}
        own = [[str(parser.get(option))] for option in ("amp", "mirror")]
        choices = [asked or default for asked, default in zip((options.amp, options.mirror), own, strict=True)]
        for network in options.networks:
            arguments = ["--input", source]
            if network != OWN or not (BUNDLES / options.bundle / "models" / "model.pt").is_file():
                weights = Path(scratch) / f"{network}.pt"
                save_weights(weights, read_configs(options.bundle, network).get_parsed_content("network_def"))
                arguments += ["--weights", str(weights)]
            for amp, mirror in itertools.product(*choices):
                given = [*arguments, "--amp", amp, "--mirror", mirror]
                commands[network, amp, mirror] = command(options, network, stages, given)
        if options.samseg:
            program = [options.samseg, *SAMSEG, "--input", source, "--threads", str(options.threads), "--output"]
            commands["SAMSEG", "-", "-"] = program
        for _, (key, program) in itertools.product(range(options.repeats), commands.items()):
            stages.write_text("{}", encoding="utf-8")
            with tempfile.TemporaryDirectory() as folder:
                measured = run_measured([*program, folder], options.threads, quiet=True)
            runs.setdefault(key, []).append(measured | json.loads(stages.read_text(encoding="utf-8")))
    rows = [
        {
            "benchmark": "scan-to-labels",
            "bundle": options.bundle,
            "network": network,
            "input": name,
            "amp": amp,
            "mirror": mirror,
            **{figure: median(run[figure] for run in measured) for figure in measured[0]},
            "all_seconds": [run["seconds"] for run in measured],
            "peak_GiB": max(run["peak_GiB"] for run in measured),
            **describe(options.device, options.threads),
        }
        for (network, amp, mirror), measured in runs.items()
    ]
    results.write("scan-to-labels", rows, KEY, options.output_dir, markdown)
