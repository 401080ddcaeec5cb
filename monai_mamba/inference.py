"""A bundle as a function: a scan in, its labels and volumes out."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigWorkflow
from monai.data import MetaTensor, NibabelReader
from monai.transforms import LoadImage
from monai.utils import SpaceKeys

from monai_mamba.bundle import shipped_bundles
from monai_mamba.data.geometry import check_affine
from monai_mamba.data.quality import Quality
from monai_mamba.data.scans import RESULTS
from monai_mamba.errors import InputError, as_before, own_error
from monai_mamba.files import MISSING, read_tsv

Image = str | os.PathLike | np.ndarray | torch.Tensor
TEXT_COLUMNS = ("name", "labels", "modalities", "doubts")


class Segmentation(NamedTuple):
    """What a bundle has found in one scan.

    Attributes:
        labels: label ids `(1, H, W, D)` on the grid of the scan, with its affine.
        volumes: rows of the table of volumes, a dictionary by column as in `..._volumes.tsv`; None where a structure
            has no value.
        quality: whether they can be right, and why not; None with `quality_limits=None`.
    """

    labels: MetaTensor
    volumes: list[dict[str, Any]]
    quality: Quality | None


def segment(
    image: Image | Mapping[str, Image], bundle: str = "subcortical", *, affine: np.ndarray | None = None, **options: Any
) -> Segmentation:
    """Segment one scan with a bundle that came with the package, as `python -m monai_mamba run BUNDLE` does.

    The bundle's `inference.json` is run as it is; files pass through a temporary folder. For many scans use the command
    line, which builds the network once and continues after a bad scan.

    Args:
        image: a path, or voxels `(H, W, D)` or `(1, H, W, D)` of any number type and scale. For `brats_multimodal` a
            mapping from modality to those.
        bundle: its name.
        affine: `(4, 4)`, from voxels to mm, RAS: where the voxels of an array lie. A `MetaTensor` has its own.
        **options: options of the bundle, such as `device="cpu"`, `mirror=False`.

    Returns:
        Labels, volumes and their grade.

    Raises:
        InputError: there is no such bundle or option, or the image cannot be processed.
        MonaiMambaError: as on the command line.
    """
    bundles = shipped_bundles()
    if bundle not in bundles:
        raise InputError(f"There is no bundle '{bundle}'. Choose one of {', '.join(bundles)}.")
    if given := {"dicom_seg", "input", "output_dir"} & options.keys():
        raise InputError(
            f"{', '.join(sorted(given))}: not an option of segment, which takes an image and returns its labels. For "
            f"files, use 'python -m monai_mamba run {bundle} --input ... --output_dir ...'."
        )
    with as_before(), tempfile.TemporaryDirectory(prefix="monai_mamba_") as folder:
        if isinstance(image, Mapping):
            source = {name: _as_file(part, affine, Path(folder, f"{name}.nii")) for name, part in image.items()}
        else:
            source = _as_file(image, affine, Path(folder, "array.nii"))
        try:
            workflow = _workflow(bundles[bundle], input=source, output_dir=Path(folder), **options)
            workflow.initialize()
            scans = workflow.dataset.data
            if len(scans) != 1:
                raise InputError(
                    f"{image}: {len(scans)} scans, expected one. Give the path of one, or segment all with "
                    f"'python -m monai_mamba run {bundle} --input ...'."
                )
            workflow.run()
        except Exception as error:
            if own := own_error(error):
                raise own from None
            raise
        output = scans[0]["output"]
        labels = LoadImage(NibabelReader, dtype=None, ensure_channel_first=True)(output + RESULTS["labels"])
        labels.meta["filename_or_obj"] = str(source)
        table, limits = output + RESULTS["volumes"], workflow.evaluator.quality
        return Segmentation(labels, _read_table(table), limits.rate(table) if limits else None)


def _workflow(bundle: Path, **options: Any) -> ConfigWorkflow:
    """The bundle's inference, without a change of the program's logging."""
    config = str(bundle / "configs" / "inference.json")
    logger = logging.getLogger("monai.bundle.workflows")
    with warnings.catch_warnings():
        # MONAI warns that configs are programs, which came with the package here, and that logging stays as it is
        warnings.simplefilter("ignore")
        logger.disabled = True
        try:
            return ConfigWorkflow(config, workflow_type="infer", logging_file=False, **options)
        finally:
            logger.disabled = False


def _as_file(image: Any, affine: np.ndarray | None, path: Path) -> Path:
    """The file of an image; an array is written to `path`."""
    if isinstance(image, (str, os.PathLike)):
        if not os.fspath(image).strip():  # an empty path would be the working folder
            raise InputError("The path of the image is empty.")
        if affine is not None:
            raise InputError(f"{image}: a file has an affine of its own. Leave out affine, or give the voxels.")
        return Path(image)
    if isinstance(image, MetaTensor) and affine is None:
        affine = image.affine
        if image.meta.get("space", SpaceKeys.RAS) != SpaceKeys.RAS:
            raise InputError(
                f"The affine of the image is in {image.meta['space']}, expected RAS. Load it with LoadImage."
            )
    if affine is None:
        raise InputError(
            "An array has no position: give the affine of its voxels, or a MetaTensor, or the file's path."
        )
    if isinstance(image, torch.Tensor):
        image = image.detach().cpu()
        image = image.float() if image.is_floating_point() else image  # NumPy has no bfloat16
    voxels = np.asarray(image)
    if voxels.dtype.kind not in "buif":
        raise InputError(f"The voxels of the image are of type {voxels.dtype}; expected one real number each.")
    try:
        affine = np.asarray(affine, dtype=np.float64).reshape(4, 4)
    except (TypeError, ValueError) as error:
        raise InputError(f"The affine is not a matrix (4, 4) of numbers, from voxels to mm ({error}).") from error
    check_affine("image", affine)
    if not np.array_equal(affine[3], [0, 0, 0, 1]):
        raise InputError(f"The last row of the affine is {affine[3].tolist()}, expected 0, 0, 0, 1. Is it transposed?")
    voxels = voxels[0] if voxels.ndim == 4 and len(voxels) == 1 else voxels
    if voxels.ndim != 3:
        raise InputError(f"The image has the shape {tuple(voxels.shape)}, expected (H, W, D) or (1, H, W, D).")
    nib.save(nib.Nifti1Image(voxels.astype(np.float32), affine), path)
    return path


def _read_table(path: str) -> list[dict[str, Any]]:
    def value(column: str, cell: str) -> Any:
        if cell == MISSING or column in TEXT_COLUMNS:
            return None if cell == MISSING else cell
        return int(cell) if cell.isdecimal() else float(cell)

    return [{column: value(column, cell) for column, cell in row.items()} for row in read_tsv(path)]
