"""Sliding windows that vote with their class probabilities, in bounded memory."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
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
            network: maps windows `(B, in_channels, *roi_size)` to logits `(B, C, *roi_size)`.
            args: further arguments of the network.
            kwargs: further keyword arguments of the network.

        Raises:
            NotFiniteError: the network's output for a window is not finite; names the window and the layer.
        """
        device = inputs.device.type
        amp = self.amp and has_native_bfloat16(inputs.device)

        def run(window: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            with torch.autocast(device, dtype=torch.bfloat16, enabled=amp):
                return network(window.float(), *args, **kwargs)

        def predict(window: torch.Tensor, places: list[list[slice]], *args: Any, **kwargs: Any) -> torch.Tensor:
            _give_back_freed_memory()
            logits = run(window, *args, **kwargs)
            if not is_finite(logits):
                place = next(place for place, part in zip(places, logits, strict=True) if not is_finite(part))
                origin = first_not_finite(network, partial(run, window, *args, **kwargs))
                raise NotFiniteError(_not_finite(inputs, place, origin))
            return logits

        def vote(window: torch.Tensor, places: list[list[slice]], *args: Any, **kwargs: Any) -> torch.Tensor:
            if self.mirror is None:
                return self._probabilities(predict(window, places, *args, **kwargs))
            both = window, window.roll(3 * [self.mirror_shift], (2, 3, 4)).flip(2)
            if device == "cpu":  # twins at once take a third less time
                return self._probabilities(*predict(torch.cat(both), 2 * places, *args, **kwargs).chunk(2))
            return self._probabilities(*(predict(part, places, *args, **kwargs) for part in both))

        # MONAI sums the votes in the type of the image. Half precision still tells 256 gray values well apart. Without
        # meta data, because MONAI would turn the result back into float32 with them.
        image = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        probabilities = super().__call__(image.half(), vote, *args, **kwargs)
        return MetaTensor(probabilities).copy_meta_from(inputs) if isinstance(inputs, MetaTensor) else probabilities

    def _probabilities(self, logits: torch.Tensor, mirrored: torch.Tensor | None = None) -> torch.Tensor:
        """Votes of windows, float16, from logits `(B, C, H, W, D)` of theirs and of the mirrored ones.

        A few slices at once, which stay in a processor's cache, and nothing else of all channels: they are large.
        """
        function = torch.sigmoid if self.sigmoid else _softmax
        height = logits.shape[2]
        step = SLICES_IN_CACHE if logits.device.type == "cpu" else height
        votes = torch.empty(logits.shape, dtype=torch.float16, device=logits.device)
        for here in (slice(start, start + step) for start in range(0, height, step)):
            part = function(logits[:, :, here].float()).half()
            if mirrored is not None:
                there = [(height - 1 - self.mirror_shift - index) % height for index in range(height)[here]]
                other = function(mirrored[:, :, there].float()).half()[:, self.mirror[: part.shape[1]]]
                part = (part + other.roll(2 * [-self.mirror_shift], (3, 4))).div_(2)
            votes[:, :, here] = part
        return votes


def _give_back_freed_memory() -> None:
    """Have glibc return what it keeps of freed memory to the system; elsewhere nothing happens.

    It keeps blocks of up to 32 MiB, as activations are. Between blocks in use they break into pieces that the next
    activations do not fit into: 0.3 GiB in the course of a head.
    """
    if os.name == "posix":
        getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: None)(0)


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
