"""Check on labeled scans that the coarse look of the subcortical bundle loses no structure.

    python tools/check_look.py --dataset_dir scans --output_dir look

Looks at every scan of the pairs (NAME_T1w.nii.gz beside NAME_desc-aseg_dseg.nii.gz) as it is, with its head turned, and
cut to each half of its field of view. look.tsv has, for each, the size in mm of the box (or that the look is unsure, so
that the whole image is segmented) and of the image, and how many voxels of 1 mm of which structures lie outside it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from evaluation.robustness_conditions import Altered, Change, Scan, load_scan, onto_grid, repeat, turn_head
from monai.bundle import ConfigParser
from reports import run_command, write_files
from tqdm import tqdm

from monai_mamba.checks import check_output_dir
from monai_mamba.data import find_pairs
from monai_mamba.data.label_values import read_label_ids
from monai_mamba.files import table_text
from monai_mamba.grids import box_shape, one_affine
from monai_mamba.handlers import load_weights
from monai_mamba.labels import LabelTable

BUNDLE = Path(__file__).resolve().parents[1] / "bundles" / "subcortical"
COLUMNS = ("subject", "condition", "box_mm", "image_mm", "voxels", "outside", "structures_outside")


def cut_half(scan: Scan, axis: int, last: bool) -> Altered:
    """Keep the first or the last half of the field of view along an axis."""
    stored = scan.stored.as_reoriented(nib.orientations.io_orientation(scan.stored.affine))
    middle, part = stored.shape[axis] // 2, 3 * [slice(None)]
    part[axis] = slice(middle, None) if last else slice(middle)
    return stored.slicer[tuple(part)], Change()


AXES = (("pitch", "left", "right"), ("roll", "back", "front"), ("yaw", "lower", "upper"))
CONDITIONS = {"unaltered": repeat}
for number, (turn, *halves) in enumerate(AXES):
    for degrees in (15, 30):
        CONDITIONS[f"{turn}-{degrees}"] = partial(turn_head, degrees=degrees, axis=np.eye(3)[number])
    for last, name in enumerate(halves):
        CONDITIONS[f"{name}-half"] = partial(cut_half, axis=number, last=bool(last))


def check(options: argparse.Namespace) -> None:
    """Look at every scan and write the table."""
    pairs = find_pairs(options.dataset_dir)
    check_output_dir(options.output_dir)
    config = ConfigParser()
    config.read_config(str(BUNDLE / "configs" / "inference.json"))
    network, preprocessing, inferer = map(config.get_parsed_content, ("network", "preprocessing", "inferer"))
    network = load_weights(network, options.weights, BUNDLE).eval()
    names = {entry.id: entry.name for entry in LabelTable.load("subcortical").structures}
    rows = []
    todo = [(pair, condition) for pair in pairs for condition in options.conditions]
    for pair, condition in tqdm(todo, unit="look"):
        image, change = CONDITIONS[condition](load_scan(Path(pair["image"]), None))
        with tempfile.TemporaryDirectory() as folder:
            nib.save(image, Path(folder) / "scan.nii")
            head = preprocessing({"image": f"{folder}/scan.nii"})["image"]
        with torch.no_grad():
            box = inferer.find_box(head[None], network)
        grid = head.shape[1:], one_affine(head.affine)
        ids = onto_grid(read_label_ids(Path(pair["label"])), change.move @ nib.load(pair["label"]).affine, *grid)
        ids[onto_grid(np.ones(image.shape, np.uint8), image.affine, *grid) == 0] = 0  # cut off
        voxels = np.isin(ids, list(names)).sum()
        if box:
            ids[box] = 0
        lost = {name: int((ids == label).sum()) for label, name in names.items()} if box else {}
        found = ", ".join(f"{name} {count}" for name, count in lost.items() if count)
        sizes = [box_shape(box) if box else None, tuple(head.shape[1:])]
        size, whole = (" x ".join(map(str, size)) if size else "unsure" for size in sizes)
        rows.append((pair["subject"], condition, size, whole, voxels, sum(lost.values()), found))
    write_files(Path(options.output_dir), {"look.tsv": table_text(COLUMNS, rows)})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", required=True, metavar="DIR", help="the pairs of scan and label map")
    parser.add_argument("--output_dir", required=True, metavar="DIR", help="folder for look.tsv")
    parser.add_argument("--weights", default=BUNDLE / "models" / "model.pt", metavar="FILE", help="other weights")
    names = list(CONDITIONS)
    parser.add_argument("--conditions", nargs="+", choices=names, default=names, metavar="NAME", help="some only")
    return run_command(check, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
