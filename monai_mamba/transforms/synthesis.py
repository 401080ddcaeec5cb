"""Training images made from label maps alone: a new anatomy, contrast and scanner for every sample."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor, get_track_meta
from monai.networks.layers import GaussianFilter
from monai.utils import convert_to_tensor
from torch.nn import functional

from monai_mamba.data.label_values import check_sides, name_of, with_label_ids
from monai_mamba.errors import InputError
from monai_mamba.files import MISSING, read_tsv
from monai_mamba.labels import LABEL_FOLDER, LabelTable
from monai_mamba.transforms.head_window import RandHeadWindow, nearest


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
        rows = read_tsv(path)
        size = max(int(row["id"]) for row in rows) + 1
        index = {entry.id: entry.index for entry in labels}
        tissues = sorted({row["tissue"] for row in rows})
        t1 = {row["tissue"]: float("nan") if row["t1"] == MISSING else float(row["t1"]) for row in rows}

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
        self.labels = labels

    def check(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the ids of a label map `(1, H, W, D)` of any type as int32, or refuse what the table does not list.

        Raises:
            InputError: names the file, where `ids` knows it, and the values; or left and right are exchanged in it.
        """
        ids = with_label_ids(ids)
        found = torch.unique(torch.as_tensor(ids))
        unknown = [value for value in found.tolist() if value >= len(self.known) or not self.known[value]]
        if unknown:
            raise InputError(
                f"{name_of(ids)}: {len(unknown)} of its values are not in the synthesis table, first "
                f"{', '.join(map(str, unknown[:8]))}. Map them to listed ids, or use a table that lists them."
            )
        if isinstance(ids, MetaTensor):
            check_sides(MetaTensor(self.target[ids.as_tensor().long()], meta=ids.meta), self.labels, name_of(ids))
        return ids


class RandSynthesizeImaged(RandHeadWindow):
    """Draw one image window and its labels from a label map.

    The window is placed on a structure chosen at random (each class equally often) or anywhere in the head, deformed
    (rotation, scaling, shear, smooth elastic field, mirroring with left and right ids exchanged, smaller or larger
    ventricles), filled with one random mean, noise and texture per tissue, then skull-stripped or not, blurred,
    resampled, and given a bias field, noise and a random gamma. After Billot et al., "SynthSeg", Medical Image
    Analysis 2023, section 3; ventricles, texture and the ranges are our own.

    Args:
        keys: key of the label map, ``(1, H, W, D)`` ids that the table lists, with left-right as the first axis.
        table: meaning of the ids.
        t1_prob: share of T1-like contrasts; the other images have a random intensity in every tissue.
        kwargs: see `RandHeadWindow`.
    """

    def __init__(self, keys: KeysCollection, table: SynthesisTable, t1_prob: float = 0.93, **kwargs: Any) -> None:
        super().__init__(keys, **kwargs)
        self.table = table
        self.t1_prob = t1_prob

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Return the data with `image`, float32 in [0, 1], and `label`, uint8, both ``(1, *roi_size)``, for the map."""
        result = dict(data)
        volume = convert_to_tensor(result.pop(self.first_key(result)), track_meta=False)[0]
        self.generator = torch.Generator().manual_seed(int(self.R.randint(2**31)))
        mirrored = self.R.rand() < self.mirror_prob
        ids = nearest(volume, self.positions(volume, self.table.target, mirrored))
        ids = self._resize_ventricles(ids)
        label = self.table.target[ids]
        if mirrored:
            label = self.table.mirror[label.long()]
        image = self._image(ids)
        result["image"] = convert_to_tensor(image[None], track_meta=get_track_meta())
        result["label"] = convert_to_tensor(label[None], track_meta=get_track_meta())
        return result

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
        return nearest(ids, field)

    def _image(self, ids: torch.Tensor) -> torch.Tensor:
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
        image += texture[tissue] * self.smooth_field(int(self.R.choice([24, 32, 48])), 1.0)
        image += self.smooth_field(int(self.R.choice([8, 16, 24])), self.R.uniform(0, 0.05))
        image = self.strip(image, self.table.brain[ids])
        return self.scan(image, self.R.uniform(0.35, 0.95))


def clear_frontal_horns(ids: torch.Tensor) -> torch.Tensor:
    """Make choroid plexus in front of the thalamus of its side ventricle, in a copy: the frontal horns have none.

    The foramen of Monro, through which the plexus leaves the lateral ventricle, lies at the front of the thalamus. Some
    label maps continue the plexus along the floor of the frontal horn.

    Args:
        ids: ``(1, H, W, D)``, the last axis to the front. Ids of `frontal_horns.tsv`.
    """
    result = ids.clone()
    for row in read_tsv(LABEL_FOLDER / "frontal_horns.tsv"):
        plexus, ventricle, thalamus = (int(row[name]) for name in ("plexus", "ventricle", "thalamus"))
        slices = torch.nonzero((ids == thalamus).flatten(0, 2).any(0))
        if len(slices):
            front = result[..., int(slices.max()) + 1 :]
            front[front == plexus] = ventricle
    return result
