"""Modalities of a case on one grid, whatever files they come in and whichever are missing."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import LoadImage, MapTransform

from monai_mamba.data.image_file import open_image
from monai_mamba.data.image_reader import VerifyingNibabelReader
from monai_mamba.data.modalities import DISPLAY, MODALITIES, REFERENCE_ORDER, subset_name
from monai_mamba.data.pairs import same_grid
from monai_mamba.errors import InputError
from monai_mamba.grids import one_affine, sample_linearly, voxel_map, voxel_volume
from monai_mamba.transforms.check_image import CheckImaged
from monai_mamba.transforms.modality_doubts import find_doubts
from monai_mamba.transforms.registration import register_modalities

MIN_INSIDE = 0.5

logger = logging.getLogger(__name__)


class LoadModalitiesd(MapTransform):
    """Load the modalities of a case into the channels FLAIR, T1, T1ce, T2; those that are missing are 0 everywhere.

    The grid is that of the label map where the case has one, else that of the modality with the smallest voxels; with
    `register`, of T1ce where there is one. Other grids are resampled to it (linearly). Each modality is checked as by
    `CheckImaged`.

    A volume of a 4-D file that is 0 everywhere is a missing modality; a file that is 0 everywhere is refused.

    Args:
        keys: entries as made by `find_cases`: a mapping from modality to path, or the path of a file with one volume
            for each of the `channels` of the case (all four if there is no such entry). An entry `modalities` of the
            case, such as `FLAIR+T2`, leaves the others out; the entry `label`, where there is one, is the path of the
            label map.
        register: whether modalities on another grid than T1ce are moved to it first (see `register_modalities`); False
            warns of them.
        label_grid: modality whose file and grid the results get; None, or one that the case lacks, takes that of the
            grid of the image.

    Raises:
        InputError: `label_grid` is no modality.
    """

    def __init__(self, keys: KeysCollection, register: bool = False, label_grid: str | None = None) -> None:
        super().__init__(keys)
        if label_grid not in (None, *MODALITIES):
            raise InputError(f"--label_grid is {label_grid!r}, expected one of {', '.join(MODALITIES)}.")
        self.register = register
        self.label_grid = label_grid
        self.load = LoadImage(reader=VerifyingNibabelReader, ensure_channel_first=True)
        self.check = CheckImaged("image")

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Return the data with float32 images `(4, H, W, D)`.

        Their meta data are those of the modality that the results are for, with `volume`, its index in a 4-D file;
        positions are in its millimeters; and `checksums`, those of all files. The entry `modalities`, here and there,
        names what the image has; `doubts` says there what seems to be wrong with it (see `find_doubts`), as does a
        warning.

        Raises:
            InputError: a file cannot be used, no modality is left, or two do not show the same part of space.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            volumes = self._read(result[key], result.get("channels"), result.get("modalities"))
            if not volumes:
                raise InputError(f"{result[key]}: no modality is left. Expected at least one that is not 0 everywhere.")
            missing = [name for name in MODALITIES if name not in volumes]
            if missing:
                name = result.get("name", result[key])
                logger.info("%s: %s missing; the others are used.", name, subset_name(missing).replace("+", ", "))
            image, doubts = self._stack(volumes, result.get("label"))
            present = [modality for modality in MODALITIES if modality in volumes]
            doubts |= find_doubts(image.numpy(), present, voxel_volume(one_affine(image.affine)))
            for doubt, advice in doubts.items():
                name = result.get("name", image.meta.get("filename_or_obj"))
                logger.warning("%s: %s. %s", name, doubt, advice)
            result[key], result["modalities"] = image, subset_name(volumes)
            image.meta |= {"modalities": result["modalities"], "doubts": "; ".join(doubts)}
        return result

    def _read(self, source: object, channels: str | None, wanted: str | None) -> dict[str, MetaTensor]:
        chosen = [name for name in MODALITIES if wanted is None or DISPLAY[name] in wanted.split("+")]
        volumes = {}
        if isinstance(source, Mapping):
            for name in chosen:
                if name in source:
                    volumes[name] = self.check({"image": self.load(source[name])})["image"]
            return volumes
        image = self.load(source)
        order = channels.split("+") if channels else MODALITIES
        if image.ndim != 4 or image.shape[0] != len(order):
            names = ", ".join(DISPLAY[name] for name in order)
            raise InputError(
                f"{source}: {image.shape[0]} volumes of {' x '.join(map(str, image.shape[1:]))} voxels; expected "
                f"{len(order)} along the fourth axis, in the order {names}."
            )
        for name in chosen:
            if name in order and image[order.index(name)].any():
                volumes[name] = self.check({"image": image[order.index(name)][None]})["image"]
                volumes[name].meta["volume"] = order.index(name)
        return volumes

    def _stack(self, volumes: dict[str, MetaTensor], label: str | None) -> tuple[MetaTensor, dict[str, str]]:
        """The image, and doubts about its registration."""
        order = [name for name in REFERENCE_ORDER if name in volumes]
        sizes = {name: voxel_volume(one_affine(volumes[name].affine)) for name in order}
        reference = next(name for name in order if sizes[name] <= 1.001 * min(sizes.values()))
        moves, doubts = dict.fromkeys(order, np.eye(4)), {}
        if self.register:
            reference = "t1ce" if "t1ce" in volumes else reference
            moves, doubts = register_modalities(volumes, reference)
        own = self.label_grid if self.label_grid in volumes else reference
        to_own = np.linalg.inv(moves[own])
        affines = {name: to_own @ moves[name] @ one_affine(volumes[name].affine) for name in order}
        affine, shape = affines[reference], tuple(volumes[reference].shape[1:])
        meta = {**volumes[own].meta, "original_affine": one_affine(volumes[own].affine)}
        meta["spatial_shape"] = np.array(volumes[own].shape[1:])
        meta["checksums"] = " ".join(sorted({volume.meta["checksum"] for volume in volumes.values()}))
        if label is not None:
            header = open_image(label)
            affine, shape = one_affine(header.affine), header.shape[:3]
            meta |= {"original_affine": affine, "spatial_shape": np.array(shape)}
        image = torch.zeros(len(MODALITIES), *shape)
        for name, volume in volumes.items():
            same = same_grid(tuple(volume.shape[1:]), affines[name], shape, affine)
            if not same and not self.register:
                logger.warning(
                    "%s: its grid (%s voxels) differs from that of %s (%s); resampled as its header says. If it is not "
                    "registered, results are poor: --register True registers it.",
                    volume.meta.get("filename_or_obj", name),
                    " x ".join(map(str, volume.shape[1:])),
                    DISPLAY[reference],
                    " x ".join(map(str, shape)),
                )
            values = volume[0].as_tensor() if same else _on_grid(volume, affines[name], affine, shape, name, reference)
            image[MODALITIES.index(name)] = values
        return MetaTensor(image, meta=meta | {"affine": torch.from_numpy(affine)}), doubts


def _on_grid(
    volume: MetaTensor, own: np.ndarray, affine: np.ndarray, shape: tuple[int, ...], name: str, reference: str
) -> torch.Tensor:
    """The volume, whose affine is `own`, at the voxels of a grid `(H, W, D)`."""
    matrix = voxel_map(affine, own)
    source = volume[0].numpy().astype(np.float32)
    values = sample_linearly(source, matrix, tuple(slice(0, size) for size in shape), mode="grid-constant")
    # Voxels of the grid per voxel of the volume: what is inside keeps its size in mm.
    inside = np.count_nonzero(values) * voxel_volume(matrix) / np.count_nonzero(source)
    if inside < MIN_INSIDE:
        path = volume.meta.get("filename_or_obj", name)
        raise InputError(
            f"{path}: only {inside:.0%} of the brain in {DISPLAY[name]} lies in the field of view of "
            f"{DISPLAY[reference]}. Expected modalities of one examination. Leave this one out, or try --register True."
        )
    return torch.from_numpy(values)
