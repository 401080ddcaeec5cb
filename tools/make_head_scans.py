"""Make head scans with known labels from label maps: test data for networks that never saw these maps.

    python tools/make_head_scans.py --label_maps maps/*_1[6-9]*.nii.gz --scans 16 --output_dir test

Each scan is drawn as the training images of `subcortical` are (`RandSynthesizeImaged`: a deformed anatomy, a contrast
and a scanner of its own), and cut to the box of the brain. Scan and labels are named as the bundle's `train.json` and
`evaluate.json` expect it: sub-MAP_run-N_T1w.nii.gz beside sub-MAP_run-N_desc-aseg_dseg.nii.gz. A scan depends on
--seed, its map and its number only, not on how many are made.

The scans compare networks; they do not replace real ones.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import numpy as np
import torch
from monai.transforms import LoadImage, Orientation
from reports import run_command
from synthesis.files import find_maps, save
from tqdm import tqdm

from monai_mamba.checks import check_output_dir
from monai_mamba.data.image_header import check_header
from monai_mamba.data.image_reader import VerifyingNibabelReader
from monai_mamba.data.pairs import IMAGE_ENDING, LABEL_ENDING
from monai_mamba.errors import InputError, OutputError
from monai_mamba.labels import LabelTable
from monai_mamba.transforms.frontal_horns import clear_frontal_horns
from monai_mamba.transforms.synthesis import RandSynthesizeImaged, SynthesisTable

ORIENTATION = "LIA"  # the synthesis wants left-right first
MARGIN = 12  # voxels around the brain: room for the deformation
BRIGHTEST = 1000  # number in the file for the intensity 1


def make_scan(
    ids: torch.Tensor, labels: LabelTable, table: SynthesisTable, seed: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scan of a label map.

    Args:
        ids: label map `(1, H, W, D)` of ids that the table lists, left-right first.
        labels: the classes.
        table: meaning of the ids.
        seed: whole numbers from 0 on that decide on everything random.

    Returns:
        The scan, int16 from 0 to 1000, and FreeSurfer ids, int16, of one shape.
    """
    brain = torch.nonzero(table.target[ids[0].long()])
    first, last = brain.amin(0), brain.amax(0)
    roi_size, center = (last - first + 1 + 2 * MARGIN).tolist(), ((first + last) / 2).tolist()
    synthesize = RandSynthesizeImaged("label_map", table, roi_size=roi_size, center=center)
    synthesize.set_random_state(int(np.random.SeedSequence(seed).generate_state(1)[0]))
    drawn = synthesize({"label_map": ids})
    image = (drawn["image"][0] * BRIGHTEST).round().short()
    label = torch.tensor(labels.ids, dtype=torch.int16)[drawn["label"][0].long()]
    return np.asarray(image), np.asarray(label)


def make_scans(options: argparse.Namespace) -> None:
    """Make all scans that the command asks for.

    Raises:
        InputError: an option is out of range, or a label map cannot be used.
        OutputError: the scans cannot be written.
    """
    if options.scans < 1 or options.seed < 0:
        raise InputError(f"--scans is {options.scans}, --seed {options.seed}; expected 1 or more, and 0 or more.")
    maps = find_maps(options.label_maps)
    for path in maps:
        check_header(path)
    names = [re.sub("[^A-Za-z0-9]", "", Path(path).name.split(".")[0]) for path in maps]
    if len(set(names)) < len(names):
        raise InputError(f"--label_maps: two maps would have the same name among {sorted(names)}. Rename one of them.")
    check_output_dir(options.output_dir)
    labels = LabelTable.load("subcortical")
    table = SynthesisTable("subcortical_synthesis", labels)
    load, orient = (
        LoadImage(reader=VerifyingNibabelReader, ensure_channel_first=True),
        Orientation(ORIENTATION, labels=None),
    )
    with tqdm(total=options.scans, unit="scan") as progress:
        for position, (path, name) in enumerate(zip(maps[: options.scans], names, strict=False)):
            volume = orient(load(path))
            ids = clear_frontal_horns(table.check(volume).as_tensor().short())
            affine = np.asarray(volume.affine, dtype=float)
            if not table.target[ids.long()].any():
                raise InputError(f"{path}: it has no brain structure. Use label maps of heads with FreeSurfer ids.")
            for turn, _ in enumerate(range(position, options.scans, len(maps))):
                pair = make_scan(ids, labels, table, (options.seed, position, turn))
                stem = f"sub-{name}_run-{turn + 1}"
                try:
                    for ending, data in zip((IMAGE_ENDING, LABEL_ENDING), pair, strict=True):
                        save(options.output_dir / f"{stem}{ending}.nii.gz", data, affine)
                except OSError as error:
                    raise OutputError(
                        f"{options.output_dir}: the scans cannot be written ({error}). Is the disk full?"
                    ) from error
                progress.update()


def main() -> int:
    """Parse the command line and make the scans; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--label_maps", required=True, nargs="+", metavar="PATH", help="label maps, or folders of them")
    text = "folder for the scans"
    parser.add_argument("--output_dir", type=lambda path: Path(path).expanduser(), required=True, help=text)
    parser.add_argument("--scans", type=int, default=16, help="how many to make, the maps in turn (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another one makes other scans (%(default)s)")
    return run_command(make_scans, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
