"""What seems to be wrong with the modalities of a tumor case, as far as their gray values tell."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, combinations, product

import numpy as np

from monai_mamba.data.modalities import DISPLAY, MODALITIES
from monai_mamba.grids import bounding_box

# Stripped brains of 20 adults have 1.2 to 2.17 l and fill about half of their box; six heads have 2.34 l and more.
MAX_BRAIN_ML, MAX_BRAIN_PART = 2250.0, 0.75
# Dice of the brains in two modalities. In nine cases (BraTS 2021, TCGA): 0.999 in a case, at most 0.945 between two.
MIN_OVERLAP = 0.95
# Of rank correlations. In the same cases T1 and T1ce are more alike than any other two (by 0.07 at least), and FLAIR is
# more like them than T2 is (by 0.1 at least).
EXCHANGED = 0.05
# A contrast agent brightens: many more voxels are much brighter in T1ce than T1 lets expect than the other way round,
# 7 to 180 times as many in six of the cases, 1.7 and 2.3 times in two, 0.8 times in one.
LEVELS, MUCH, BRIGHTENED, RARE = 40, 6.0, 4.0, 0.0005
SAME = 0.98  # correlation of gray values; in eight of the cases T1 and T1ce have 0.36 to 0.80, others less


def find_doubts(image: np.ndarray, present: Sequence[str], voxel_mm3: float) -> dict[str, str]:
    """What seems to be wrong, and what to do about it.

    Args:
        image: the modalities `(4, H, W, D)` on one grid, 0 outside of the brain.
        present: those of `MODALITIES` that are there, in this order.
        voxel_mm3: volume of a voxel.
    """
    image, voxel_mm3 = image[:, ::2, ::2, ::2], 8 * voxel_mm3  # as sure, in an eighth of the time
    brains = {name: image[MODALITIES.index(name)] != 0 for name in present}
    doubts = {}
    if heads := [DISPLAY[name] for name in present if _is_head(brains[name], voxel_mm3)]:
        doubts[f"the skull seems to be present in {', '.join(heads)}"] = (
            "Strip it first, for example with SynthStrip or HD-BET."
        )
    overlaps = {pair: _dice(*(brains[name] for name in pair)) for pair in combinations(present, 2)}
    if overlaps and (least := min(overlaps.values())) < MIN_OVERLAP:
        one, other = (DISPLAY[name] for name in min(overlaps, key=overlaps.get))
        doubts[f"the brains in {one} and {other} overlap by {least:.0%} only"] = (
            "Check that they are of one person, and registered."
        )
    if same := [pair for pair in overlaps if _correlation(*(image[MODALITIES.index(name)] for name in pair)) > SAME]:
        names = " and ".join(DISPLAY[name] for name in MODALITIES if name in set(chain(*same)))
        doubts[f"the images called {names} are the same"] = "Leave out what is missing; a copy does not replace it."
    elif exchanged := _exchanged(image, present):
        names = " and ".join(DISPLAY[name] for name in MODALITIES if name in exchanged)
        doubts[f"the images called {names} look exchanged"] = "Check which file is which."
    return doubts


def _is_head(mask: np.ndarray, voxel_mm3: float) -> bool:
    voxels = np.count_nonzero(mask)
    box = bounding_box(mask)
    return voxels * voxel_mm3 > 1000 * MAX_BRAIN_ML or voxels > MAX_BRAIN_PART * mask[box].size


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * np.count_nonzero(one & other) / max(np.count_nonzero(one) + np.count_nonzero(other), 1))


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    voxels = np.stack([one, other])[:, (one != 0) & (other != 0)].astype(np.float64)
    with np.errstate(invalid="ignore"):  # NaN for a constant
        return float(np.corrcoef(voxels)[0, 1]) if voxels.shape[1] > 1 else 0.0


def _exchanged(image: np.ndarray, present: Sequence[str]) -> set[str]:
    """Names of two modalities of which each looks like the other one."""
    voxels = image[[MODALITIES.index(name) for name in present]].reshape(len(present), -1)
    voxels = voxels[:, (voxels != 0).all(axis=0)]
    if voxels.shape[1] < LEVELS:
        return set()
    ranks = voxels.argsort(axis=1).argsort(axis=1)
    alike = dict(zip(product(present, present), np.corrcoef(ranks).ravel(), strict=True))
    weighted = {"t1", "t1ce"} & set(present)
    if len(weighted) == 2:
        closest = max(combinations(present, 2), key=alike.get)
        if alike[closest] - alike["t1", "t1ce"] > EXCHANGED:
            return weighted ^ set(closest)
    if weighted and {"flair", "t2"} <= set(present):
        flair, t2 = (np.mean([alike[name, other] for other in weighted]) for name in ("flair", "t2"))
        if t2 - flair > EXCHANGED:
            return {"flair", "t2"}
    if len(weighted) == 2:
        t1, t1ce = (voxels[present.index(name)] for name in ("t1", "t1ce"))
        if _brighter_share(t1ce, t1) > BRIGHTENED * max(_brighter_share(t1, t1ce), RARE):
            return weighted
    return set()


def _brighter_share(one: np.ndarray, other: np.ndarray) -> float:
    """Share of the voxels that are much brighter in the other image than those usually are that look alike in one."""
    groups = np.array_split(other[one.argsort(kind="stable")], LEVELS)
    above = np.concatenate([group - np.median(group) for group in groups])
    return float(np.mean(above > MUCH * np.median(np.abs(above))))
