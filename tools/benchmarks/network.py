"""Time and memory of whole networks on one window: those of this package and MONAI's own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial

import torch
from monai.losses import DiceCELoss
from monai.networks.nets import DynUNet, HyenaNDUNETR, SegResNet, SwinUNETR
from reports import dates, machine_line, number, percent, table
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from monai_mamba import MedSegMamba, SegMamba, medsegmamba_small, segmamba_small
from monai_mamba.threads import usable_cores

from . import results
from .machine import Stopwatch, describe, peak_extra_memory, take_turns
from .results import Row, groups

KEY = ("network", "pass", "window", "classes", "settings", "device", "cpu", "gpu", "threads")


NETWORKS: dict[str, Callable[..., nn.Module]] = {}
for network in (MedSegMamba, medsegmamba_small, SegMamba, segmamba_small):
    NETWORKS[network.__name__] = network
    NETWORKS[f"{network.__name__} without Mamba"] = partial(network, mixer=None)
NETWORKS |= {
    "SwinUNETR": partial(SwinUNETR, feature_size=48),
    "SegResNet": partial(SegResNet, init_filters=32),
    # As nnU-Net plans it for windows whose sizes 32 divides.
    "DynUNet": partial(DynUNet, 3, kernel_size=[3] * 6, strides=[1, *[2] * 5], upsample_kernel_size=[2] * 5),
    "HyenaNDUNETR": partial(HyenaNDUNETR.get_variant, "HHAA", feature_size=48),
}


class Step:
    """One step of a network on one window.

    In training: forward, Dice and cross-entropy loss, and backward, without optimizer; else the forward alone.
    """

    def __init__(self, name: str, training: bool, options: argparse.Namespace) -> None:
        torch.manual_seed(0)
        device = options.device
        net = NETWORKS[name](in_channels=1, out_channels=options.classes).train(training)
        self.parameters = sum(parameter.numel() for parameter in net.parameters())
        self._net = net.to(device)
        self._window = torch.rand(1, 1, *options.window, device=device)
        self._label = torch.randint(options.classes, (1, 1, *options.window), device=device)
        self._loss = DiceCELoss(to_onehot_y=True, softmax=True)
        self._training, self._amp = training, options.amp

    def __call__(self) -> Tensor:
        """Return the logits."""
        with (
            torch.inference_mode(not self._training),
            torch.autocast(self._window.device.type, torch.bfloat16, enabled=self._amp),
        ):
            logits = self._net(self._window)
        if self._training:
            self._loss(logits.float(), self._label).backward()
            self._net.zero_grad(set_to_none=True)
        return logits


def operator_shares(step: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Shares of all operator time spent in convolutions, and in the selective scan with everything it calls."""
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if on_gpu else [])
    with profile(activities=activities) as profiler:
        step()
    kind = "device" if on_gpu else "cpu"
    events = profiler.key_averages()
    everything = sum(getattr(event, f"self_{kind}_time_total") for event in events)
    convolution = sum(getattr(event, f"self_{kind}_time_total") for event in events if "conv" in event.key)
    scans = ("monai_mamba::scan_forward", "monai_mamba::scan_backward")
    scan = sum(getattr(event, f"{kind}_time_total") for event in events if event.key in scans)
    return {"share_convolution": convolution / everything, "share_scan": scan / everything}


def measure(training: bool, options: argparse.Namespace) -> list[Row]:
    """Time one kind of step of all networks, in turns; then memory and shares of the operators."""
    watches = {}
    for name in options.networks:
        try:
            watches[name] = Stopwatch(Step(name, training, options), options.device)
        except (ImportError, ValueError, RuntimeError) as error:  # a package, window or memory that it lacks
            print(f"{name} is left out: {error}", file=sys.stderr)
    take_turns(watches.values(), options.repeats)
    rows = []
    for name, watch in watches.items():
        row = {
            "benchmark": "network",
            "network": name,
            "parameters": watch.function.parameters,
            "pass": "training" if training else "inference",
            "window": "x".join(map(str, options.window)),
            "classes": options.classes,
            "settings": "amp" if options.amp else "float32",
            **watch.result(),
            "repeats": options.repeats,
            **operator_shares(watch.function, options.device),
        }
        if options.memory:
            prepare = partial(Step, name, training, options)
            row["peak_extra_MiB"] = peak_extra_memory(prepare, options.device, options.threads)
        rows.append({**row, **describe(options.device, options.threads)})
    seconds = {row["network"]: row["seconds"] for row in rows}
    for row in rows:
        twin = seconds.get(f"{row['network']} without Mamba")
        row["times_without_mamba"] = twin and row["seconds"] / twin
    return rows


def markdown(rows: list[Row]) -> str:
    """Document of all rows, one section per machine, window and pass."""
    parts = ["# Networks\n\nWritten by `tools/benchmark.py network`; see docs/benchmarks.md.\n"]
    for same in groups(rows, "device", "cpu", "gpu", "threads", "torch", "window", "classes", "pass").values():
        first, rounds = same[0], min(row["repeats"] for row in same)
        parts.append(f"\n## {first['pass']}, window {first['window']}, {first['classes']} classes\n\n")
        parts.append(f"{machine_line(first)}; {dates(same)}; medians of {rounds} rounds or more.\n\n")
        headers = ("network", "settings", "M parameters", "s", "x without Mamba", "convolution", "scan", "extra MiB")
        cells = []
        for row in same:
            shares = percent(row["share_convolution"]), percent(row["share_scan"])
            figures = number(row["parameters"], 1e6), number(row["seconds"]), number(row["times_without_mamba"])
            cells.append([row["network"], row["settings"], *figures, *shares, number(row.get("peak_extra_MiB"))])
        parts.append(table(headers, cells))
    return "".join(parts)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    switch = argparse.BooleanOptionalAction
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--window", nargs="+", type=int, default=[96], help="voxels, one number or three")
    parser.add_argument("--classes", type=int, default=36)
    parser.add_argument("--passes", nargs="+", choices=["inference", "training"], default=["inference", "training"])
    parser.add_argument("--amp", action=switch, default=False, help="bfloat16")
    parser.add_argument("--memory", action=switch, default=True, help="measure memory as well")
    parser.add_argument("--threads", type=int, default=min(2, usable_cores()), help="of the CPU")
    parser.add_argument("--repeats", type=int, default=3)
    results.add_common_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Print a line of JSON for each network and pass; with an output folder, write the lines and a table."""
    options.window = options.window * 3 if len(options.window) == 1 else options.window
    torch.set_num_threads(options.threads)
    for name in options.passes:
        rows = measure(name == "training", options)
        results.write("network", rows, KEY, options.output_dir, markdown)
