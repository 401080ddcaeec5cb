"""Results as the bundles write them, of a head of two structures."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from head_phantom import LEFT, RIGHT, centered_affine, make_head
from monai.data import MetaTensor

from monai_mamba.data.quality import QualityLimits
from monai_mamba.data.scans import RESULTS
from monai_mamba.handlers import ResultSaver
from monai_mamba.labels import LabelTable

SHAPE = (40, 44, 42)
LIA = np.array([[-1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])
HEADER = "id\tname\tvoxels\tmm3\tmm3_soft\texpected_dsc\n"
TABLE = LabelTable.load("subcortical")


def save_scan(path: Path, sides: tuple[int, ...] = (LEFT, RIGHT)) -> np.ndarray:
    """Write a scan whose header names a person; returns its labels, of the given ids only."""
    image, labels = make_head(SHAPE, affine := centered_affine(SHAPE, LIA))
    scan = nib.Nifti1Image(image, affine)
    scan.header["descrip"] = b"Doe^Jane"
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(scan, path)
    return np.where(np.isin(labels, sides), labels, 0).astype(np.uint8)


def save_results(scan: Path, labels: np.ndarray, output: Path) -> None:
    """Write what a bundle writes for a scan."""
    ids = [entry.id for entry in TABLE.structures]
    meta = {"soft_volumes": dict.fromkeys(ids, 1.0), "expected_dsc": dict.fromkeys(ids, 0.9)}
    meta["filename_or_obj"] = str(scan)
    ResultSaver("subcortical").save(MetaTensor(torch.from_numpy(labels)[None], meta=meta), str(output))


def copy_results(output: Path, copy: Path, volumes: dict[int, float], expected_dsc: float = 0.9) -> None:
    """Results of another scan: the files of the first, with volumes in mm3 by label id (0 where not given)."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    for kind in ("labels", "picture"):
        shutil.copy(f"{output}{RESULTS[kind]}", f"{copy}{RESULTS[kind]}")
    text = HEADER
    for entry in TABLE.structures:
        volume = volumes.get(entry.id, 0.0)
        expected = f"{expected_dsc:.3f}" if volume else "n/a"
        text += f"{entry.id}\t{entry.name}\t{volume:.0f}\t{volume:.1f}\t{volume:.1f}\t{expected}\n"
    Path(f"{copy}{RESULTS['volumes']}").write_text(text, encoding="utf-8")


def usual_volumes() -> dict[int, float]:
    """Volumes in the middle of the limits of the subcortical bundle, by id: results of these pass."""
    path = Path(__file__).resolve().parents[2] / "bundles" / "subcortical" / "configs" / "quality.tsv"
    limits = QualityLimits.load(path).limits
    return {
        entry.id: math.sqrt(limits[entry.name][0] * limits[entry.name][1])
        for entry in TABLE.structures
        if entry.name in limits
    }
