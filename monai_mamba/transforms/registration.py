"""Rigid registration of scans of one head, with ITK."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
from monai.data import MetaTensor
from nibabel.affines import apply_affine, voxel_sizes

from monai_mamba.data.modalities import DISPLAY
from monai_mamba.data.pairs import same_grid
from monai_mamba.errors import InputError
from monai_mamba.grids import one_affine

LEVELS = ((4.0, 4.0, 1.0), (2.0, 0.5, 0.25))  # mm of a voxel, first step of the optimizer in mm, share of the voxels
LAST_STEP, SHORTER = 0.003, 0.7  # mm, and factor of the step where the gradient turns back
ITERATIONS = 200
BINS = 32
SEED = 0  # ITK moves regular samples by random parts of a voxel
BRIGHTEST = 99.5  # percentile: a few voxels of 32767 would leave all others in one bin
LARGEST_TURN, LARGEST_MOVE = 30.0, 60.0  # degrees and mm: more is unlikely within one examination

logger = logging.getLogger(__name__)


def register_modalities(
    volumes: Mapping[str, MetaTensor], reference: str
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Register scans `(1, H, W, D)` to one of them, the `reference`, see `register_rigidly`.

    Those on its grid count as registered.

    Returns:
        For each modality a matrix `(4, 4)` from its millimeters to those of the reference; and what makes the result
        doubtful, with what to do, as of `find_doubts`.

    Raises:
        InputError: a modality cannot be registered.
    """
    fixed, affine = volumes[reference][0].numpy(), one_affine(volumes[reference].affine)
    moves, doubts = dict.fromkeys(volumes, np.eye(4)), {}
    for name, volume in volumes.items():
        moving, its_affine = volume[0].numpy(), one_affine(volume.affine)
        if same_grid(moving.shape, its_affine, fixed.shape, affine):
            continue
        path = volume.meta.get("filename_or_obj", DISPLAY[name])
        try:
            moves[name] = register_rigidly(fixed, affine, moving, its_affine)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise InputError(
                f"{path}: cannot be registered to {DISPLAY[reference]} ({reason}). Expected modalities of one head. "
                "Leave this one out, or register it by other means."
            ) from error
        angle = math.degrees(math.acos(np.clip((np.trace(moves[name][:3, :3]) - 1) / 2, -1, 1)))
        middle = apply_affine(its_affine, (np.array(moving.shape) - 1) / 2)
        shift = np.linalg.norm(apply_affine(moves[name], middle) - middle)
        text = "%s: registered to %s, turned by %.1f degrees and moved by %.1f mm."
        logger.info(text, path, DISPLAY[reference], angle, shift)
        if angle > LARGEST_TURN or shift > LARGEST_MOVE:
            doubt = (
                f"{DISPLAY[name]} turned by {angle:.0f} degrees and moved by {shift:.0f} mm to fit {DISPLAY[reference]}"
            )
            doubts[doubt] = "That is far for one examination: the registration is probably wrong."
    return moves, doubts


def register_rigidly(
    fixed: np.ndarray, fixed_affine: np.ndarray, moving: np.ndarray, moving_affine: np.ndarray
) -> np.ndarray:
    """Find the rotation and translation between two scans that maximize Mattes' mutual information.

    The search starts from the positions in the headers and from equal centers of mass, on voxels of about 4 mm, and
    goes on from the better result on voxels of about 2 mm. Its random numbers are fixed and it runs in one thread: the
    same scans give the same matrix. Source: Mattes et al., IEEE Transactions on Medical Imaging 22 (2003) 120-128;
    ITK's registration framework.

    Args:
        fixed: `(H, W, D)`, of any contrast, not constant.
        fixed_affine: `(4, 4)`, voxel index to millimeters.
        moving: the other scan, `(h, w, d)`.
        moving_affine: `(4, 4)`.

    Returns:
        `(4, 4)`, from millimeters of the moving scan to those of the fixed one.

    Raises:
        RuntimeError: ITK cannot compare the scans.
    """
    import itk  # loading it takes seconds, and few runs need it

    scans = [(fixed, fixed_affine), (moving, moving_affine)]
    center, other = (_center_of_mass(*scan) for scan in scans)
    images = [_image(itk, *scan) for scan in scans]
    (coarse, fine) = [(*(_shrunk(itk, image, level[0]) for image in images), *level[1:]) for level in LEVELS]
    found, failure = [], None
    for shift in (np.zeros(3), other - center):
        start = itk.VersorRigid3DTransform[itk.D].New()
        start.SetCenter(center.tolist())
        start.SetTranslation(shift.tolist())
        try:
            found.append((_optimize(itk, start, *coarse), start))
        except RuntimeError as error:  # the scans do not overlap from there
            failure = error
    if not found:
        raise failure
    _, best = min(found, key=lambda pair: pair[0])
    _optimize(itk, best, *fine)
    to_moving = np.eye(4)
    to_moving[:3, :3] = itk.array_from_matrix(best.GetMatrix())
    to_moving[:3, 3] = list(best.GetOffset())
    return np.linalg.inv(to_moving)


def _center_of_mass(volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Mean position in mm of the voxels above the mean, which are those of the head."""
    return apply_affine(affine, np.argwhere(volume > volume.mean()).mean(axis=0))


def _image(itk: ModuleType, volume: np.ndarray, affine: np.ndarray) -> Any:
    top = np.percentile(volume[volume > volume.min()], BRIGHTEST)
    image = itk.image_from_array(np.ascontiguousarray(np.minimum(volume, top).T, dtype=np.float32))
    spacing = voxel_sizes(affine)
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetSpacing(spacing.tolist())
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(affine[:3, :3] / spacing)))
    return image


def _shrunk(itk: ModuleType, image: Any, size: float) -> Any:
    """Means of blocks of voxels, each about `size` mm wide."""
    factors = [max(1, round(size / spacing)) for spacing in image.GetSpacing()]
    return itk.bin_shrink_image_filter(image, shrink_factors=factors)


def _optimize(itk: ModuleType, transform: Any, fixed: Any, moving: Any, step: float, share: float) -> float:
    """Improve a transform in place; return the negative mutual information."""
    kind = type(fixed)
    metric = itk.MattesMutualInformationImageToImageMetricv4[kind, kind].New()
    metric.SetNumberOfHistogramBins(BINS)
    metric.SetMaximumNumberOfWorkUnits(1)  # the order of sums would depend on the threads
    scales = itk.RegistrationParameterScalesFromPhysicalShift[type(metric)].New()
    scales.SetMetric(metric)
    optimizer = itk.RegularStepGradientDescentOptimizerv4[itk.D].New()
    optimizer.SetScalesEstimator(scales)
    optimizer.SetDoEstimateLearningRateOnce(False)
    optimizer.SetLearningRate(step)
    optimizer.SetMinimumStepLength(LAST_STEP)
    optimizer.SetRelaxationFactor(SHORTER)
    optimizer.SetNumberOfIterations(ITERATIONS)
    optimizer.SetReturnBestParametersAndValue(True)
    method = itk.ImageRegistrationMethodv4[kind, kind].New()
    method.SetFixedImage(fixed)
    method.SetMovingImage(moving)
    method.SetInitialTransform(transform)
    method.SetInPlace(True)
    method.SetMetric(metric)
    method.SetOptimizer(optimizer)
    method.SetNumberOfLevels(1)
    method.SetShrinkFactorsPerLevel([1])
    method.SetSmoothingSigmasPerLevel([0])
    if share < 1:
        method.SetMetricSamplingStrategy(itk.ImageRegistrationMethodv4Enums.MetricSamplingStrategy_REGULAR)
        method.SetMetricSamplingPercentage(share)
        method.MetricSamplingReinitializeSeed(SEED)
    method.Update()
    return float(optimizer.GetValue())
