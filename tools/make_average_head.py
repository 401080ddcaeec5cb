"""Make the average head that intracranial volumes are estimated with, and say how far off the estimates are.

The heads are label maps in FreeSurfer ids in which extracerebral tissues have ids from 500 on, and fluid around the
brain is 24: those of SynthSeg. Every class gets a gray value as in T1-weighted scans. All heads are aligned by the
centers of their structures and, twice, to their average. Each volume is then estimated with an average of the others,
from other gray values and noise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from reports import made_by, run_command, write_files
from scipy import ndimage
from scipy.spatial.transform import Rotation

from monai_mamba.data.label_maps import find_label_maps
from monai_mamba.data.label_values import read_label_ids
from monai_mamba.errors import InputError
from monai_mamba.files import read_tsv, table_text
from monai_mamba.grids import sample_linearly, voxel_map, voxel_volume
from monai_mamba.transforms.intracranial import COMPARED_MM, MM, AverageHead, centers_of_mass, fit_affine
from monai_mamba.version import __version__

BRAIN_END, CORD, CEREBELLUM = 500, 512, (7, 8, 46, 47)
CENTERS = (4, 5, 7, 8, 10, 11, 12, 13, 14, 15, 17, 18, 26, 28, 43, 44, 46, 47, 49, 50, 51, 52, 53, 54, 58, 60)
GRAY = Path(__file__).with_name("synthesis") / "t1_gray.tsv"  # of each label id, 0..1
ROUNDS, MIN_HEADS = 2, 3
CONTRAST, NOISE = 0.1, 0.05  # standard deviations of gray values that are 0..1
SHAPE, ORIGIN = (47, 60, 54), (-92.0, -128.0, -100.0)  # of the average; its origin is the middle of the structures


@dataclass(frozen=True)
class Head:
    """Label ids, a mask of the inside of the skull with half as many voxels along each axis, and `CENTERS` in mm."""

    ids: np.ndarray
    affine: np.ndarray
    inside: np.ndarray
    half: np.ndarray
    centers: dict[int, np.ndarray]

    @classmethod
    def load(cls, path: str) -> Head:
        """Read a label map of 1 mm, RAS."""
        ids, affine = read_label_ids(path), nib.load(path).affine
        centers = centers_of_mass(ids, affine, CENTERS)
        if missing := sorted(set(CENTERS) - set(centers)):
            raise InputError(f"{path}: it has no voxel of {missing}. Expected a whole head in FreeSurfer's ids.")
        if not np.allclose(affine[:3, :3], np.eye(3), atol=1e-3):
            raise InputError(f"{path}: its voxels are not those of RAS and 1 mm. Resample it first.")
        return cls(ids, affine, inside_of_skull(ids[::2, ::2, ::2]), affine @ np.diag([2.0, 2.0, 2.0, 1.0]), centers)

    @property
    def image(self) -> np.ndarray:
        """The head with the gray values of a T1-weighted scan, 0..1."""
        table = np.zeros(self.ids.max() + 1, np.float32)
        for row in read_tsv(GRAY):
            if int(row["id"]) < len(table):
                table[int(row["id"])] = float(row["gray"])
        return table[self.ids]


def inside_of_skull(ids: np.ndarray) -> np.ndarray:
    """Brain and fluid in label ids `(H, W, D)` of 2 mm, without holes, down to the lowest voxel of the cerebellum."""
    mask = ((ids > 0) & (ids < BRAIN_END)) | (ids == CORD)
    low = np.argwhere(np.isin(ids, CEREBELLUM))[:, 2].min()
    mask[:, :, :low] = False
    core, _ = ndimage.label(ndimage.binary_opening(mask, iterations=2))  # without the vessels of the skull's base
    mask &= ndimage.binary_dilation(core == 1 + np.argmax(np.bincount(core.ravel())[1:]), iterations=2)
    mask = ndimage.binary_closing(np.pad(mask, 4), iterations=2)[4:-4, 4:-4, 4:-4]
    mask[:, :, :low] = False
    return ndimage.binary_fill_holes(mask)


def mean_centers(heads: Sequence[Head]) -> dict[int, np.ndarray]:
    """Means of the centers of structures, after turning each head to the others; their own mean is the origin."""
    points = np.array([[head.centers[label] for label in CENTERS] for head in heads])
    points -= points.mean(axis=1, keepdims=True)
    for _ in range(5):
        mean = points.mean(axis=0)
        points = np.array([Rotation.align_vectors(mean, each)[0].apply(each) for each in points])
    return dict(zip(CENTERS, points.mean(axis=0), strict=True))


def resample(volume: np.ndarray, affine: np.ndarray, matrix: np.ndarray, target: np.ndarray) -> np.ndarray:
    """A volume on the grid of the average, smoothed to its voxels."""
    smooth = ndimage.uniform_filter(volume.astype(np.float32), round(MM / abs(affine[0, 0])))
    return sample_linearly(smooth, voxel_map(matrix @ target, affine), tuple(slice(0, size) for size in SHAPE))


def other_contrast(head: Head, seed: int) -> np.ndarray:
    """The image of a head with other gray values and with noise."""
    generator = np.random.default_rng(seed)
    changes = generator.normal(0, CONTRAST, head.ids.max() + 1).astype(np.float32)
    changes[0] = 0
    noise = generator.normal(0, NOISE, head.ids.shape).astype(np.float32)
    return np.clip(head.image + changes[head.ids] + noise, 0, 1)


def align(heads: Sequence[Head]) -> tuple[AverageHead, np.ndarray]:
    """The average of heads, and the image and the inside of the skull of each on its grid, `(N, 2, *SHAPE)`."""
    centers, target = mean_centers(heads), np.diag([MM, MM, MM, 1.0])
    target[:3, 3] = ORIGIN
    matrices = [fit_affine(centers, head.centers) for head in heads]
    for turn in range(ROUNDS + 1):
        volumes = [(head.image[::2, ::2, ::2], head.inside) for head in heads]
        aligned = np.array(
            [
                [resample(volume, head.half, matrix, target) for volume in pair]
                for head, matrix, pair in zip(heads, matrices, volumes, strict=True)
            ]
        )
        average = AverageHead(*aligned.mean(axis=0), target, centers)
        if turn < ROUNDS:
            near, starts = average.outside_mm <= COMPARED_MM, zip(heads, matrices, strict=True)
            matrices = [average.register(head.image, head.affine, start, near) for head, start in starts]
    return average, aligned


def leave_one_out(heads: Sequence[Head], average: AverageHead, aligned: np.ndarray) -> list[float]:
    """Error in % of the volume of each head, with the average of the others."""
    errors = []
    for index, head in enumerate(heads):
        others = replace(average, **dict(zip(("image", "inside"), np.delete(aligned, index, 0).mean(0), strict=True)))
        start = fit_affine(average.centers, head.centers)
        near, volume = others.outside_mm <= COMPARED_MM, head.inside.sum() * voxel_volume(head.half)
        matrix = others.register(other_contrast(head, index), head.affine, start, near)
        errors.append(100 * (others.volume * np.linalg.det(matrix[:3, :3]) / volume - 1))
    return errors


def make_average(options: argparse.Namespace) -> None:
    """Write the average of label maps and the report on it."""
    paths = find_label_maps(options.label_maps)
    if len(paths) < MIN_HEADS:
        raise InputError(f"{options.label_maps}: there are {len(paths)} label maps, expected {MIN_HEADS} or more.")
    heads = [Head.load(path) for path in paths]
    average, aligned = align(heads)
    voxels = np.stack([average.image * 255, average.inside * 255], axis=-1).round().astype(np.uint8)
    rows = [[label, *(f"{x:.2f}" for x in place)] for label, place in average.centers.items()]
    errors = leave_one_out(heads, average, aligned)
    low, middle, high = np.percentile(np.abs(errors), (25, 50, 75))
    text = (
        f"Intracranial volume of {len(heads)} label maps, each with the average of the others: error in % "
        f"{', '.join(f'{error:+.1f}' for error in errors)}; mean {np.mean(errors):+.1f}, standard deviation "
        f"{np.std(errors, ddof=1):.1f}, absolute {middle:.1f} (median; quartiles {low:.1f} to {high:.1f}).\n"
    )
    files = {
        "head.nii.gz": lambda path: nib.save(nib.Nifti1Image(voxels, average.affine), path),
        "centers.tsv": table_text(("id", "x", "y", "z"), rows),
        "report.md": f"# Average head\n\n{made_by(__version__ + '.')}\n{text}",
    }
    write_files(Path(options.output_dir), files)
    print(text, end="")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("label_maps", help="folder with label maps of whole heads, RAS, 1 mm")
    parser.add_argument("--output_dir", default="eval", help="folder of the average head and the report")
    return run_command(make_average, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
