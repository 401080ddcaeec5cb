"""A copy of the subcortical bundle whose network, weights and scan are so small that every check takes moments."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from head_phantom import centered_affine, make_head

from monai_mamba import MedSegMamba

SOURCE = Path(__file__).resolve().parents[1] / "bundles" / "subcortical"
NETWORK = {"in_channels": 1, "out_channels": 36, "channels": [8, 8, 8], "depth": 1, "d_state": 2}
SHAPE = (32, 36, 34)


class SizeDependent(torch.nn.Module):
    """A network that cannot be traced: a size of the image becomes a number of the exported file."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Conv3d(1, NETWORK["out_channels"], 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, 36, H, W, D) of images (B, 1, H, W, D)."""
        return self.head(x) * int(x.shape[2])


def edit(path: Path, change: Callable[[dict], object]) -> None:
    """Change the content of a JSON file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content, indent=4), encoding="utf-8")


def save_weights(bundle: Path, state: object, name: str = "model.pt") -> None:
    """Write a weights file, and its SHA-256 into the metadata."""
    path = bundle / "models" / name
    path.parent.mkdir(exist_ok=True)
    torch.save(state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit(bundle / "configs" / "metadata.json", lambda data: data["weights"][f"models/{name}"].update(sha256=digest))


def make_tiny_bundle(folder: Path) -> Path:
    """Write the bundle; its folder has the name `subcortical`, like that of the real one."""
    bundle = folder / "subcortical"
    bundle.mkdir(parents=True)
    shutil.copyfile(SOURCE / "LICENSE", bundle / "LICENSE")
    for name in ("configs", "docs"):
        shutil.copytree(SOURCE / name, bundle / name)
    for overlay in (bundle / "configs").glob("network_*.json"):
        overlay.unlink()
    definition = {"_target_": "MedSegMamba", **NETWORK}
    other_classes = {"network_def": {**definition, "out_channels": 5}}
    (bundle / "configs" / "network_other.json").write_text(json.dumps(other_classes), encoding="utf-8")
    for name in ("inference.json", "train.json"):
        small = {"network_def": definition, "roi_size": [32, 32, 32]}
        edit(bundle / "configs" / name, lambda config, small=small: config.update(small))
    edit(bundle / "configs" / "inference.json", lambda config: config.update(mirror=False, amp=False))

    affine = centered_affine(SHAPE, np.eye(3))
    image, labels = make_head(SHAPE, affine)
    (bundle / "sample_data").mkdir()
    nib.save(nib.Nifti1Image(image, affine), bundle / "sample_data" / "sub-0001_T1w.nii.gz")
    nib.save(nib.Nifti1Image(labels, affine), bundle / "sample_data" / "sub-0001_desc-aseg_dseg.nii.gz")
    edit(bundle / "configs" / "metadata.json", lambda data: data["weights"].pop("models/model_fold0.pt"))
    torch.manual_seed(0)
    save_weights(bundle, MedSegMamba(**NETWORK).state_dict())
    return bundle
