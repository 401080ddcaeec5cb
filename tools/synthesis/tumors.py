"""Brains with tumors, made from label maps: the anatomy, the tumor grown into it, and how four modalities show it.

No patient's image goes in: intensities are a table, and every brain is a random deformation of a label map. The shapes
and numbers are ours; they follow what BraTS calls necrotic core, enhancing tumor and edema (Baid et al., arXiv
2107.02314, section 2), and are not fitted to any data.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from monai_mamba.data.image_file import open_image
from monai_mamba.data.image_header import check_header
from monai_mamba.data.label_values import read_label_ids
from monai_mamba.data.modalities import MODALITIES
from monai_mamba.errors import InputError
from monai_mamba.files import read_tsv
from monai_mamba.grids import bounding_box, box_corners
from monai_mamba.labels import LABEL_FOLDER
from monai_mamba.transforms.to_training_labels import read_merges

WHITE = ("white_matter", "lesion")
FLUID = ("csf", "ventricle", "inferior_ventricle", "third_ventricle", "fourth_ventricle", "fifth_ventricle")
BELOW = ("brain_stem", "cerebellum_white_matter", "cerebellum_cortex")  # where gliomas of adults hardly ever grow
NECROSIS, EDEMA, ENHANCING = "necrosis", "edema", "enhancing"
# Mean of each tissue in the modalities, on a scale from 0 to 1.
INTENSITIES = {
    row["tissue"]: [float(row[name]) for name in MODALITIES]
    for row in read_tsv(Path(__file__).with_name("intensities.tsv"))
}
TISSUES = tuple(INTENSITIES)
INDEX = {name: index for index, name in enumerate(TISSUES)}

FIELD_OF_VIEW = (240, 240, 155)  # mm, of BraTS and of Task01
SIGNS = (-1, -1, 1)  # voxels run to the left, to the back and upward
BRAIN_CLOSING, CORE_CLOSING = 6.0, 3.0  # mm: sulci narrower than twice this are inside the brain, or the core
LARGEST_ANGLE, LARGEST_SHEAR, SIZES = 10.0, 0.03, (0.92, 1.08)  # degrees, ratio, ratio: the anatomy's variety
WARP_WIDTH, WARP_STD = 35.0, 1.5  # mm: scale and strength of its elastic deformation


def grid(spacing: float) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine `(4, 4)` of the field of view of BraTS at a spacing in mm."""
    shape = tuple(round(size / spacing) for size in FIELD_OF_VIEW)
    affine = np.diag([*(sign * spacing for sign in SIGNS), 1.0])
    affine[1, 3] = (shape[1] - 1) * spacing
    return shape, affine


class Anatomy(NamedTuple):
    """A brain as tissues `(H, W, D)`, uint8 positions in `TISSUES`, 0 outside the brain; affine `(4, 4)` to mm, RAS."""

    tissue: np.ndarray
    affine: np.ndarray


def read_anatomy(path: str | Path) -> Anatomy:
    """Read a label map of a head, or of a brain, and keep the brain with the fluid in its sulci.

    Args:
        path: FreeSurfer ids as in SynthSeg's training label maps, in `aseg` or in `aparc+aseg`.
    """
    check_header(path)
    ids, affine = read_label_ids(path), open_image(path).affine
    tissue_of, brain_ids = _tissue_tables()
    found = np.unique(ids).tolist()
    if unknown := [value for value in found if value not in tissue_of]:
        raise InputError(
            f"{path}: unknown ids: {', '.join(map(str, unknown[:10]))}. Expected "
            "FreeSurfer's ids, or those of SynthSeg's training label maps. Set the others to 0."
        )
    lookup = np.zeros(found[-1] + 1, dtype=np.uint8)
    lookup[found] = [INDEX.get(tissue_of[value], 0) for value in found]
    brain = np.isin(ids, list(brain_ids))
    if not (lookup[ids][brain] == INDEX["white_matter"]).any():
        raise InputError(f"{path}: it has no cerebral white matter for tumors to grow in. Is this a map of a brain?")
    spacing = nib.affines.voxel_sizes(affine)
    margin = np.ceil(BRAIN_CLOSING / spacing).astype(int) + 1
    box = bounding_box(brain)
    ids, brain = (np.pad(part[box], [(size, size) for size in margin]) for part in (ids, brain))
    mask = ndimage.binary_fill_holes(_close_gaps(brain, BRAIN_CLOSING, spacing))
    tissue = lookup[ids]
    tissue[mask & (tissue == 0)] = INDEX["csf"]  # dura and what else lies in a sulcus
    tissue[~mask] = 0
    shift = np.eye(4)
    shift[:3, 3] = box_corners(box)[0] - margin
    return Anatomy(tissue, affine @ shift)


def _tissue_tables() -> tuple[dict[int, str], set[int]]:
    """Tissue of each id, and the ids inside the brain, from the label tables of the package."""
    rows = read_tsv(LABEL_FOLDER / "subcortical_synthesis.tsv")
    # Also FreeSurfer's own id where a label map has another one for the same structure.
    tissue = {int(row[column]): row["tissue"] for column in ("target", "id") for row in rows}
    brain = {int(row[column]) for column in ("target", "id") for row in rows if row["brain"] == "1"} - {0}
    into: dict[int, int] = {}
    for first, last, labels in read_merges():
        into |= dict.fromkeys(range(first, last + 1), labels[0])
    for label in into.keys() - tissue.keys():
        source = label
        while source not in tissue:
            source = into[source]
        tissue[label] = tissue[source]
        brain.add(label)
    return tissue, brain


def smooth_noise(shape: Sequence[int], width: float, random: np.random.Generator) -> np.ndarray:
    """Gaussian noise, float32 `shape`, of mean 0 and standard deviation 1 in every voxel.

    Values that are `width` voxels apart have a correlation of about 0.6.
    """
    weights = []
    for size in shape:
        nodes = np.arange(-2, np.ceil(size / width) + 3) * width
        weight = np.exp(-(((np.arange(size)[:, None] - nodes) / width) ** 2))
        weights.append((weight / np.sqrt((weight**2).sum(axis=1, keepdims=True))).astype(np.float32))
    field = random.standard_normal([weight.shape[1] for weight in weights], dtype=np.float32)
    for weight in weights:  # each turn puts the next axis last, so three bring them back in order
        field = np.tensordot(field, weight, axes=(0, 1))
    return field


def random_brain(
    anatomy: Anatomy, shape: Sequence[int], spacing: float, random: np.random.Generator, signs: Sequence[int]
) -> np.ndarray:
    """Tissues, uint8 `shape`, of an anatomy that was turned, scaled, sheared and warped.

    The middle of the grid is that of the brain; `signs` are directions of its axes, 1 for right, anterior, superior.
    """
    angles = random.uniform(-LARGEST_ANGLE, LARGEST_ANGLE, 3)
    linear = Rotation.from_euler("XYZ", angles, degrees=True).as_matrix()
    shear = random.uniform(-LARGEST_SHEAR, LARGEST_SHEAR, (3, 3)) * (1 - np.eye(3))
    linear = linear @ (np.eye(3) + shear) @ np.diag(1 / random.uniform(*SIZES, 3))
    if random.random() < 0.5:  # tissues have no side, so the other half of the brain may take the place of one
        linear[0] *= -1
    to_voxel = np.linalg.inv(anatomy.affine[:3, :3])
    matrix = to_voxel @ linear @ np.diag(np.multiply(signs, spacing))
    middle = np.mean(box_corners(bounding_box(anatomy.tissue > 0)), axis=0)
    warp = [WARP_STD * smooth_noise(shape, WARP_WIDTH / spacing, random) for _ in range(3)]
    places = _product(matrix, _voxels_from(shape, (np.array(shape) - 1) / 2)) + _product(to_voxel, np.stack(warp))
    places += middle[:, None, None, None].astype(np.float32)
    return ndimage.map_coordinates(anatomy.tissue, places, order=0)


def _voxels_from(shape: Sequence[int], center: np.ndarray) -> np.ndarray:
    """Distance of each voxel from a center along each axis in voxels, float32 `(3, H, W, D)`."""
    axes = [np.arange(size, dtype=np.float32) - np.float32(start) for size, start in zip(shape, center, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def _product(matrix: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """A matrix `(3, 3)` times each vector of a field, float32 `(3, H, W, D)`."""
    return np.tensordot(matrix.astype(np.float32), vectors, axes=1)


class Tumor(NamedTuple):
    """A tumor, and the brain around it, each `(H, W, D)`; the masks are bool."""

    tissue: np.ndarray  # uint8, positions in `TISSUES`, pushed aside by the tumor; core and rim are painted in
    core: np.ndarray  # necrotic or enhancing
    whole: np.ndarray  # the core and the edema
    enhancing: np.ndarray  # a part of the core


def grow_tumor(tissue: np.ndarray, spacing: float, random: np.random.Generator) -> Tumor:
    """Grow a tumor from a random place in the cerebral white matter.

    The core is an ellipsoid of 8 to 22 mm radius with a bumpy surface; it pushes the brain away, by up to 0.3 of its
    radius. Its rim enhances, 2 to 6 mm thick, or (15 % of tumors each) all of it, or nothing; half of the rims have
    gaps. Edema reaches up to 25 mm further along the white matter and hardly into gray matter. Sulci inside the core
    are gone; otherwise neither crosses fluid. The tissue is that of `random_brain`, the spacing in mm.
    """
    places = np.argwhere(tissue == INDEX["white_matter"])
    center = places[random.integers(len(places))]
    radius = random.uniform(8, 22)
    tissue = _push(tissue, center, radius, random.uniform(0, 0.3) * radius, spacing)

    cerebrum = (tissue > 0) & ~np.isin(tissue, [INDEX[name] for name in (*FLUID, *BELOW)])
    cerebrum[tuple(center)] = True
    axes = np.linalg.qr(random.standard_normal((3, 3)))[0] / random.uniform(0.75, 1.3, (3, 1))
    distance = np.linalg.norm(_product(axes * spacing, _voxels_from(tissue.shape, center)), axis=0)
    bumps = 0.2 * smooth_noise(tissue.shape, 0.6 * radius / spacing, random)
    bumps += 0.1 * smooth_noise(tissue.shape, max(0.25 * radius / spacing, 1), random)
    bumps -= bumps[tuple(center)]
    core = _part_at(cerebrum & (distance / radius + bumps < 1), center)
    core = _close_gaps(core, CORE_CLOSING, spacing) & (cerebrum | (tissue == INDEX["csf"]))

    kind = random.random()
    depth = ndimage.distance_transform_edt(core) * spacing
    thickness = random.uniform(2, 6) * (1 + 0.3 * smooth_noise(tissue.shape, 8 / spacing, random))
    gaps = smooth_noise(tissue.shape, 10 / spacing, random) > (1 if random.random() < 0.5 else np.inf)
    enhancing = core & (kind > 0.15) & ((kind > 0.85) | ((depth < thickness + spacing / 2) & ~gaps))

    reach = random.uniform(2, 25)
    ragged = 1 + 0.35 * smooth_noise(tissue.shape, 12 / spacing, random)
    distance = ndimage.distance_transform_edt(~core) * spacing
    easy = np.isin(tissue, [INDEX[name] for name in WHITE])
    edema = cerebrum & (distance < reach * ragged * np.where(easy, 1, 0.2))
    whole = core | _part_at(core | edema, center)

    tissue = tissue.copy()
    tissue[core], tissue[enhancing] = INDEX[NECROSIS], INDEX[ENHANCING]
    return Tumor(tissue, core, whole, enhancing)


def _push(tissue: np.ndarray, center: np.ndarray, radius: float, strength: float, spacing: float) -> np.ndarray:
    """The brain moved away from a center, most (`strength`, mm) at the radius; below 1/e of it nothing folds."""
    offset = _voxels_from(tissue.shape, center)
    keep = 1 - strength / radius * np.exp(1 - np.linalg.norm(offset, axis=0) * spacing / radius)
    return ndimage.map_coordinates(tissue, offset * keep + center[:, None, None, None], order=0, mode="nearest")


def _close_gaps(mask: np.ndarray, reach: float, spacing: float | np.ndarray) -> np.ndarray:
    """A mask without gaps narrower than twice the reach in mm."""
    sampling = np.broadcast_to(spacing, 3)
    near = ndimage.distance_transform_edt(~mask, sampling=sampling) <= reach
    return mask | (ndimage.distance_transform_edt(near, sampling=sampling) > reach)


def _part_at(mask: np.ndarray, center: np.ndarray) -> np.ndarray:
    """The connected part of a mask that holds a voxel of it."""
    parts, _ = ndimage.label(mask)
    return parts == parts[tuple(center)]


def paint(tumor: Tumor, spacing: float, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Scans of a brain with a tumor: int16 `(H, W, D)` of each of `MODALITIES`, 0 outside the brain, above it inside.

    Every scan has means of its own around those of the table, the tissues' common texture, edema of varying strength,
    blur, a bias field, noise and an arbitrary scale. Arguments as in `grow_tumor`.
    """
    brain = tumor.tissue > 0
    edema = tumor.whole & ~tumor.core
    wet = random.uniform(0.55, 0.95) * np.clip(1 + 0.25 * smooth_noise(brain.shape, 8 / spacing, random), 0, 1.2)
    texture = smooth_noise(brain.shape, max(4 / spacing, 1), random)
    in_core = smooth_noise(brain.shape, max(6 / spacing, 1), random)
    table = np.array([INTENSITIES[name] for name in TISSUES], dtype=np.float32)
    table += random.normal(0, 0.03, table.shape).astype(np.float32)
    uptake = random.uniform(0.4, 1)  # of contrast agent
    table[INDEX[ENHANCING], 2] += (uptake - 1) * (table[INDEX[ENHANCING], 2] - table[INDEX[ENHANCING], 1])
    scans = {}
    for column, modality in enumerate(MODALITIES):
        means = table[:, column]
        scan = means[tumor.tissue]
        scan[edema] += wet[edema] * (means[INDEX[EDEMA]] - scan[edema])
        scan += random.uniform(0.01, 0.03) * texture
        scan[tumor.core] += random.uniform(0.02, 0.08) * in_core[tumor.core]
        scan = ndimage.gaussian_filter(np.where(brain, scan, 0), random.uniform(0.4, 0.8) / spacing)
        scan *= np.exp(random.uniform(0, 0.12) * smooth_noise(brain.shape, 60 / spacing, random))
        scan += random.uniform(0.01, 0.04) * random.standard_normal(brain.shape, dtype=np.float32)
        scan *= random.uniform(300, 1500)
        scans[modality] = np.where(brain, np.clip(scan, 1, np.iinfo(np.int16).max), 0).astype(np.int16)
    return scans
