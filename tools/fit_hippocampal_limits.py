"""Fit the limits by which the results of the hippocampal bundle are graded `pass`, `look` or `fail`.

    python tools/fit_hippocampal_limits.py --dataset_dir Task04_Hippocampus --output_dir out

Volumes of the parts in the manual labels of the Decathlon's task 04, whose cases 2k-1 and 2k are the two hippocampi of
one person: half of the smallest, twice the largest, and twice the largest difference of two sides. Both sides get the
same limits; there is none for the expected DSC. Writes quality.tsv, which goes into the bundle's `configs`.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from evaluation.label_sets import find_label_set
from fit_quality_limits import fit, limits_text
from reports import run_command, write_files

from monai_mamba.checks import check_output_dir
from monai_mamba.data.label_values import read_label_ids
from monai_mamba.labels import LabelTable


def fit_limits(options: argparse.Namespace) -> None:
    """Measure, fit and write.

    Raises:
        InputError: there is no label map.
        OutputError: the file cannot be written.
    """
    check_output_dir(options.output_dir)
    volumes = {}
    for name, path in find_label_set("labels", str(Path(options.dataset_dir, "labelsTr"))).files.items():
        voxel = abs(np.linalg.det(nib.load(path).affine[:3, :3]))
        volumes[int(re.search(r"\d+$", name)[0])] = np.bincount(read_label_ids(path).ravel(), minlength=3)[1:] * voxel
    missing = np.full(2, np.nan)
    first = range(1, max(volumes) + 1, 2)
    sides = np.array([[volumes.get(case, missing), volumes.get(case + 1, missing)] for case in first])
    # (person, side, part): either side of a crop is not known, so that both count for both.
    limits = fit(np.concatenate([sides, sides[:, ::-1]]).reshape(-1, 4), [2, 3, 0, 1], np.full((1, 4), np.nan))
    names = [entry.name for entry in LabelTable.load("hippocampus_head_tail").structures]
    write_files(Path(options.output_dir).expanduser(), {"quality.tsv": limits_text(names, limits)})
    print(f"{len(volumes)} hippocampi, {int(np.isfinite(sides).all((1, 2)).sum())} people with both.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", required=True, help="folder with labelsTr")
    parser.add_argument("--output_dir", required=True, help="folder for the limits")
    return run_command(fit_limits, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
