"""Measure time and memory on this machine.

    python tools/benchmark.py scan             # the selective scan: backends of the package, and other ways to do it
    python tools/benchmark.py check            # the same on a GPU: are values right and bits equal
    python tools/benchmark.py network          # one window through whole networks: ours, without Mamba, and MONAI's
    python tools/benchmark.py scan-to-labels   # a bundle, a whole head or brain, from file to file

All but `check`, which prints a table, print one JSON object per line. What is compared in a run is run in turns;
compare figures of one run only.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks import check, network, scan, scan_to_labels
from reports import run_command

BENCHMARKS = {"scan": scan, "check": check, "network": network, "scan-to-labels": scan_to_labels}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="benchmark", required=True)
    for name, module in BENCHMARKS.items():
        module.add_arguments(commands.add_parser(name, description=module.__doc__))
    options = parser.parse_args()
    return run_command(BENCHMARKS[options.benchmark].run, options)


if __name__ == "__main__":
    sys.exit(main())
