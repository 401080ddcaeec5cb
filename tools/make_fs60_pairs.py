"""Make training pairs of the scheme `fs60` from subjects whose hippocampal subfields FreeSurfer has segmented.

    python tools/make_fs60_pairs.py --subjects_dir SUBJECTS_DIR --output_dir pairs

Of each subject, `mri/orig.mgz` (or the next of FreeSurfer's volumes) becomes imagesTr/NAME.nii.gz, and both sides
together become labelsTr/NAME.nii.gz with the ids of the bundle `hippocampal_subfields` on the same grid. Taken are, in
this order, the files [lr]h.hippoAmygLabels-T1.v2N.FS60.FSvoxelSpace.mgz, the same without FS60 (heads and bodies are
joined), [lr]h.hippoSfLabels-T1.v10.FSvoxelSpace.mgz, and each of them without FSvoxelSpace (0.333 mm, resampled to the
nearest voxel). The amygdala is left out.

Source of ids and names: FreeSurferColorLUT.txt and the wiki page HippocampalSubfieldsAndNucleiOfAmygdala.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.processing import resample_from_to
from reports import run_command, save_image
from tqdm import tqdm

from monai_mamba.checks import check_output_dir
from monai_mamba.data.freesurfer import VOLUMES
from monai_mamba.data.image_file import read_image
from monai_mamba.data.label_values import read_label_ids
from monai_mamba.errors import InputError
from monai_mamba.files import read_tsv
from monai_mamba.labels import LABEL_FOLDER

SIDES = {"lh": 1000, "rh": 2000}
KINDS = ("hippoAmygLabels-T1.v2?.FS60", "hippoAmygLabels-T1.v2?", "hippoSfLabels-T1.v10")
PATTERNS = [kind + space for space in (".FSvoxelSpace.mgz", ".mgz") for kind in KINDS]
AMYGDALA = range(7000, 7101)


def find_subjects(subjects_dir: Path) -> dict[Path, tuple[Path, dict[str, Path]]]:
    """The folder of each subject with subfields: its image, and the label map of each side."""
    subjects = {}
    for mri in sorted(subjects_dir.glob("*/mri")):
        found = {pattern: {side: sorted(mri.glob(f"{side}.{pattern}")) for side in SIDES} for pattern in PATTERNS}
        files = next((files for files in found.values() if all(files.values())), None)
        if files is None:
            if any(paths for files in found.values() for paths in files.values()):
                raise InputError(f"{mri}: subfields of one side only; expected files lh.* and rh.* of one kind.")
            continue
        image = next((mri / f"{name}.mgz" for name in VOLUMES if (mri / f"{name}.mgz").is_file()), None)
        if image is None:
            raise InputError(f"{mri}: no image; expected one of {', '.join(VOLUMES)} as .mgz.")
        subjects[mri.parent] = image, {side: paths[-1] for side, paths in files.items()}
    if not subjects:
        raise InputError(
            f"{subjects_dir}: no subject with hippocampal subfields. Expected SUBJECT/mri/lh.{PATTERNS[1]} and rh.*, "
            "as segmentHA_T1.sh of FreeSurfer 7 writes them, or those of recon-all -hippocampal-subfields-T1."
        )
    return subjects


def to_fs60(path: Path, side: str, grid: tuple[tuple[int, ...], np.ndarray], subfields: dict[int, int]) -> np.ndarray:
    """FS60 ids of one side, int16, on a grid (shape and affine), 0 elsewhere; `subfields` are by FreeSurfer's ids."""
    ids = read_label_ids(path)
    if unknown := sorted(set(np.unique(ids).tolist()) - {0, *subfields, *AMYGDALA}):
        raise InputError(f"{path}: {unknown[:5]} are not ids of hippocampal subfields, see freesurfer_subfields.tsv.")
    lookup = np.zeros(AMYGDALA.stop, np.int16)
    for label, into in subfields.items():
        lookup[label] = into + SIDES[side]
    image = nib.Nifti1Image(lookup[ids], nib.load(path).affine)
    return np.asarray(resample_from_to(image, grid, order=0).dataobj).astype(np.int16)


def make_pairs(options: argparse.Namespace) -> None:
    """Make the pairs of all subjects."""
    check_output_dir(options.output_dir)
    folder, rows = Path(options.output_dir).expanduser(), read_tsv(LABEL_FOLDER / "freesurfer_subfields.tsv")
    subfields = {int(row["id"]): int(row["into"]) for row in rows}
    subjects = find_subjects(Path(options.subjects_dir).expanduser())
    for subject, (path, sides) in tqdm(subjects.items(), unit="subject"):
        image = read_image(path)
        grid = image.shape[:3], image.affine
        label = np.zeros(grid[0], np.int16)
        for side, file in sides.items():
            part = to_fs60(file, side, grid, subfields)
            if not part.any():
                raise InputError(f"{file}: no subfield lies in {path.name}. Do both come from one run of FreeSurfer?")
            label = np.where(part > 0, part, label)
        save_image(folder / "labelsTr" / f"{subject.name}.nii.gz", label, image.affine)
        save_image(folder / "imagesTr" / f"{subject.name}.nii.gz", np.asarray(image.dataobj).squeeze(), image.affine)
    print(f"{len(subjects)} pairs in {folder}. Train with --dataset_dir {folder}.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects_dir", required=True, help="folder with FreeSurfer subjects")
    parser.add_argument("--output_dir", required=True, help="folder for imagesTr and labelsTr")
    return run_command(make_pairs, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
