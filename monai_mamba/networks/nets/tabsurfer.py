"""TABSurfer: a residual U-shaped CNN with a vision transformer in the bottleneck."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.utils import ensure_tuple_rep
from torch import nn

from monai_mamba.networks.blocks.transformer import PreNormTransformerBlock
from monai_mamba.networks.layers.input_size import check_arguments, check_spatial_size
from monai_mamba.networks.nets.residual_unet import ResidualUNetBase
from monai_mamba.ops.recording import is_recording


class TABSurfer(ResidualUNetBase):
    """TABSurfer, arXiv 2312.08267: the transformer that MedSegMamba is compared with, of nearly the same size.

    The defaults are the published network with 83,203,904 parameters for 32 classes. Two of its traits look like
    accidents and are kept, because they are part of that number: the hidden width of the transformer's MLPs is the
    number of tokens at ``img_size``, and the final LayerNorm (2,048 parameters) is never used; here it is frozen, so
    that distributed training does not wait for its gradients. Unlike the published code the network returns logits and
    takes any size that its strides divide: the learned position embedding belongs to ``img_size`` and is interpolated
    trilinearly for other sizes.

    Args:
        spatial_dims: 3; there for MONAI's conventions.
        in_channels: image channels.
        out_channels: classes K, background included.
        img_size: voxels (H, W, D), or one number for a cube, that the position embedding is learned at.
        channels: channels of each encoder level, the transformer last.
        depth: transformer blocks.
        num_heads: attention heads; divides the transformer's channels.
        mlp_dim: hidden width of the transformer's MLPs; None takes the number of tokens at ``img_size``, as published.
        dropout_rate: dropout in the transformer.
        norm_name: MONAI normalization of the CNN, name or ``(name, arguments)``.
        act_name: MONAI activation of the CNN, name or ``(name, arguments)``.

    Raises:
        ValueError: if ``spatial_dims`` is not 3, or ``img_size`` or (in forward) a size is not a multiple of
            ``stride``.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        out_channels: int = 32,
        img_size: Sequence[int] | int = 96,
        channels: Sequence[int] = (32, 64, 128, 256, 1024),
        depth: int = 8,
        num_heads: int = 16,
        mlp_dim: int | None = None,
        dropout_rate: float = 0.1,
        norm_name: tuple | str = ("GROUP", {"num_groups": 8}),
        act_name: tuple | str = ("RELU", {"inplace": True}),
    ) -> None:
        check_arguments(self, spatial_dims)
        stride = 2 ** (len(channels) - 2)
        img_size = ensure_tuple_rep(img_size, 3)
        if any(n % stride for n in img_size):
            raise ValueError(f"img_size must be multiples of {stride}, got {img_size}.")
        grid = [n // stride for n in img_size]
        super().__init__(in_channels, channels, norm_name, act_name, repeats=1)
        self.stride = stride
        self.position = nn.Parameter(torch.zeros(1, self.width, *grid))
        self.blocks = nn.ModuleList(
            PreNormTransformerBlock(self.width, mlp_dim or grid[0] * grid[1] * grid[2], num_heads, dropout_rate)
            for _ in range(depth)
        )
        self.unused_norm = nn.LayerNorm(self.width).requires_grad_(False)
        self.add_decoder(channels[0], out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, out_channels, H, W, D)`` of ``(B, in_channels, H, W, D)``, multiples of ``self.stride``."""
        check_spatial_size(x, self)
        return self.head(self.features(x))

    def bottleneck(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, h, w, d) -> (B, C, h, w, d)``."""
        grid = x.shape[2:]
        position = self.position
        if is_recording() or position.shape[2:] != grid:  # a recorded graph serves other sizes as well
            position = nn.functional.interpolate(position, size=grid, mode="trilinear")
        x = (x + position).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return x.transpose(1, 2).unflatten(2, grid)


def tabsurfer_small(in_channels: int = 1, out_channels: int = 32, **kwargs: Any) -> TABSurfer:
    """A small TABSurfer; other arguments as in :class:`TABSurfer`."""
    numbers = {"channels": (16, 32, 64, 128, 256), "depth": 4, "num_heads": 8, "mlp_dim": 512}
    return TABSurfer(in_channels=in_channels, out_channels=out_channels, **{**numbers, **kwargs})
