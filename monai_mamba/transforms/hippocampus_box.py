"""Boxes around the hippocampi of a head: found in a label map, checked, cut out and put back."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from nibabel.affines import apply_affine
from scipy import ndimage

from monai_mamba.errors import InputError
from monai_mamba.grids import Box, Grid, bounding_box, box_affine, box_union, cut_box, voxel_map, voxel_volume

SMALLEST_MM3 = 500.0  # less is no hippocampus, not even a severely atrophied one
SMALL_MM3 = 1500.0
EDGE_MM = 1.0  # a voxel whose center is nearer to the border of the image touches it
EDGE_VOXELS = 10
SURROUNDINGS = 5  # voxels around a hippocampus, about as many as the crops of the training data have
PERCENTILES = (1.0, 99.0)

logger = logging.getLogger(__name__)


def find_hippocampus(ids: np.ndarray, label: int, affine: np.ndarray, side: str, source: Grid) -> Box:
    """Bounding box of the largest connected part of a hippocampus, if it can be one.

    Args:
        ids: label map `(H, W, D)` of whole numbers, 1 mm.
        label: id of the hippocampus.
        affine: `(4, 4)` of the label map.
        side: `"Left"` or `"Right"`, for messages.
        source: the image file, whose field of view may end where the hippocampus does.

    Raises:
        InputError: the hippocampus is missing, smaller than 500 mm3, or cut by the border of the image.
    """
    whole = f"{source.name}: the {side.lower()} hippocampus"
    advice = "Check the picture of the subcortical bundle for this scan, or give a label map that holds it with --aseg."
    around = bounding_box(ids == label)
    if around is None:
        raise InputError(f"{whole} was not found (no voxel of id {label}). {advice}")
    parts, _ = ndimage.label(ids[around] == label, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel())[1:]
    volume = float(sizes.max()) * voxel_volume(affine)
    if volume < SMALLEST_MM3:
        raise InputError(f"{whole} has {volume:.0f} mm3; expected at least {SMALLEST_MM3:.0f} mm3. {advice}")
    if volume < SMALL_MM3:
        logger.warning("%s is small (%.0f mm3): atrophy, or a poor segmentation. Check the picture.", whole, volume)
    largest = parts == 1 + int(sizes.argmax())
    voxels = np.argwhere(largest) + [part.start for part in around]
    touching = source.distance_to_border(apply_affine(voxel_map(affine, source.affine), voxels)) < EDGE_MM
    if touching.sum() >= EDGE_VOXELS:
        raise InputError(
            f"{whole} is cut off by the border of the image ({int(touching.sum())} of its {int(sizes.max())} voxels "
            "touch it). Use a scan that covers both temporal lobes."
        )
    return tuple(slice(int(low), int(high) + 1) for low, high in zip(voxels.min(0), voxels.max(0), strict=True))


def centered_box(inner: Sequence[Box], size: Sequence[int], affine: np.ndarray, source: Grid) -> Box:
    """Box of a given size around the middle of what it has to hold; it may reach beyond the image, which is logged.

    Args:
        inner: boxes to hold.
        size: voxels along each axis.
        affine: `(4, 4)` of the grid of the boxes.
        source: the image file, for messages and for its field of view.

    Returns:
        The box; its starts may be negative.

    Raises:
        InputError: it is too small for what it has to hold.
    """
    first, last = np.array([(part.start, part.stop) for part in box_union(inner)]).T
    if (last - first > size).any():
        raise InputError(
            f"{source.name}: the hippocampus found measures {' x '.join(map(str, last - first))} mm, more than the box "
            f"of {' x '.join(map(str, size))} mm. Check the picture of the subcortical bundle for this scan, or give a "
            "label map with --aseg."
        )
    start = first - (np.array(size) - (last - first)) // 2
    corners = np.stack(np.meshgrid(*zip(start - 0.5, start + size - 0.5, strict=True)), axis=-1).reshape(-1, 3)
    outside = -source.distance_to_border(apply_affine(voxel_map(affine, source.affine), corners)).min()
    if outside > 0.01:
        logger.warning(
            "%s: the box around the hippocampus reaches %.0f mm beyond the image; it is filled with 0 there.",
            source.name,
            max(outside, 1.0),  # less would be shown as 0
        )
    return tuple(slice(int(a), int(a + b)) for a, b in zip(start, size, strict=True))


class LabeledBoxd(MapTransform):
    """Cuts each case to a box around the labeled voxels, as inference does around the hippocampi that it has found.

    Args:
        keys: entries `(C, H, W, D)` on one 1 mm grid.
        label_key: the entry whose voxels other than 0 the box is centered on.
        roi_size: size of the box in voxels; what lies outside the image is 0.
    """

    def __init__(self, keys: KeysCollection, label_key: str, roi_size: Sequence[int]) -> None:
        super().__init__(keys)
        self.label_key = label_key
        self.roi_size = tuple(roi_size)

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict[Hashable, MetaTensor]:
        """Return the data with entries `(C, *roi_size)`, with the affine of the box.

        Raises:
            InputError: the labeled voxels need a larger box.
        """
        result = dict(data)
        label = result[self.label_key]
        affine = np.asarray(label.affine, dtype=float)
        inner = bounding_box(label[0] > 0)
        box = centered_box([inner], self.roi_size, affine, Grid.of(label.meta))
        shifted = torch.from_numpy(box_affine(affine, box))
        for key in self.key_iterator(result):
            cut = cut_box(result[key].as_tensor(), box)
            result[key] = MetaTensor(cut, meta={**result[key].meta, "affine": shifted})
        return result


def scale_to_surroundings(box: torch.Tensor, image: torch.Tensor, inner: Box) -> torch.Tensor:
    """Scale a box so that the 1st to 99th percentile near the hippocampus become 0..1, and clip.

    The crops that the network is trained with hold little more than the hippocampus, and are scaled as a whole. What
    else a larger box holds (skull, eyes, air) must not change the scale.

    Args:
        box: intensities, any shape.
        image: `(H, W, D)`, where the box comes from.
        inner: bounding box of the hippocampus in the image.
    """
    near = tuple(slice(max(part.start - SURROUNDINGS, 0), part.stop + SURROUNDINGS) for part in inner)
    low, high = np.percentile(image[near].float().cpu().numpy(), PERCENTILES)
    return ((box - low) / max(high - low, 1e-6)).clamp(0, 1)
