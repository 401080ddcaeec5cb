"""Make brain tumor cases with known labels from label maps: FLAIR, T1, T1ce and T2 of synthetic brains.

    python tools/make_tumor_cases.py --label_maps maps --cases 64 --output_dir cases

The label maps hold FreeSurfer ids of whole heads or brains; each is deformed anew for every case made from it, and a
tumor grows into it (tools/synthesis/tumors.py says how). Files have the names, grid (240 x 240 x 155 voxels of 1 mm)
and labels of BraTS 2023: BraTS-GLI-00003-002 is the third case from the fourth map, so that a split by person is one by
map. A case depends on --seed, its map and its number only, not on how many are made.

The cases show that a pipeline works, and compare networks; they do not replace patients.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from reports import run_command, save_image
from synthesis.tumors import SIGNS, Anatomy, grid, grow_tumor, paint, random_brain, read_anatomy
from tqdm import tqdm

from monai_mamba.checks import check_output_dir
from monai_mamba.data.label_maps import find_label_maps
from monai_mamba.errors import InputError
from monai_mamba.grids import bounding_box
from monai_mamba.labels import RegionTable

ENDINGS = {"flair": "t2f", "t1": "t1n", "t1ce": "t1c", "t2": "t2w"}
LARGEST_SPACING = 4.0  # mm: a coarser grid cannot hold a rim


def make_case(anatomy: Anatomy, spacing: float, seed: Sequence[int]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Make one case on the grid of BraTS: the int16 volume of each modality, 0 outside the brain, and uint8 label ids.

    The seed, whole numbers from 0 on, decides on everything random.
    """
    random = np.random.default_rng(seed)
    shape, _ = grid(spacing)
    tissue = random_brain(anatomy, shape, spacing, random, SIGNS)
    box = bounding_box(tissue > 0)
    tumor = grow_tumor(tissue[box], spacing, random)
    table = RegionTable.load("brats2023")
    masks = {"TC": tumor.core, "WT": tumor.whole, "ET": tumor.enhancing}
    labels = np.zeros(shape, dtype=np.uint8)
    labels[box] = table.to_ids([masks[name] for name in table.names])
    volumes = {}
    for name, scan in paint(tumor, spacing, random).items():
        volumes[name] = np.zeros(shape, dtype=np.int16)
        volumes[name][box] = scan
    return volumes, labels


def make_cases(options: argparse.Namespace) -> None:
    """Make all cases that the command asks for, from the maps in turn, and write them."""
    if not 0 < options.spacing <= LARGEST_SPACING or options.cases < 1 or options.seed < 0:
        raise InputError(
            f"--spacing is {options.spacing:g}, --cases {options.cases}, --seed {options.seed}; expected a spacing "
            f"above 0 and up to {LARGEST_SPACING:g} mm, at least 1 case, and a seed from 0 on."
        )
    folder, sources = Path(options.output_dir), map(Path, options.label_maps)
    maps = [file for path in sources for file in ([str(path)] if path.is_file() else find_label_maps(path))]
    check_output_dir(folder)
    _, affine = grid(options.spacing)
    progress = tqdm(total=options.cases, unit="case")
    for position, path in enumerate(maps[: options.cases]):
        anatomy = read_anatomy(path)
        for turn, _ in enumerate(range(position, options.cases, len(maps))):
            volumes, labels = make_case(anatomy, options.spacing, (options.seed, position, turn))
            name = f"BraTS-GLI-{position:05d}-{turn:03d}"
            for modality, volume in volumes.items():
                save_image(folder / name / f"{name}-{ENDINGS[modality]}.nii.gz", volume, affine)
            save_image(folder / name / f"{name}-seg.nii.gz", labels, affine)
            progress.update()
    progress.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--label_maps", required=True, nargs="+", metavar="PATH", help="label maps, or folders of them")
    parser.add_argument("--output_dir", required=True, help="folder for the cases")
    parser.add_argument("--cases", type=int, default=64, help="how many to make, the maps in turn (%(default)s)")
    parser.add_argument("--spacing", type=float, default=1.0, help="mm between voxels (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another one makes other cases (%(default)s)")
    return run_command(make_cases, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
