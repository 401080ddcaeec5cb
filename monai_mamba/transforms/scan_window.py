"""Random windows of labeled scans, altered as other heads and scanners would show them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import get_track_meta
from monai.networks.layers import GaussianFilter
from monai.utils import convert_to_tensor

from monai_mamba.labels import LabelTable, without_side
from monai_mamba.transforms.head_window import RandHeadWindow, linear, nearest

WHITE_MATTER = "Cerebral-White-Matter"
DEEP = ("Pallidum", "Thalamus", "VentralDC", "Putamen", "Caudate")


class RandScanWindowd(RandHeadWindow):
    """Draw one window of a scan and of its label map.

    The window is placed on a structure chosen at random (each class equally often) or anywhere in the head, deformed
    (rotation, scaling, shear, smooth elastic field, mirroring with left and right classes exchanged). Then structures
    become a little brighter or darker than they are, now and then as bright as white matter, and the image is made
    brighter or darker (in half of the windows so that white matter has a mean of 0.4 to 0.95), skull-stripped or not,
    blurred, resampled, and given a bias field, noise and a random gamma. Some are left undeformed, some unaltered.

    Args:
        keys: key of the image ``(1, H, W, D)``, float32 in [0, 1], left-right as the first axis. Its window
            ``(1, *roi_size)`` takes its place. So does that of the entry `label`, class indices on the same grid.
        table: the classes. Only where they fill the whole brain, auxiliary classes included, are images stripped and
            structures made as bright as white matter.
        contrast_prob: share of images with structures brighter or darker than they are.
        bright_prob: share of images in which one structure becomes nearly as bright as white matter.
        unaltered_prob: share of images with gray values as they are, but for stripping.
        kwargs: see `RandHeadWindow`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        table: LabelTable,
        contrast_prob: float = 0.5,
        bright_prob: float = 0.15,
        unaltered_prob: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(keys, **kwargs)
        self.contrast_prob, self.bright_prob, self.unaltered_prob = contrast_prob, bright_prob, unaltered_prob
        self.mirror = torch.tensor(table.mirror)
        names = [without_side(name) for name in table.names]
        self.tissues = sorted(set(names))
        self.tissue = torch.tensor([self.tissues.index(name) for name in names])
        self.deep = [self.tissues.index(name) for name in DEEP if name in names]
        self.white_matter = self.tissues.index(WHITE_MATTER) if WHITE_MATTER in names else None

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Return the data with image and label cut to the window: float32 in [0, 1], and uint8."""
        result = dict(data)
        key = self.first_key(result)
        image = convert_to_tensor(result[key], track_meta=False)[0]
        label = convert_to_tensor(result["label"], track_meta=False)[0]
        self.generator = torch.Generator().manual_seed(int(self.R.randint(2**31)))
        mirrored = self.R.rand() < self.mirror_prob
        positions = self.positions(label, torch.arange(len(self.mirror)), mirrored)
        image, label = linear(image, positions), nearest(label, positions)
        if mirrored:
            label = self.mirror[label]
        altered = self.R.rand() >= self.unaltered_prob
        if altered:
            image = self._contrast(image, label)
            image *= self._gain(image, label)
        if self.white_matter is not None:
            image = self.strip(image, label > 0)
        if altered:
            image = self.scan(image, self.R.uniform(0.3, 0.9) if self.R.rand() < 0.3 else 0.0)
        result[key] = convert_to_tensor(image[None], track_meta=get_track_meta())
        result["label"] = convert_to_tensor(label[None].to(torch.uint8), track_meta=get_track_meta())
        return result

    def _gain(self, image: torch.Tensor, label: torch.Tensor) -> float:
        """Factor of all gray values. In half of the windows it sets the mean of white matter: 0.4 to 0.95 in scans."""
        gain = self.R.uniform(0.85, 1.15)
        if self.white_matter is not None and self.R.rand() < 0.5:
            white = image[self.tissue[label] == self.white_matter]
            if len(white):
                gain = self.R.uniform(0.4, 0.95) / max(float(white.mean()), 0.1)
        return gain

    def _contrast(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Move the gray values of whole structures, smoothly across their borders."""
        shift = torch.zeros(len(self.tissues))
        if self.R.rand() < self.contrast_prob:
            shift += torch.as_tensor(self.R.normal(0, self.R.uniform(0, 0.08), len(shift)), dtype=torch.float32)
        tissue = self.tissue[label]
        if self.R.rand() < self.bright_prob and self.white_matter is not None:
            structure = self.deep[0] if self.R.rand() < 0.5 else int(self.R.choice(self.deep))
            inside, white = tissue == structure, tissue == self.white_matter
            if inside.any() and white.any():
                shift[structure] = self.R.uniform(0.4, 1.1) * float(image[white].mean() - image[inside].mean())
        if not shift.any():
            return image
        shift[self.tissues.index("Background")] = 0
        return image + GaussianFilter(3, 0.6, truncated=2.5)(shift[tissue][None, None])[0, 0]
