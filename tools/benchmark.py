"""Measure time and memory of the networks, on this machine.

    python tools/benchmark.py scan-to-labels                # the subcortical bundle, whole head, from file to file
    python tools/benchmark.py network                       # one window: shipped preset and published configuration

Both print one JSON object per line. Times are wall seconds; compare figures of one run only.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from monai_mamba import MedSegMamba, medsegmamba_small

BUNDLE = Path(__file__).resolve().parents[1] / "bundles" / "subcortical"
NETWORKS = {"medsegmamba_small": medsegmamba_small, "MedSegMamba (published)": MedSegMamba}


def machine(threads: int) -> dict[str, object]:
    """What a figure belongs to."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    return {"cpu": cpu, "threads": threads, "torch": torch.__version__, "date": datetime.date.today().isoformat()}


def scan_to_labels(options: argparse.Namespace) -> None:
    """Run the bundle's inference in processes of its own; print median wall time and the largest peak memory."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    seconds = []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "monai.bundle", "run"]
            command += ["--config_file", str(BUNDLE / "configs" / "inference.json"), "--output_dir", folder]
            command += ["--device", options.device, *(("--input", options.input) if options.input else ())]
            started = time.perf_counter()
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
            seconds.append(round(time.perf_counter() - started, 2))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    result = {"seconds": statistics.median(seconds), "all_seconds": seconds, "peak_GiB": round(peak, 2)}
    print(json.dumps({"benchmark": "scan-to-labels", **result, "device": options.device, **machine(options.threads)}))


def network(options: argparse.Namespace) -> None:
    """Print seconds per window and the shares of convolution and selective scan in the operators' own time."""
    torch.set_num_threads(options.threads)
    window = torch.rand(1, 1, 96, 96, 96, device=options.device)
    nets = {name: build().eval().to(options.device) for name, build in NETWORKS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in nets}
    with torch.inference_mode(), torch.autocast(window.device.type, torch.bfloat16, enabled=options.amp):
        for net in nets.values():
            net(window)
        for _ in range(options.repeats):  # interleaved, so that a change of the machine's speed meets all of them
            for name, net in nets.items():
                started = time.perf_counter()
                net(window)[0, 0, 0, 0, 0].item()
                seconds[name].append(time.perf_counter() - started)
        for name, net in nets.items():
            result = {
                "network": name,
                "parameters": sum(p.numel() for p in net.parameters()),
                "seconds_per_window": round(statistics.median(seconds[name]), 3),
                **operator_shares(net, window),
            }
            print(json.dumps({"benchmark": "network", **result, "amp": options.amp, **machine(options.threads)}))


def operator_shares(net: torch.nn.Module, window: torch.Tensor) -> dict[str, float]:
    """Shares of all operator time spent in convolutions, and in the selective scan with everything it calls."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if window.is_cuda else [])
    with profile(activities=activities) as profiler:
        net(window)
    own, total = (
        ("self_device_time_total", "device_time_total")
        if window.is_cuda
        else (
            "self_cpu_time_total",
            "cpu_time_total",
        )
    )
    events = profiler.key_averages()
    everything = sum(getattr(event, own) for event in events)
    convolution = sum(getattr(event, own) for event in events if "conv" in event.key)
    scan = sum(getattr(event, total) for event in events if event.key == "monai_mamba::scan_forward")
    return {
        "share_convolution": round(convolution / everything, 3),
        "share_scan": round(scan / everything, 3),
    }


def main() -> None:
    """Parse the command line and run one benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=["scan-to-labels", "network"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--input", help="scan instead of the bundle's sample")
    parser.add_argument("--amp", action=argparse.BooleanOptionalAction, default=False, help="bfloat16 (network only)")
    options = parser.parse_args()
    {"scan-to-labels": scan_to_labels, "network": network}[options.benchmark](options)


if __name__ == "__main__":
    main()
