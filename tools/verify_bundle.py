"""Check that bundles are complete, consistent and usable, without a network connection.

    python tools/verify_bundle.py bundles/subcortical bundles/hippocampal_subfields

One line per check says `ok`, `failed` or `skipped`, and why. The exit status is 1 if a check failed. `docs/sharing.md`
lists the checks: those of the MONAI model zoo, as far as they need neither its server nor a GPU, and this project's.

A config with the key `bundle_root` stands alone. An overlay belongs to `inference.json` if its name contains
`inference` or starts with `network_`, and to `train.json` if it contains `train` or `evaluate`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import torch
import torch.distributed as dist
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, verify_net_in_out
from release.bundle_files import FILE_CHECKS, config_files, find_bundle, quietly, read_json, read_metadata

from monai_mamba.errors import InputError, causes, own_error
from monai_mamba.handlers.weights import load_weights

LARGEST_EXPORT = 30_000_000  # parameters; keeps the check short
EXPORT_TOLERANCE = 1e-3  # of logits up to about 30, which a loop adds up in another order than the kernels
SHIPPED = "models/model.pt"


class Result(NamedTuple):
    """Outcome of one check: its name, `ok`, `failed` or `skipped`, and what was found."""

    check: str
    status: str
    detail: str


class Skipped(Exception):  # noqa: N818
    """A check does not apply, or cannot be made here."""


def config_sets(bundle: Path) -> Iterator[list[str]]:
    """Names of configs that are run together: each that stands alone, and each overlay after its base."""
    configs = {path.name: read_json(path) for path in config_files(bundle)}
    for name, config in configs.items():
        if "bundle_root" in config:
            yield [name]
        elif name.startswith("network_") or "inference" in name:
            yield ["inference.json", name]
        elif "multi_gpu_evaluate" in name:
            yield ["train.json", "evaluate.json", name]
        elif "train" in name or "evaluate" in name:
            yield ["train.json", name]


def check_network(bundle: Path, configs: Sequence[str]) -> str:
    """The network of a config takes what the metadata say, and returns what it declares."""
    files = _paths(bundle, configs)
    parser = _parser(bundle, configs)
    overrides = {"bundle_root": str(bundle)}
    smallest = 1  # times the smallest size, as in the model zoo
    channels = _declared_channels(parser.get("network_def"))
    if len(configs) > 1:  # an overlay may have other classes than the metadata, which describe inference.json
        overrides["_meta_#network_data_format#outputs#pred#num_channels"] = channels
        smallest = 2  # of networks with more strides than that of inference.json
    meta_file = str(bundle / "configs" / "metadata.json")
    verify_net_in_out("network_def", meta_file=meta_file, config_file=files, device="cpu", n=smallest, **overrides)
    return f"{parser['network_def#_target_']}, {channels} channels"


def _declared_channels(definition: Mapping) -> int:
    """Entry `out_channels` of a network's definition, or of the network that it wraps."""
    return definition["out_channels"] if "out_channels" in definition else _declared_channels(definition["network"])


def _paths(bundle: Path, configs: Sequence[str]) -> list[str]:
    return [str(bundle / "configs" / name) for name in configs]


def _parser(bundle: Path, configs: Sequence[str]) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(_paths(bundle, configs))
    parser["bundle_root"] = str(bundle)
    return parser


def check_properties(bundle: Path, configs: Sequence[str], dataset_dir: str | None = None) -> str:
    """MONAI finds the required properties of configs that are run together; optional ones are where they should be."""
    kind = "infer" if "evaluator" in read_json(bundle / "configs" / configs[0]) else "train"
    if kind == "train" and dataset_dir is None:
        default = Path(_parser(bundle, configs).get_parsed_content("dataset_dir"))
        if not default.is_dir():
            raise Skipped(f"no training data; give --dataset_dir {bundle.name}/{configs[-1]}=FOLDER")
    options = {} if dataset_dir is None else {"dataset_dir": dataset_dir}
    with tempfile.TemporaryDirectory() as folder, _group_of_one(folder, configs):
        workflow = ConfigWorkflow(
            _paths(bundle, configs),
            workflow_type=kind,
            logging_file=False,
            bundle_root=str(bundle),
            output_dir=folder,
            device="$torch.device('cpu')",
            **options,
        )
        workflow.initialize()
        try:
            missing = workflow.check_properties()
        except KeyError as error:  # how MONAI 1.6 answers to a property that is not there
            missing = [str(error.args[0])]
        if missing:
            raise InputError(f"{' + '.join(configs)}: properties missing or misplaced: {', '.join(missing)}.")
    return f"complete ({kind})"


@contextlib.contextmanager
def _group_of_one(folder: str, configs: Sequence[str]) -> Iterator[None]:
    """What `torchrun` sets up for each of its processes, with one process, if the configs are for several."""
    if not any(name.startswith("multi_gpu") for name in configs):
        yield
        return
    dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=0, world_size=1)
    try:
        with mock.patch.dict(os.environ, LOCAL_RANK="0"):
            yield
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def check_export(bundle: Path) -> str:
    """The network becomes a TorchScript file that takes another size, too, and returns the same logits."""
    readme = (bundle / "docs" / "README.md").read_text(encoding="utf-8")
    if "TorchScript is not supported" in readme:
        raise Skipped("docs/README.md says that TorchScript is not supported")
    network = _parser(bundle, ["inference.json"]).get_parsed_content("network_def").eval()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    if parameters > LARGEST_EXPORT:
        raise Skipped(f"{parameters:,} parameters; networks up to {LARGEST_EXPORT:,} are exported")
    image = read_metadata(bundle)["network_data_format"]["inputs"]["image"]
    size = [3 * int(str(axis).partition("*")[0]) for axis in image["spatial_shape"]]
    with tempfile.TemporaryDirectory() as folder:
        weights, script = bundle / SHIPPED, Path(folder, "model.ts")
        if weights.is_file():
            load_weights(network, weights, bundle)
        else:
            weights = Path(folder, "model.pt")
            torch.save(network.state_dict(), weights)
        config = str(bundle / "configs" / "inference.json")
        options = {"filepath": str(script), "ckpt_file": str(weights), "use_trace": True}
        ckpt_export(bundle_root=str(bundle), config_file=config, **options)
        data = torch.rand(1, image["num_channels"], *size)
        with torch.no_grad():
            difference = (torch.jit.load(str(script))(data) - network(data)).abs().max().item()
    if not difference <= EXPORT_TOLERANCE:
        raise InputError(
            f"logits of the exported file differ by {difference:.3g}, at most {EXPORT_TOLERANCE} expected."
        )
    return f"{parameters:,} parameters, logits differ by at most {difference:.1g}"


def check_run(bundle: Path) -> str:
    """The command of the README works from inside the folder, on the sample data."""
    if not (bundle / SHIPPED).is_file():
        raise Skipped(f"no {SHIPPED}")
    with tempfile.TemporaryDirectory() as folder:
        options = ["--config_file", "configs/inference.json", "--output_dir", folder, "--progress", "False"]
        command = [sys.executable, "-m", "monai.bundle", "run", *options]
        process = subprocess.run(command, cwd=bundle, capture_output=True, text=True)
        results = sorted(Path(folder).rglob("*.nii.gz"))
    if process.returncode or not results:
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"exit status {process.returncode}, {len(results)} label maps: {last}")
    return f"{len(results)} label maps"


def verify(bundle: Path, data: Mapping[str, str] | None = None, run: bool = False) -> Iterator[Result]:
    """Make all checks of a bundle, one after the other; with `run`, also process its sample data.

    `data` are folders with training data for `BUNDLE/CONFIG`, such as `brats_multimodal/train.json`.
    """
    bundle, data, failed = find_bundle(bundle), data or {}, []
    for name, check in FILE_CHECKS.items():
        yield (result := make_check(name, partial(check, bundle)))
        failed += [name] * (result.status == "failed")
    if {"files", "configs", "metadata"} & set(failed):
        yield Result("network, properties, export, run", "skipped", f"fix first: {', '.join(failed)}")
        return
    sets = list(config_sets(bundle))
    for configs in sets:
        if configs[0] == "inference.json" and not configs[-1].startswith("multi_gpu"):
            yield make_check(f"network {' + '.join(configs)}", partial(check_network, bundle, configs))
    for configs in sets:
        if not configs[-1].startswith("network_"):  # the network alone changes
            folder = data.get(f"{bundle.name}/{configs[-1]}")
            yield make_check(f"properties {' + '.join(configs)}", partial(check_properties, bundle, configs, folder))
    yield make_check("export", partial(check_export, bundle))
    yield make_check("run", partial(check_run, bundle)) if run else Result("run", "skipped", "give --run")


def make_check(name: str, check: Callable[[], str]) -> Result:
    """Make one check quietly; whatever it raises becomes its result."""
    try:
        with quietly():
            return Result(name, "ok", check())
    except Skipped as skipped:
        return Result(name, "skipped", str(skipped))
    except Exception as error:  # a check has to survive whatever a broken config does
        *_, first = causes(error)
        reason = own_error(error) or f"{type(first).__name__}: {str(first).strip().partition(chr(10))[0]}"
        return Result(name, "failed", str(reason))


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the bundles of the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundles", nargs="+", type=Path, help="folders of bundles")
    parser.add_argument(
        "--dataset_dir",
        action="append",
        default=[],
        metavar="BUNDLE/CONFIG=FOLDER",
        help="training data for a config whose own are not there, e.g. brats_multimodal/train.json=cases",
    )
    parser.add_argument("--run", action="store_true", help="also process the sample data of each bundle")
    options = parser.parse_args(arguments)
    data = {}
    for pair in options.dataset_dir:
        name, _, folder = pair.partition("=")
        if not Path(folder).is_dir() or not folder:
            parser.error(f"--dataset_dir {pair}: expected BUNDLE/CONFIG=FOLDER with a folder that is there")
        data[name] = folder
    counts = dict.fromkeys(("ok", "failed", "skipped"), 0)
    for bundle in options.bundles:
        print(bundle)
        try:
            for result in verify(bundle, data, options.run):
                counts[result.status] += 1
                print(f"  {result.status:7}  {result.check}: {result.detail}", flush=True)
        except InputError as error:
            counts["failed"] += 1
            print(f"  failed   {error}")
    print(", ".join(f"{count} {status}" for status, count in counts.items()))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
