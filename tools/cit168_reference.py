"""Turn the labels of the CIT168 atlas into FreeSurfer ids, as a reference for the subcortical bundle.

    python tools/cit168_reference.py --labels labels.nii.gz --names labels.json --output_dir pairs

The atlas (Pauli, Nili and Tyszka, Scientific Data 5:180063, 2018) has four nuclei of each side in common with
FreeSurfer: caudate, putamen, accumbens, and pallidum, which it divides into an external and an internal part. All
others become background, among them the ventral pallidum and the extended amygdala, which are no FreeSurfer structures.
Writes CIT168_desc-aseg_dseg.nii.gz; with the template beside it, as CIT168_T1w.nii.gz, evaluate.json takes the folder.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
from reports import run_command, write_files

from monai_mamba.checks import check_output_dir
from monai_mamba.data.image_file import read_image
from monai_mamba.data.image_header import check_header
from monai_mamba.data.label_values import read_label_ids
from monai_mamba.errors import InputError
from monai_mamba.handlers.result_saver import label_image
from monai_mamba.labels import LabelTable, without_side

REFERENCE = "CIT168_desc-aseg_dseg.nii.gz"
SIDES = {"L": "Left", "R": "Right"}
STRUCTURES = {
    "Caudate": "Caudate",
    "Putamen": "Putamen",
    "Nucleus Accumbens": "Accumbens-area",
    "Globus Pallidus externa": "Pallidum",
    "Globus Pallidus interna": "Pallidum",
}


def read_names(path: Path) -> dict[str, int]:
    """Label of each nucleus by its name, such as `L Caudate`, from a JSON object of labels and names.

    Raises:
        InputError: the file is no such object, or lacks a nucleus of `STRUCTURES`.
    """
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
        labels = {str(name): int(label) for label, name in names.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f'{path}: expected a JSON object of labels and names, such as {{"3": "L Caudate"}} ({error}). Use that of '
            "CIT168."
        ) from error
    missing = [name for side in SIDES for nucleus in STRUCTURES if (name := f"{side} {nucleus}") not in labels]
    if missing:
        raise InputError(f"{path}: it has no label for {', '.join(missing)}. Use the file of CIT168.")
    return labels


def freesurfer_ids(nuclei: np.ndarray, labels: Mapping[str, int]) -> np.ndarray:
    """Turn CIT168 labels `(H, W, D)` into FreeSurfer ids, uint8.

    Args:
        nuclei: labels of the atlas.
        labels: label of each nucleus, see `read_names`.
    """
    ids = {entry.name: entry.id for entry in LabelTable.load("subcortical")}
    result = np.zeros(nuclei.shape, dtype=np.uint8)
    for side, long_side in SIDES.items():
        for nucleus, structure in STRUCTURES.items():
            result[nuclei == labels[f"{side} {nucleus}"]] = ids[f"{long_side}-{structure}"]
    return result


def convert(options: argparse.Namespace) -> None:
    """Check the files, write the label map and print its volumes.

    Raises:
        InputError: a file cannot be used; nothing has been written.
        OutputError: the label map cannot be written.
    """
    source = Path(options.labels).expanduser()
    labels = read_names(Path(options.names).expanduser())
    check_header(source)
    image = read_image(source)
    result = freesurfer_ids(read_label_ids(source), labels)
    structures = [entry for entry in LabelTable.load("subcortical") if without_side(entry.name) in STRUCTURES.values()]
    voxels = {entry.name: np.count_nonzero(result == entry.id) for entry in structures}
    if not all(voxels.values()):
        lost = ", ".join(name for name, number in voxels.items() if not number)
        raise InputError(f"{source}: it has no voxel of {lost}. Use the label map that belongs to {options.names}.")
    check_output_dir(options.output_dir)
    folder = Path(options.output_dir).expanduser()
    write_files(folder, {REFERENCE: lambda file: nib.save(label_image(result, image), file)})
    print(f"Wrote {folder / REFERENCE}:")
    for entry in structures:
        volume = voxels[entry.name] * abs(np.linalg.det(image.affine[:3, :3]))
        print(f"{entry.id} {entry.name}: {volume:.0f} mm3")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", required=True, help="label map of the atlas")
    parser.add_argument("--names", required=True, help="JSON object that gives each label its name, such as L Caudate")
    parser.add_argument("--output_dir", required=True, help=f"folder for {REFERENCE}")
    return run_command(convert, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
