"""Convolutions that PyTorch computes slowly on CPUs, with the parameters of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from monai_mamba.ops.recording import is_recording


def pointwise_conv3d(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """1x1x1 convolution ``(B, C, H, W, D) -> (B, O, H, W, D)`` with a weight ``(O, C, 1, 1, 1)``.

    On a CPU a matrix product, which spares oneDNN's change of the memory layout and back. The result has the layout of
    ``x``, channels first or last.
    """
    fits = x.dim() == 5 and x.shape[1] == weight.shape[1]  # PyTorch has the clearer errors
    if x.device.type != "cpu" or not fits or is_recording():
        return functional.conv3d(x, weight, bias)
    if x.stride(1) == 1:  # channels last
        return functional.linear(x.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)
    rows, voxels = weight.flatten(1).expand(len(x), -1, -1), x.flatten(2)
    y = torch.bmm(rows, voxels) if bias is None else torch.baddbmm(bias[:, None], rows, voxels)
    return y.unflatten(2, x.shape[2:])


class PointwiseConv3d(nn.Conv3d):
    """1x1x1 convolution ``(B, C, H, W, D) -> (B, O, H, W, D)``, see `pointwise_conv3d`."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W, D) -> (B, O, H, W, D)``."""
        return pointwise_conv3d(x, self.weight, self.bias)


class UpsampledConv3d(nn.Conv3d):
    """3x3x3 convolution of a volume at twice its resolution, ``(B, C, H, W, D) -> (B, O, 2 H, 2 W, 2 D)``.

    Voxels are repeated, and zeros lie around them. On a CPU inference in float32 does not repeat them: of the 27
    weights those that meet the same voxel are summed, which leaves a third of the products.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W, D) -> (B, O, 2 H, 2 W, 2 D)``."""
        slow = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or x.dtype != torch.float32
        if x.device.type != "cpu" or slow or is_recording():
            return super().forward(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        # Sums of two neighbors along each axis, and at the ends one weight alone.
        kernel = functional.avg_pool3d(self.weight.flip(2, 3, 4), 2, stride=1, padding=1, divisor_override=1)
        return functional.conv_transpose3d(x, kernel.transpose(0, 1), self.bias, stride=2, padding=1)


class _Depthwise(torch.autograd.Function):
    """3x3x3 depthwise convolution with a backward of operations that oneDNN has fast code for."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return functional.conv3d(x, weight, bias, padding=1, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        x, weight = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad
        dtype = x.dtype
        if any(size < 3 for size in x.shape[2:]):  # see AutocastInferer
            x, weight, grad = x.float(), weight.float(), grad.float()
        grad_x = functional.conv3d(grad, weight.flip(2, 3, 4), padding=1, groups=len(weight)) if need_x else None
        gradients = (
            grad_x,
            _weight_gradient(x, weight, grad) if need_weight else None,
            grad.sum((0, 2, 3, 4)) if need_bias else None,
        )
        return tuple(None if gradient is None else gradient.to(dtype) for gradient in gradients)


def _weight_gradient(x: torch.Tensor, weight: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
    """Gradient of a depthwise 3x3x3 kernel, plane by plane, as those of convolutions in two dimensions."""
    height = x.shape[2]
    slices = functional.pad(x.transpose(1, 2), (0, 0, 0, 0, 0, 0, 1, 1))  # (B, H + 2, C, W, D)
    grad_slices = grad.transpose(1, 2).flatten(0, 1)
    planes = [
        torch.ops.aten.convolution_backward(
            grad_slices,
            slices[:, k : k + height].flatten(0, 1),
            weight[:, :, k],
            bias_sizes=None,
            stride=[1],
            padding=[1],
            dilation=[1],
            transposed=False,
            output_padding=[0],
            groups=len(weight),
            output_mask=[False, True, False],
        )[1]
        for k in range(3)
    ]
    return torch.stack(planes, dim=2)


class DepthwiseConv3d(nn.Conv3d):
    """3x3x3 convolution of each channel by itself, ``(B, C, H, W, D) -> (B, C, H, W, D)``, zeros around the volume.

    On a CPU the backward is computed as a convolution with the flipped kernel (for x) and as three convolutions in two
    dimensions (for the weight), which is several times faster than PyTorch's own there.
    """

    def __init__(self, channels: int, bias: bool = True) -> None:
        super().__init__(channels, channels, 3, padding=1, groups=channels, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W, D) -> (B, C, H, W, D)``."""
        if x.device.type != "cpu" or x.dim() != 5 or not torch.is_grad_enabled() or is_recording():
            return super().forward(x)
        inputs = (x, self.weight, self.bias)
        if torch.is_autocast_enabled("cpu"):  # here, so that autograd turns the gradients back
            dtype = torch.get_autocast_dtype("cpu")
            inputs = tuple(None if tensor is None else tensor.to(dtype) for tensor in inputs)
        return _Depthwise.apply(*inputs)
