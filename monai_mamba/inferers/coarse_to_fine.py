"""A coarse look at the whole head, then windows where its structures are."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.utils import ensure_tuple_rep
from scipy import ndimage
from torch.nn import functional

from monai_mamba.errors import NotFiniteError
from monai_mamba.grids import Box, bounding_box, box_affine, box_shape, box_within, grow_box
from monai_mamba.inferers.autocast import AutocastInferer
from monai_mamba.inferers.sliding_window import SlidingWindowProbabilityInferer, name_in_front

logger = logging.getLogger(__name__)

LOOK_MM = 1.5  # the shipped network, trained at 1 mm, still knows a head at this voxel size, and not at 2 mm
STRIDE = 16  # of the network: it takes multiples of it
FEW_WINDOWS = 8  # as many as a box needs
SMALLEST_PIECE_MM3 = 1000.0
FEWEST_STRUCTURES = 0.85
SHORTEST_EDGE_MM = 80.0
MARGIN_MM = 5  # around the structures
RIM = 5  # voxels by which windows reach beyond the box: at their border they see little of the surroundings


class CoarseToFineInferer(Inferer):
    """Look at a head once, coarsely, then slide windows over the box of its structures only.

    The look is one pass of the same network over the whole image at 1.5 mm. The box holds the structures, but for
    pieces of less than 1 ml away from the rest of the brain, and 5 mm around them. The fewest windows that have the
    overlap of `windows` cover it evenly.

    Windows cover the whole image where eight of them do that, and, with a warning, where the look is unsure: it finds
    less than 85 % of the structures, or an edge of their box is shorter than 80 mm.

    Args:
        windows: runs the network over windows.
        structures: channels of the structures, without background and auxiliary classes.
        look: False covers the whole image.
        stem_stride: of the network. Above 1, the look computes one subvoxel only, see `MedSegMamba.forward`.
    """

    def __init__(
        self,
        windows: SlidingWindowProbabilityInferer,
        structures: Sequence[int],
        look: bool = True,
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        self.windows = windows
        self.structures = list(structures)
        self.look = look
        self.stem_stride = stem_stride

    def __call__(
        self, inputs: MetaTensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> MetaTensor:
        """Return probabilities `(1, C, h, w, d)`, float16, 0..1, in a box of the image, with the affine of the box.

        Everything outside the box is background; 36 classes of a whole head would take 0.6 GB.

        Args:
            inputs: image `(1, in_channels, H, W, D)` on a grid of 1 mm.
            network: maps windows `(B, in_channels, *roi_size)` to logits `(B, C, *roi_size)`, and a larger image, too.
            args: further arguments of the network.
            kwargs: further keyword arguments of the network.

        Raises:
            NotFiniteError: see `SlidingWindowProbabilityInferer`; says where the windows begin.
        """
        whole = tuple(slice(0, size) for size in inputs.shape[2:])
        look = self.look and self._count(whole) > FEW_WINDOWS
        box = self.find_box(inputs, network, *args, **kwargs) if look else None
        region = grow_box(box, RIM, inputs.shape[2:]) if box else whole
        even = copy.copy(self.windows)
        even.overlap = tuple(overlap for _, overlap in self._cover(region))
        try:
            probabilities = even(_cut(inputs, region), network, *args, **kwargs)
        except NotFiniteError as error:
            if box is None:
                raise
            first = ", ".join(str(part.start) for part in region)
            raise NotFiniteError(f"{error} Voxels count from {first}, where the windows begin.") from error
        return _cut(probabilities, box_within(box, region)) if box else probabilities

    def find_box(
        self, inputs: MetaTensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> Box | None:
        """Look where the structures are, and say so in the log.

        Arguments are those of a call.

        Returns:
            Their box with the margin, or None if it is not sure.
        """
        labels, cell = self._coarse_labels(inputs.as_tensor().float(), network, *args, **kwargs)
        pieces, _ = ndimage.label(labels > 0, np.ones((3, 3, 3)))
        large = np.bincount(pieces.ravel()) * cell.prod() >= SMALLEST_PIECE_MM3
        inside = large[pieces] & np.isin(labels, self.structures)
        found = len(np.unique(labels[inside]))
        if found < FEWEST_STRUCTURES * len(self.structures):
            return _unsure(inputs, f"finds {found} of {len(self.structures)} structures")
        cells = bounding_box(inside)
        low, high = (np.array([getattr(part, end) for part in cells]) * cell for end in ("start", "stop"))
        if (high - low).min() < SHORTEST_EDGE_MM:
            return _unsure(inputs, f"finds the structures in a box of {_size(high - low)} mm only")
        low = np.maximum(0, np.floor(low - MARGIN_MM)).astype(int)
        high = np.minimum(inputs.shape[2:], np.ceil(high + MARGIN_MM)).astype(int)
        box = tuple(slice(int(start), int(stop)) for start, stop in zip(low, high, strict=True))
        windows = self._count(grow_box(box, RIM, inputs.shape[2:]))
        logger.info(f"{name_in_front(inputs)}structures in a box of {_size(high - low)} mm: {windows} windows.")
        return box

    def _coarse_labels(
        self, image: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Most probable channels of coarse cells, padding included, and the size of a cell in mm, `(3,)`."""
        sizes = np.array(image.shape[2:])
        coarse = np.maximum(1, np.round(sizes / LOOK_MM).astype(int))
        padding = [side for size in coarse[::-1] for side in (0, int(-size % STRIDE))]
        image = functional.pad(functional.interpolate(image, size=coarse.tolist(), mode="area"), padding)
        if self.stem_stride > 1:
            kwargs = {**kwargs, "subvoxel": 0}
        logits = AutocastInferer(self.windows.amp)(image, network, *args, **kwargs)
        return logits[0].argmax(dim=0).cpu().numpy(), self.stem_stride * sizes / coarse

    def _count(self, box: Box) -> int:
        return math.prod(count for count, _ in self._cover(box))

    def _cover(self, box: Box) -> list[tuple[int, float]]:
        """For each axis, the fewest windows that cover a box, and the overlap with which MONAI places them evenly."""
        rois, overlaps = (ensure_tuple_rep(value, 3) for value in (self.windows.roi_size, self.windows.overlap))
        return [_cover_line(*axis) for axis in zip(box_shape(box), rois, overlaps, strict=True)]


def _cut(image: MetaTensor, box: Box) -> MetaTensor:
    """A box of an image `(B, C, H, W, D)`, with its affine."""
    part = MetaTensor(image.as_tensor()[(..., *box)]).copy_meta_from(image)
    part.affine = torch.as_tensor(box_affine(image.affine.numpy(), box))
    return part


def _cover_line(size: int, roi: int, overlap: float) -> tuple[int, float]:
    if size <= roi:
        return 1, overlap
    count = 1 + math.ceil((size - roi) / max(1, int(roi * (1 - overlap))))
    step = math.ceil((size - roi) / (count - 1))
    return count, max(0.0, 1 - (step + 0.5) / roi)  # MONAI rounds the step down


def _size(edges: np.ndarray) -> str:
    return " x ".join(f"{edge:.0f}" for edge in edges)


def _unsure(inputs: MetaTensor, what: str) -> None:
    text = f"{name_in_front(inputs)}a coarse look {what}, so windows cover the whole image, which takes longer."
    logger.warning(text)
