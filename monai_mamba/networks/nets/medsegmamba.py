"""MedSegMamba: a residual U-shaped CNN with visual state-space blocks in the bottleneck."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from monai.networks.utils import icnr_init, pixelshuffle, pixelunshuffle
from torch import nn

from monai_mamba.errors import InputError
from monai_mamba.networks.blocks.tri_oriented_mamba import TriOrientedMamba
from monai_mamba.networks.blocks.vss3d import SS3D, VSSBlock3D
from monai_mamba.networks.layers.convolution import pointwise_conv3d
from monai_mamba.networks.layers.input_size import check_arguments, check_spatial_size
from monai_mamba.networks.nets.residual_unet import ResidualUNetBase


class MedSegMamba(ResidualUNetBase):
    """MedSegMamba, arXiv 2409.08307: 3-D CNN-Mamba hybrid for subcortical and hippocampal-subfield segmentation.

    The defaults are the published network (84,400,736 parameters for 32 classes). Unlike the published code it returns
    logits, takes any size that the strides divide, and runs on any device.

    Args:
        spatial_dims: 3; there for MONAI's conventions.
        in_channels: image channels.
        out_channels: classes K, background included.
        channels: channels of each encoder level, the bottleneck last.
        depth: bottleneck blocks; block i walks the volume in orientation i mod 6.
        d_state: states of a channel in the selective scan.
        expand: inner width of the scan as a multiple of the bottleneck channels.
        mixer: ``"ss3d"``; ``"tri_oriented"`` (see :class:`SegMambaBot`); or None for the same network without Mamba.
        stem_stride: 2 folds each 2x2x2 neighborhood into channels before the first convolution, and the head predicts
            the eight sub-voxels of every coarse voxel: an eighth of the cost at the same output resolution. 1 is the
            published network.
        final_channels: channels of the last decoder block; None doubles ``channels[0]``, as published.
        dropout_rate: dropout in the bottleneck (published: 0.1).
        drop_path_rate: stochastic depth in the bottleneck, the same for every block (published: 0.3).
        norm_name: MONAI normalization of the CNN, name or ``(name, arguments)``.
        act_name: MONAI activation of the CNN, name or ``(name, arguments)``.

    Raises:
        ValueError: if ``spatial_dims`` is not 3, ``mixer`` is unknown, or (in forward) a size is not a multiple of
            ``stride``.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        out_channels: int = 32,
        channels: Sequence[int] = (32, 64, 128, 256, 1024),
        depth: int = 9,
        d_state: int = 64,
        expand: int = 1,
        mixer: str | None = "ss3d",
        stem_stride: int = 1,
        final_channels: int | None = None,
        dropout_rate: float = 0.1,
        drop_path_rate: float = 0.3,
        norm_name: tuple | str = ("GROUP", {"num_groups": 8}),
        act_name: tuple | str = ("RELU", {"inplace": True}),
    ) -> None:
        check_arguments(self, spatial_dims, mixer, ("ss3d", "tri_oriented"))
        if len(channels) < 3:
            raise ValueError(f"channels must name two encoder levels or more and the bottleneck, got {list(channels)}.")
        subvoxels = stem_stride**3
        super().__init__(in_channels * subvoxels, channels, norm_name, act_name, repeats=2)
        self.stem_stride = stem_stride
        self.stride = stem_stride * 2 ** (len(channels) - 2)

        self.blocks = nn.ModuleList()
        for i in range(depth):
            layer = None
            if mixer == "ss3d":
                layer = SS3D(self.width, i % 6, d_state, expand, dropout_rate)
            elif mixer == "tri_oriented":
                layer = TriOrientedMamba(self.width, d_state, expand, dropout_rate=dropout_rate)
            self.blocks.append(VSSBlock3D(self.width, layer, dropout_rate, drop_path_rate))
        self.norm = nn.LayerNorm(self.width)
        self.add_decoder(final_channels or 2 * channels[0], out_channels * subvoxels)
        if stem_stride > 1:
            icnr_init(self.head, stem_stride)  # sub-voxels start equal, so that the trunk sees one gradient
            nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor, subvoxel: int | None = None) -> torch.Tensor:
        """Segment a volume.

        Args:
            x: image ``(B, in_channels, H, W, D)``; H, W and D are multiples of ``self.stride``.
            subvoxel: with ``stem_stride`` s, compute only the logits at voxels ``[i::s, j::s, k::s]``, where
                ``subvoxel`` is ``(i * s + j) * s + k``. A training that draws it anew in every step sees the same
                gradient in expectation without most of the cost of head and loss.

        Returns:
            logits ``(B, out_channels, H, W, D)``, or ``(B, out_channels, H / s, W / s, D / s)`` for one ``subvoxel``.

        Raises:
            InputError: a size is not a multiple of ``self.stride``, or there is no such ``subvoxel``.
        """
        check_spatial_size(x, self)
        if subvoxel is not None and not 0 <= subvoxel < self.stem_stride**3:
            raise InputError(f"subvoxel is {subvoxel}, expected 0 to {self.stem_stride**3 - 1}.")
        x = self.features(x)
        if subvoxel is not None:
            one = slice(subvoxel, None, self.stem_stride**3)
            return pointwise_conv3d(x, self.head.weight[one], self.head.bias[one])
        return self._logits(x)

    def slabs(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield the logits of `forward` slice by slice along H, ``(B, out_channels, stem_stride, W, D)``.

        Logits of all classes are much larger than the features they come from.

        Args:
            x: image ``(B, in_channels, H, W, D)``, as in `forward`.

        Raises:
            InputError: a size is not a multiple of ``self.stride``.
        """
        check_spatial_size(x, self)
        for features in self.features(x).split(1, dim=2):
            yield self._logits(features.contiguous())  # where channels come first, sub-voxels are shuffled sooner

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, in_channels, H, W, D)`` to what the head takes, its sizes divided by ``stem_stride``."""
        return super().features(pixelunshuffle(x, 3, self.stem_stride) if self.stem_stride > 1 else x)

    def _logits(self, features: torch.Tensor) -> torch.Tensor:
        logits = self.head(features)
        return pixelshuffle(logits, 3, self.stem_stride) if self.stem_stride > 1 else logits

    def bottleneck(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W, D) -> (B, C, H, W, D)``."""
        x = x.movedim(1, -1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x).movedim(-1, 1)


SMALL = {
    "channels": (32, 64, 96, 128, 128),
    "depth": 6,
    "d_state": 16,
    "stem_stride": 2,
    "final_channels": 64,
    "dropout_rate": 0.0,
    "drop_path_rate": 0.1,
}


def medsegmamba_small(in_channels: int = 1, out_channels: int = 32, **kwargs: Any) -> MedSegMamba:
    """The preset that the subcortical bundle ships: 5.5 million parameters, trunk at half resolution, multiples of 16.

    Other arguments as in :class:`MedSegMamba`.
    """
    return MedSegMamba(in_channels=in_channels, out_channels=out_channels, **{**SMALL, **kwargs})
