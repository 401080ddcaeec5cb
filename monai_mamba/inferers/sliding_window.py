"""Sliding windows that vote with their class probabilities, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from monai.utils import ensure_tuple

from monai_mamba.errors import InputError, NotFiniteError
from monai_mamba.inferers.autocast import has_native_bfloat16
from monai_mamba.networks.finite import first_not_finite, is_finite

SLICES_IN_CACHE = 2


class SlidingWindowProbabilityInferer(SlidingWindowInferer):
    """MONAI's sliding window, averaging the probabilities of overlapping windows.

    Windows vote as in MedSegMamba (Cao et al., 2024), divided by the weight of the windows that saw a voxel so that the
    result is a probability. Votes are summed in half precision: 36 classes of a head take 0.5 GB.

    Args:
        roi_size: size of a window in voxels; smaller images are padded with 0.
        sw_batch_size: windows that go through the network at once.
        overlap: part of a window that the next one covers again, 0 <= overlap < 1.
        amp: run the network in bfloat16 where the device computes in it natively, float32 elsewhere.
        progress: show a progress bar.
        mirror: also vote with each window mirrored along its first axis (left-right in a conformed image), with the
            channels exchanged: item c is the channel of channel c's structure on the other side. None does not.
        mirror_shift: voxels by which mirrored windows are shifted along each axis, what leaves at one end coming in at
            the other. With 1, a network whose first layer groups voxels by 2 x 2 x 2 sees other groups in them. Of no
            effect without `mirror`.
        sigmoid: channels are regions that may overlap, each with a probability of its own; else classes (softmax).
        mode: weight of a window's voxels, `"constant"` as in MedSegMamba, or `"gaussian"`, less towards its border,
            where the network sees little of the surroundings.

    Raises:
        InputError: `overlap`, `sw_batch_size` or `mirror_shift` is out of range.
    """

    def __init__(
        self,
        roi_size: Sequence[int] | int = (96, 96, 96),
        sw_batch_size: int = 1,
        overlap: Sequence[float] | float = 0.5,
        amp: bool = True,
        progress: bool = False,
        mirror: Sequence[int] | None = None,
        mirror_shift: int = 0,
        sigmoid: bool = False,
        mode: str = "constant",
    ) -> None:
        if not all(isinstance(part, (int, float)) and 0 <= part < 1 for part in ensure_tuple(overlap)):
            raise InputError(f"--overlap is {overlap}, expected a number from 0 to below 1, such as 0.5.")
        if not isinstance(sw_batch_size, int) or sw_batch_size < 1:
            raise InputError(f"--sw_batch_size is {sw_batch_size}, expected a whole number from 1.")
        if not isinstance(mirror_shift, int) or mirror_shift < 0:
            raise InputError(f"mirror_shift is {mirror_shift}, expected a whole number of voxels from 0.")
        super().__init__(
            roi_size=roi_size,
            sw_batch_size=sw_batch_size,
            overlap=overlap,
            mode=mode,
            progress=progress,
            with_coord=True,
        )
        self.amp = amp
        self.mirror = mirror
        self.mirror_shift = mirror_shift
        self.sigmoid = sigmoid

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Return probabilities `(1, C, H, W, D)`, float16, 0..1, with the meta data of `inputs`.

        Args:
            inputs: images `(1, in_channels, H, W, D)`.
            network: maps windows `(B, in_channels, *roi_size)` to logits `(B, C, *roi_size)`. On a CPU its method
                `slabs` is called instead, if it has one as `MedSegMamba` does.
            args: further arguments of the network.
            kwargs: further keyword arguments of the network.

        Raises:
            NotFiniteError: the network's output for a window is not finite; names the window and the layer.
        """
        device = inputs.device.type
        amp = self.amp and has_native_bfloat16(inputs.device)
        autocast = partial(torch.autocast, device, dtype=torch.bfloat16, enabled=amp)
        to_probabilities = torch.sigmoid if self.sigmoid else _softmax

        def run(images: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            with autocast():
                return network(images.float(), *args, **kwargs)

        def vote(window: torch.Tensor, places: list[list[slice]], *args: Any, **kwargs: Any) -> torch.Tensor:
            images, adders = [window], [_add]
            if self.mirror is not None:
                images.append(window.roll(3 * [self.mirror_shift], (2, 3, 4)).flip(2))
                adders.append(self._add_mirrored)
            at_once = len(images) if device == "cpu" else 1  # there, twins at once take a third less time
            votes = None
            for first in range(0, len(images), at_once):
                batch = torch.cat(images[first : first + at_once])
                for start, logits in _slabs(network, autocast, batch, *args, **kwargs):
                    if not is_finite(logits):
                        bad = next(i for i, part in enumerate(logits) if not is_finite(part))
                        origin = first_not_finite(network, partial(run, batch, *args, **kwargs))
                        raise NotFiniteError(_not_finite(inputs, places[bad % len(places)], origin))
                    parts = to_probabilities(logits.float()).half().chunk(at_once)
                    if votes is None:
                        votes = parts[0].new_zeros(*parts[0].shape[:2], *window.shape[2:])
                    for add, part in zip(adders[first:], parts, strict=False):
                        add(votes, part, start)
            return votes if self.mirror is None else votes.div_(2)

        # MONAI sums the votes in the type of the image. Half precision still tells 256 gray values well apart. Without
        # meta data, because MONAI would turn the result back into float32 with them.
        image = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        probabilities = super().__call__(image.half(), vote, *args, **kwargs)
        return MetaTensor(probabilities).copy_meta_from(inputs) if isinstance(inputs, MetaTensor) else probabilities

    def _add_mirrored(self, votes: torch.Tensor, part: torch.Tensor, start: int) -> None:
        """Add slices from `start` of a mirrored window to the votes of the window."""
        height = votes.shape[2]
        part = part[:, self.mirror[: part.shape[1]]].roll(2 * [-self.mirror_shift], (3, 4))
        for index in range(part.shape[2]):
            votes[:, :, (height - 1 - self.mirror_shift - start - index) % height] += part[:, :, index]


def _add(votes: torch.Tensor, part: torch.Tensor, start: int) -> None:
    votes[:, :, start : start + part.shape[2]] += part


def _slabs(
    network: Callable[..., torch.Tensor],
    autocast: Callable[[], torch.autocast],
    images: torch.Tensor,
    *args: Any,
    **kwargs: Any,
) -> Iterator[tuple[int, torch.Tensor]]:
    """First slice and logits `(B, C, h, W, D)` of some slices at once; on a CPU few, which stay in its cache.

    Only the network runs under `autocast`: on a CPU it refuses to join or roll the float16 of the votes.
    """
    cpu = images.device.type == "cpu"
    if cpu and hasattr(network, "slabs"):
        slabs = network.slabs(images.float(), *args, **kwargs)
    else:
        with autocast():
            logits = network(images.float(), *args, **kwargs)
        slabs = iter(logits.split(SLICES_IN_CACHE if cpu else logits.shape[2], dim=2))
    start = 0
    while True:
        with autocast():
            slab = next(slabs, None)
        if slab is None:
            return
        yield start, slab
        start += slab.shape[2]


def _softmax(logits: torch.Tensor) -> torch.Tensor:
    """Softmax over the channels; PyTorch's own takes twice as long where channels are not the last axis."""
    weights = (logits - logits.amax(dim=1, keepdim=True)).exp_()
    return weights.div_(weights.sum(dim=1, keepdim=True))


def _not_finite(inputs: torch.Tensor, place: list[slice], origin: str) -> str:
    image, window = place[0].start, " x ".join(f"{axis.start}-{axis.stop - 1}" for axis in place[2:])
    return (
        f"{name_in_front(inputs, image)}the network's output is NaN or infinite in the window of voxels {window} (of "
        f"the image as the network sees it): {origin}. Try --amp False; if that does not help, the weights or the "
        "network are wrong."
    )


def name_in_front(inputs: torch.Tensor, index: int = 0) -> str:
    """`FILE: ` of an image of a batch; nothing where its file is not known."""
    name = inputs.meta.get("filename_or_obj") if isinstance(inputs, MetaTensor) else None
    return f"{name if isinstance(name, str) else name[index]}: " if name else ""
