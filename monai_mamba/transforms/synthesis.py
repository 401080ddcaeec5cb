"""Training images made from label maps alone: a new anatomy, contrast and scanner for every sample."""

from __future__ import annotations

import csv
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor, get_track_meta
from monai.networks.layers import GaussianFilter
from monai.transforms import MapTransform, Randomizable
from monai.utils import convert_to_tensor
from scipy.spatial.transform import Rotation
from torch.nn import functional

from monai_mamba.data.label_values import with_label_ids
from monai_mamba.data.labels import LABEL_FOLDER, LabelTable
from monai_mamba.errors import InputError

__all__ = ["RandSynthesizeImaged", "SynthesisTable"]


class SynthesisTable:
    """What each id of a label map becomes: a class to predict and a tissue with an intensity.

    Args:
        source: TSV file (or the name of one of the package) with the columns ``id, target, tissue, t1, brain,
            ventricle``: the id in the label map; the id to predict; the name of the tissue (ids of one tissue share an
            intensity); its usual T1-weighted intensity in [0, 1] or ``n/a`` for any; 1 if skull stripping keeps it; 1
            if it lies in the ventricles, whose size differs most between people.
        labels: the classes of the task.
    """

    def __init__(self, source: str | Path, labels: LabelTable) -> None:
        path = Path(source) if Path(source).suffix == ".tsv" else LABEL_FOLDER / f"{source}.tsv"
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        size = max(int(row["id"]) for row in rows) + 1
        index = {entry.id: entry.index for entry in labels}
        tissues = sorted({row["tissue"] for row in rows})
        t1 = {row["tissue"]: float("nan") if row["t1"] == "n/a" else float(row["t1"]) for row in rows}

        self.known = torch.zeros(size, dtype=torch.bool)
        self.target = torch.zeros(size, dtype=torch.uint8)
        self.tissue = torch.zeros(size, dtype=torch.long)
        self.brain = torch.zeros(size, dtype=torch.bool)
        self.ventricle = torch.zeros(size, dtype=torch.bool)
        for row in rows:
            self.known[int(row["id"])] = True
            self.target[int(row["id"])] = index[int(row["target"])]
            self.tissue[int(row["id"])] = tissues.index(row["tissue"])
            self.brain[int(row["id"])] = row["brain"] == "1"
            self.ventricle[int(row["id"])] = row["ventricle"] == "1"
        self.t1 = torch.tensor([t1[tissue] for tissue in tissues])
        self.mirror = torch.tensor(labels.mirror, dtype=torch.uint8)

    def check(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the ids of a label map `(1, H, W, D)` of any type as int32, or refuse what the table does not list.

        Raises:
            InputError: names the file, where `ids` knows it, and the values.
        """
        ids = with_label_ids(ids)
        found = torch.unique(torch.as_tensor(ids))
        unknown = [value for value in found.tolist() if value >= len(self.known) or not self.known[value]]
        if unknown:
            name = ids.meta.get("filename_or_obj", "The label map") if isinstance(ids, MetaTensor) else "The label map"
            raise InputError(
                f"{name}: {len(unknown)} of its values are no ids of the synthesis table, first "
                f"{', '.join(map(str, unknown[:8]))}. Map them to listed ids, or give a table that has them."
            )
        return ids


class RandSynthesizeImaged(Randomizable, MapTransform):
    """Draw one image window and its labels from a label map.

    The window is placed on a structure chosen at random (each class equally often) or anywhere in the head, deformed
    (rotation, scaling, shear, smooth elastic field, mirroring with left and right ids exchanged, smaller or larger
    ventricles), filled with one random mean, noise and texture per tissue, then skull-stripped or not, blurred,
    resampled, and given a bias field, noise and a random gamma. After Billot et al., "SynthSeg", Medical Image
    Analysis 2023, section 3; ventricles, texture and the ranges are our own.

    Args:
        keys: key of the label map, ``(1, H, W, D)`` ids that the table lists, with left-right as the first axis.
        table: meaning of the ids.
        roi_size: voxels of the window.
        image_key: where the image ``(1, *roi_size)`` float32 in [0, 1] goes.
        label_key: where the class indices ``(1, *roi_size)`` uint8 go.
        t1_prob: share of T1-like contrasts; the other images have a random intensity in every tissue.
        strip_prob: share of skull-stripped images.
        anywhere_prob: share of windows centered anywhere in the head instead of on a structure.
        elastic: factor of the elastic displacements, >= 0. With 1, their nodes move by up to 2 voxels (standard
            deviation along an axis).
        center: voxel of the label map in the middle of every window, three indices that need not be whole; None
            draws one each time.
    """

    def __init__(
        self,
        keys: KeysCollection,
        table: SynthesisTable,
        roi_size: Sequence[int] = (96, 96, 96),
        image_key: str = "image",
        label_key: str = "label",
        t1_prob: float = 0.93,
        strip_prob: float = 0.35,
        anywhere_prob: float = 0.2,
        elastic: float = 1.0,
        center: Sequence[float] | None = None,
    ) -> None:
        MapTransform.__init__(self, keys)
        self.table = table
        self.roi_size = tuple(roi_size)
        self.image_key, self.label_key = image_key, label_key
        self.t1_prob, self.strip_prob, self.anywhere_prob = t1_prob, strip_prob, anywhere_prob
        self.elastic = elastic
        self.center = center
        self.generator = torch.Generator()

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Return the data without the label map, with image and label."""
        result = dict(data)
        volume = convert_to_tensor(result.pop(self.first_key(result)), track_meta=False)[0]
        self.generator.manual_seed(int(self.R.randint(2**31)))
        mirrored = self.R.rand() < 0.5
        ids = self._deform(volume.long() if volume.is_floating_point() else volume, mirrored)
        ids = self._resize_ventricles(ids)
        label = self.table.target[ids]
        if mirrored:
            label = self.table.mirror[label.long()]
        image = self._scan(ids)
        result[self.image_key] = convert_to_tensor(image[None], track_meta=get_track_meta())
        result[self.label_key] = convert_to_tensor(label[None], track_meta=get_track_meta())
        return result

    def _deform(self, volume: torch.Tensor, mirrored: bool) -> torch.Tensor:
        """Nearest-neighbor sample of the ids through a random affine and elastic field: int64 ``roi_size``."""
        linear = Rotation.from_euler("XYZ", self.R.uniform(-12, 12, 3), degrees=True).as_matrix()
        shear = np.eye(3) + self.R.uniform(-0.04, 0.04, (3, 3)) * (1 - np.eye(3))
        linear = linear @ shear @ np.diag(self.R.uniform(0.9, 1.1) * self.R.uniform(0.95, 1.05, 3))
        if mirrored:
            linear[0] *= -1
        center = self._center(volume)

        nodes = int(self.R.choice([4, 6, 8]))
        field = torch.randn(1, 3, nodes, nodes, nodes, generator=self.generator)
        field *= self.elastic * self.R.uniform(0.3, 8.0 / nodes)
        field = functional.interpolate(field, self.roi_size, mode="trilinear", align_corners=True)[0]
        axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in self.roi_size]
        for axis in range(3):
            row = [float(v) for v in linear[axis]]
            position = field[axis].add_((row[0] * axes[0] + float(center[axis]))[:, None, None])
            position.add_((row[1] * axes[1])[:, None] + row[2] * axes[2])
        return _nearest(volume, field)

    def _resize_ventricles(self, ids: torch.Tensor) -> torch.Tensor:
        """Draw the tissue around the ventricles inward by up to 4 voxels, or push it out by up to 1; often leave it."""
        shift = self.R.choice([self.R.uniform(0, 4), self.R.uniform(-1, 0), 0.0], p=[0.5, 0.1, 0.4])
        ventricle = self.table.ventricle[ids]
        if shift == 0 or not ventricle.any():
            return ids
        coarse = functional.avg_pool3d(ventricle.float()[None, None], 2, ceil_mode=True)
        inward = torch.stack(torch.gradient(GaussianFilter(3, 2.0, truncated=2.5)(coarse)[0, 0]))
        inward *= 1.1 / (inward.square().sum(0) + 0.1**2).sqrt_()  # 1 at a wide wall, less at a thin horn
        field = functional.interpolate(inward[None], self.roi_size, mode="trilinear", align_corners=False)[0] * -shift
        for axis, size in enumerate(self.roi_size):
            position = field[axis].add_(torch.arange(size).view([size if a == axis else 1 for a in range(3)]))
            position.clamp_(0, size - 1)
        return _nearest(ids, field)

    def _center(self, volume: torch.Tensor) -> np.ndarray:
        if self.center is not None:
            return np.asarray(self.center, dtype=float)
        if self.R.rand() < self.anywhere_prob:
            return self.R.uniform(0, 1, 3) * volume.shape
        offset = self.R.randint(0, 2, 3)
        coarse = self.table.target[volume[offset[0] :: 2, offset[1] :: 2, offset[2] :: 2].long()]
        present = np.flatnonzero(torch.bincount(coarse.flatten())[1:]) + 1
        if not len(present):
            return np.asarray(volume.shape) / 2
        voxels = torch.nonzero(coarse == int(self.R.choice(present)))
        return 2 * voxels[self.R.randint(len(voxels))].numpy() + offset + self.R.uniform(-24, 24, 3)

    def _scan(self, ids: torch.Tensor) -> torch.Tensor:
        """A scan of the anatomy: float32 ``roi_size`` in [0, 1]."""
        tissues = len(self.table.t1)
        mean = torch.as_tensor(self.R.uniform(0, 1, tissues), dtype=torch.float32)
        if self.R.rand() < self.t1_prob:
            jitter = torch.as_tensor(self.R.normal(0, self.R.uniform(0, 0.05), tissues), dtype=torch.float32)
            known = (self.table.t1 + jitter - 0.5) * self.R.uniform(0.8, 1.25) + 0.5 + self.R.uniform(-0.06, 0.06)
            mean = torch.where(self.table.t1.isnan(), mean, known)
        mean[self.table.tissue[0]] = self.R.uniform(0, 0.06)
        std = torch.as_tensor(self.R.uniform(0.01, 0.08, tissues), dtype=torch.float32)
        tissue = self.table.tissue[ids]
        image = mean[tissue] + std[tissue] * torch.randn(self.roi_size, generator=self.generator)
        texture = torch.as_tensor(self.R.uniform(0, self.R.uniform(0, 0.1), tissues), dtype=torch.float32)
        image += texture[tissue] * self._smooth_field(int(self.R.choice([24, 32, 48])), 1.0)
        image += self._smooth_field(int(self.R.choice([8, 16, 24])), self.R.uniform(0, 0.05))

        if self.R.rand() < self.strip_prob:
            keep = self.table.brain[ids].float()[None, None]
            margin = int(self.R.randint(0, 4))
            for axis in range(3):
                kernel = [2 * margin + 1 if a == axis else 1 for a in range(3)]
                keep = functional.max_pool3d(keep, kernel, 1, [k // 2 for k in kernel])
            image *= keep[0, 0]
        image = GaussianFilter(3, self.R.uniform(0.35, 0.95), truncated=2.5)(image[None, None])
        image = self._resample(image)[0, 0]
        image *= torch.exp(self._smooth_field(int(self.R.choice([2, 3, 4])), self.R.uniform(0, 0.25)) + self._bowl())
        image += self.R.uniform(0, 0.04) * torch.randn(self.roi_size, generator=self.generator)
        return image.clamp_(0, 1).pow_(float(np.exp(self.R.normal(0, 0.2))))

    def _smooth_field(self, nodes: int, std: float) -> torch.Tensor:
        field = torch.randn(1, 1, nodes, nodes, nodes, generator=self.generator) * std
        return functional.interpolate(field, self.roi_size, mode="trilinear", align_corners=True)[0, 0]

    def _bowl(self) -> torch.Tensor:
        """Logarithm of a coil's field: one bright or dark center, changing with the square of the distance."""
        axes = [torch.linspace(-1, 1, n) - float(self.R.uniform(-0.5, 0.5)) for n in self.roi_size]
        square = axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2
        return (square - square.mean()) * self.R.uniform(-0.3, 0.15)

    def _resample(self, image: torch.Tensor) -> torch.Tensor:
        """Some images lose resolution, the same on all axes or (thick slices) on one."""
        kind = self.R.rand()
        if kind < 0.6:
            return image
        factors = np.full(3, self.R.uniform(1.0, 1.5))
        if kind > 0.85:
            factors = np.ones(3)
            factors[self.R.randint(3)] = self.R.uniform(1.0, 3.0)
        size = [max(2, round(n / f)) for n, f in zip(self.roi_size, factors, strict=True)]
        small = functional.interpolate(image, size, mode="trilinear", align_corners=False)
        return functional.interpolate(small, self.roi_size, mode="trilinear", align_corners=False)


def _nearest(ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Values of `ids` `(H, W, D)` at the voxels nearest to `positions` `(3, ...)`, which are rounded in place.

    Returns:
        int64, of the shape of the positions without the first axis; 0 outside the volume.
    """
    flat = torch.zeros(positions.shape[1:], dtype=torch.long)
    inside = torch.ones(positions.shape[1:], dtype=torch.bool)
    for position, size in zip(positions, ids.shape, strict=True):
        index = position.round_().long()
        inside &= (index >= 0) & (index < size)
        flat.mul_(size).add_(index)
    flat.masked_fill_(~inside, 0)
    return ids.flatten()[flat].long().masked_fill_(~inside, 0)
