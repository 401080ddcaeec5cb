"""Float32 convolutions that PyTorch would compute slowly on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

SMALL = 20480  # channels x depth x height of one volume; PyTorch 2.13 does not give smaller ones to oneDNN


class HalvedConvolutions(TorchFunctionMode):
    """Computes a 3-D convolution of one float32 volume as one of two overlapping halves: the same values, sooner.

    PyTorch 2.13 gives a small volume to oneDNN only in a batch of two or more; its own convolution takes two to six
    times as long. In training, halves pay for larger volumes, too: oneDNN's gradients of one volume are slower.
    Convolutions with strides, dilation or groups, and those over a single voxel, stay as they are.
    """

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        compute = _conv3d if func is functional.conv3d else func
        return compute(*args, **(kwargs or {}))


def _conv3d(
    input: torch.Tensor,  # noqa: A002 - as PyTorch calls it
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> torch.Tensor:
    """`torch.nn.functional.conv3d` with the same arguments."""
    one = input.dim() == 5 and len(input) == 1 and input.dtype == torch.float32 and input.device.type == "cpu"
    plain = groups == 1 and {*_three(stride), *_three(dilation)} == {1} and weight.shape[2:].numel() > 1
    if not one or not plain or isinstance(padding, str):
        return functional.conv3d(input, weight, bias, stride, padding, dilation, groups)
    first, *others = _three(padding)
    depth = input.shape[2] + 2 * first - weight.shape[2] + 1
    if depth < 2 or not (torch.is_grad_enabled() or input.shape[1:4].numel() <= SMALL):
        return functional.conv3d(input, weight, bias, stride, padding, dilation, groups)
    padded = functional.pad(input, (0, 0, 0, 0, first, first))
    half = (depth + 1) // 2
    taken = half + weight.shape[2] - 1
    halves = torch.cat([padded[:, :, :taken], padded[:, :, -taken:]])
    result = functional.conv3d(halves, weight, bias, padding=(0, *others))
    return torch.cat([result[:1], result[1:, :, 2 * half - depth :]], dim=2)


def _three(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value,) * 3 if isinstance(value, int) else tuple(value)
