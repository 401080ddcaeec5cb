"""Intracranial volume of a head, from its affine registration to an average head."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.losses import GlobalMutualInformationLoss
from monai.transforms import MapTransform
from nibabel.affines import apply_affine, voxel_sizes
from scipy import ndimage
from torch.nn.functional import avg_pool3d, grid_sample

from monai_mamba.errors import InputError
from monai_mamba.files import read_tsv
from monai_mamba.grids import Grid, label_boxes, one_affine, voxel_volume
from monai_mamba.transforms.conform import AIR

FOLDER = Path(__file__).parent / "average_head"
MM = 4.0  # of a voxel
EVERY, BINS, ITERATIONS = 3, 32, 40  # every third voxel is compared
RADIUS = 80.0  # of a brain, mm
COMPARED_MM = 8.0  # around the inside of the skull: bone; skin, whose thickness says nothing, misleads the search
SKIN_MM = (4.0, 12.0)  # where skin is looked for: bone is as dark as air
MIN_STRUCTURES = 13  # half of those whose centers are known
MAX_DARK, MIN_SEEN = 0.65, 0.95  # dark are up to 50 % around raw heads and 75 % or more around stripped brains
BRAIN_SHARE = (0.55, 0.95)  # of the intracranial volume, from severe atrophy to none

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AverageHead:
    """An average of heads.

    Attributes:
        image: `(H, W, D)`, float32, 0..1.
        inside: `(H, W, D)`, 0..1, share of the heads of which a voxel is inside the skull.
        affine: `(4, 4)`, voxel index to millimeters.
        centers: center of mass of structures in mm, by label id.
    """

    image: np.ndarray
    inside: np.ndarray
    affine: np.ndarray
    centers: Mapping[int, np.ndarray]

    @classmethod
    @cache
    def load(cls) -> AverageHead:
        """The one of the package, which `tools/make_average_head.py` makes."""
        file = nib.load(FOLDER / "head.nii.gz")
        image, inside = np.moveaxis(np.asarray(file.dataobj, dtype=np.float32), -1, 0)
        rows = read_tsv(FOLDER / "centers.tsv")
        centers = {int(row["id"]): np.array([float(row[axis]) for axis in "xyz"]) for row in rows}
        return cls(image / 255, inside / 255, file.affine, centers)

    @property
    def volume(self) -> float:
        """Its intracranial volume in mm3."""
        return float(self.inside.sum()) * voxel_volume(self.affine)

    @property
    def outside_mm(self) -> np.ndarray:
        """Distance of each voxel from the inside of the skull in mm."""
        return ndimage.distance_transform_edt(self.inside < 0.5, voxel_sizes(self.affine))

    def places(self, voxels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        """Where a matrix `(4, 4)` brings the centers of chosen voxels `(H, W, D)`; `(N, 3)`."""
        return apply_affine(matrix @ self.affine, np.argwhere(voxels))

    def register(self, image: np.ndarray, affine: np.ndarray, start: np.ndarray, compared: np.ndarray) -> np.ndarray:
        """Find the affine map to a head that maximizes the mutual information of the two, on voxels of about 4 mm.

        Args:
            image: the head, `(h, w, d)`, 0..1, of any contrast.
            affine: `(4, 4)`.
            start: `(4, 4)`, from millimeters of the average head to about those of this head.
            compared: `(H, W, D)`, voxels of the average head to compare.

        Returns:
            `(4, 4)`, the better map.
        """
        head, affine = _blocks(image, affine)
        to_voxel = np.linalg.inv(affine)
        voxels = np.argwhere(compared)[::EVERY]
        points = apply_affine(self.affine, voxels)
        center = points.mean(axis=0)
        # What is searched for is in mm: a shift, and how far points are moved at a brain's radius from the center.
        arms = torch.tensor(np.c_[(points - center) / RADIUS, np.ones(len(points))], dtype=torch.float32)
        places = torch.tensor(apply_affine(to_voxel @ start, points), dtype=torch.float32)
        turn, last = torch.tensor(to_voxel[:3, :3].T, dtype=torch.float32), torch.tensor(head.shape[2:]) - 1
        values = torch.tensor(self.image[tuple(voxels.T)])[None, None]
        moves = torch.zeros(4, 3, requires_grad=True)
        unlikeness = GlobalMutualInformationLoss(num_bins=BINS)
        search = torch.optim.LBFGS([moves], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

        def step() -> torch.Tensor:
            search.zero_grad()
            grid = (places + arms @ moves @ turn) * 2 / last - 1
            found = grid_sample(head, grid.flip(-1)[None, None, None], align_corners=True)
            loss = unlikeness(found[:, :, 0, 0], values)
            loss.backward()
            return loss

        search.step(step)
        found, matrix = moves.detach().double().numpy(), start.copy()
        matrix[:3, :3] += found[:3].T / RADIUS
        matrix[:3, 3] += found[3] - found[:3].T @ center / RADIUS
        return matrix


def _blocks(image: np.ndarray, affine: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
    """Means of blocks of voxels, about `MM` wide, `(1, 1, h, w, d)`, and their affine."""
    sizes = np.maximum(np.round(MM / voxel_sizes(affine)), 1).astype(int)
    to_voxel = np.diag([*sizes, 1.0])
    to_voxel[:3, 3] = (sizes - 1) / 2
    return avg_pool3d(torch.as_tensor(image)[None, None], sizes.tolist()), affine @ to_voxel


def intracranial_volume(image: np.ndarray, affine: np.ndarray, labels: np.ndarray, grid: Grid) -> float:
    """Estimate the intracranial volume of a head in mm3.

    The volume of an average head is multiplied by the determinant of the affine map from it to this head (Buckner et
    al., NeuroImage 23 (2004) 724-738, as FreeSurfer's eTIV). The search for the map begins where the structures are.

    Args:
        image: the head, `(h, w, d)`, 0..1, air below `AIR`.
        affine: `(4, 4)`, voxel index to millimeters.
        labels: label ids of the whole brain, `(H, W, D)`, on `grid`.
        grid: that of the scan.

    Raises:
        InputError: it cannot be known; the message is half a sentence that says why.
    """
    average = AverageHead.load()
    centers = centers_of_mass(labels, grid.affine, average.centers)
    if len(centers) < MIN_STRUCTURES:
        raise InputError(f"{len(centers)} of {len(average.centers)} structures were found")
    start = fit_affine(average.centers, centers)
    distance, to_scan = average.outside_mm, np.linalg.inv(grid.affine)
    seen = np.ones(distance.shape, bool)
    seen[seen] = grid.distance_to_border(average.places(seen, to_scan @ start)) >= 0
    skin = average.places(seen & (distance > SKIN_MM[0]) & (distance <= SKIN_MM[1]), np.linalg.inv(affine) @ start)
    dark = (ndimage.map_coordinates(image, skin.T, order=1) <= AIR).mean()
    if dark > MAX_DARK:
        raise InputError(f"{dark:.0%} of what surrounds the brain is dark, as if skull and skin were removed")
    matrix = average.register(image, affine, start, seen & (distance <= COMPARED_MM))
    share = (grid.distance_to_border(average.places(average.inside >= 0.5, to_scan @ matrix)) >= 0).mean()
    if share < MIN_SEEN:
        raise InputError(f"{1 - share:.0%} of the inside of the skull is outside the field of view")
    volume = average.volume * float(np.linalg.det(matrix[:3, :3]))
    brain = np.count_nonzero(labels) * voxel_volume(grid.affine)
    if not BRAIN_SHARE[0] <= brain / volume <= BRAIN_SHARE[1]:
        raise InputError(f"{volume:.0f} mm3 were estimated, which a brain of {brain:.0f} mm3 contradicts")
    return volume


def fit_affine(source: Mapping[int, np.ndarray], target: Mapping[int, np.ndarray]) -> np.ndarray:
    """The matrix `(4, 4)` that maps points closest to those of the same id, by least squares."""
    ids = sorted(source.keys() & target.keys())
    points = np.array([[*source[label], 1.0] for label in ids])
    matrix = np.eye(4)
    matrix[:3] = np.linalg.lstsq(points, np.array([target[label] for label in ids]), rcond=None)[0].T
    return matrix


def centers_of_mass(labels: np.ndarray, affine: np.ndarray, ids: Iterable[int]) -> dict[int, np.ndarray]:
    """Center of mass in mm of each id that a label map `(H, W, D)` has."""
    boxes = label_boxes(labels)
    centers = {}
    for label in ids:
        if box := boxes.get(label):
            middle = np.argwhere(labels[box] == label).mean(axis=0) + [part.start for part in box]
            centers[label] = apply_affine(affine, middle)
    return centers


class IntracranialVolumed(MapTransform):
    """Put the intracranial volume into the meta data of label maps, see `intracranial_volume`.

    Where it cannot be known, a warning says why, and it is NaN.

    Args:
        keys: label maps `(1, H, W, D)` of the whole brain, with the meta data of `RestoreLabelsd`.
            The entry `image` is the head that they were made from, `(1, h, w, d)`, 0..1, with its affine.
    """

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """A copy of the data whose label maps have the meta data `intracranial_mm3`."""
        result = dict(data)
        image = result["image"]
        for key in self.key_iterator(result):
            labels: MetaTensor = result[key]
            grid = Grid.of(labels.meta)
            try:
                voxels = image[0].cpu().numpy()
                volume = intracranial_volume(voxels, one_affine(image.affine), labels[0].numpy(), grid)
            except InputError as error:
                logger.warning("%s: the intracranial volume is unknown: %s.", grid.name, error)
                volume = float("nan")
            result[key] = MetaTensor(labels.as_tensor(), meta={**labels.meta, "intracranial_mm3": volume})
        return result
