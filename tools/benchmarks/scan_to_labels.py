"""Time and memory of a bundle, a whole head or brain, from file to file.

For `brats_multimodal` the case that ships is resampled to the grid of BraTS, 4 x 240 x 240 x 155 voxels. A network
without weights that ship gets random ones: they take the same time.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

from monai.bundle import ConfigParser
from nibabel import load
from nibabel.processing import resample_from_to
from reports import dates, machine_line, number, table
from synthesis.files import grid, save

from monai_mamba.handlers.weights import save_weights

from . import results
from .machine import describe, run_measured
from .results import Row, groups

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
TUMORS = "brats_multimodal"
OWN = "default"
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
        save(folder / path.name, image.get_fdata().astype("int16"), image.affine)
    return folder


def segment(options: argparse.Namespace, network: str, arguments: list[str]) -> tuple[float, float]:
    """Run the bundle in a process of its own; return wall seconds and its peak memory in GiB."""
    with tempfile.TemporaryDirectory() as folder:
        configs = [str(path) for path in config_files(options.bundle, network)]
        command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(configs), "--output_dir", folder]
        command += ["--device", options.device.type, *arguments]
        return run_measured(command, options.threads, quiet=True)


def markdown(rows: list[Row]) -> str:
    """Document of all rows, one section per machine."""
    parts = ["# From scan to labels\n\nWritten by `tools/benchmark.py scan-to-labels`; see docs/benchmarks.md.\n"]
    for same in groups(rows, "device", "cpu", "gpu", "threads", "torch", "bundle", "input").values():
        parts.append(
            f"\n## {same[0]['bundle']}: {same[0]['input']}\n\n{machine_line(same[0])}; {dates(same)}; medians of "
        )
        parts.append(f"{min(len(row['all_seconds']) for row in same)} runs or more.\n\n")
        headers = ("network, amp, mirror", "s", "peak GiB")
        settings = (", ".join(str(row[key]) for key in ("network", "amp", "mirror")) for row in same)
        figures = ([number(row[key]) for key in ("seconds", "peak_GiB")] for row in same)
        cells = ([setting, *pair] for setting, pair in zip(settings, figures, strict=True))
        parts.append(table(headers, cells))
    return "".join(parts)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    bundles = [path.parents[1].name for path in sorted(BUNDLES.glob("*/configs/inference.json"))]
    text = "values of the bundle's option to compare (the bundle's own)"
    parser.add_argument("--bundle", choices=bundles, default="subcortical", help="(%(default)s)")
    parser.add_argument("--networks", nargs="+", default=[OWN], help="NAME of its network_NAME.json, or %(default)s")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--input", help="scan, or folder with one case, instead of the bundle's sample")
    parser.add_argument("--amp", nargs="+", choices=["True", "False"], help=text)
    parser.add_argument("--mirror", nargs="+", choices=["True", "False"], help=text)
    results.add_common_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Print a line of JSON for each network and combination of the bundle's options, run in turns."""
    runs: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    name = "the bundle's sample"
    with tempfile.TemporaryDirectory() as scratch:
        source = ["--input", options.input] if options.input else []
        if options.input:
            name = Path(options.input).name
        elif options.bundle == TUMORS:
            name = "the bundle's sample at 1 mm, 240 x 240 x 155"
            source = ["--input", str(tumor_case(Path(scratch) / "case"))]
        weights: dict[str, list[str]] = {}
        for network in options.networks:
            parser = read_configs(options.bundle, network)
            weights[network] = []
            if network != OWN or not (BUNDLES / options.bundle / "models" / "model.pt").is_file():
                path = Path(scratch) / f"{network}.pt"
                save_weights(path, parser.get_parsed_content("network_def"))
                weights[network] = ["--weights", str(path)]
        own = [[str(parser.get(option))] for option in ("amp", "mirror")]
        choices = [asked or default for asked, default in zip((options.amp, options.mirror), own, strict=True)]
        for _ in range(options.repeats):
            for network, amp, mirror in itertools.product(options.networks, *choices):
                arguments = [*source, *weights[network], "--amp", amp, "--mirror", mirror]
                runs.setdefault((network, amp, mirror), []).append(segment(options, network, arguments))
    rows = [
        {
            "benchmark": "scan-to-labels",
            "bundle": options.bundle,
            "network": network,
            "input": name,
            "amp": amp,
            "mirror": mirror,
            "seconds": median(seconds for seconds, _ in measured),
            "all_seconds": [seconds for seconds, _ in measured],
            "peak_GiB": max(peak for _, peak in measured),
            **describe(options.device, options.threads),
        }
        for (network, amp, mirror), measured in runs.items()
    ]
    results.write("scan-to-labels", rows, KEY, options.output_dir, markdown)
