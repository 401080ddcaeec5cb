"""MSDKMamba: a U-shaped network of convolutions and KMamba blocks with a head, and a lesson, at every scale."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from monai.networks.blocks import UnetrUpBlock
from monai.networks.blocks.dynunet_block import UnetResBlock
from torch import nn
from torch.nn import functional

from monai_mamba.networks.blocks.kmamba import BidirectionalSpatialMixer, KMambaBlock
from monai_mamba.networks.layers.convolution import PointwiseConv3d
from monai_mamba.networks.layers.input_size import check_arguments, check_spatial_size

_NORM = ("INSTANCE", {"affine": True})


class MultiScaleOutput(NamedTuple):
    """What a network returns in training for `SelfDistillationLoss`; the first of each list is the teacher's.

    Attributes:
        logits: the teacher's ``(B, out_channels, H, W, D)``, then of each student, from fine to coarse.
        features: ``(B, F, h, w, d)`` with the same F, the finest first.
    """

    logits: list[torch.Tensor]
    features: list[torch.Tensor]

    def float(self) -> MultiScaleOutput:
        """The same in float32, as one tensor would be turned after autocast."""
        return MultiScaleOutput(*([scale.float() for scale in scales] for scales in self))


class MSDKMamba(nn.Module):
    """A reconstruction of, or rather a network inspired by, MSD-KMamba (arXiv 2509.23677), never a reproduction.

    Only what the article's abstract says could be had: a bidirectional spatial-aware branch, Kolmogorov-Arnold
    nonlinearities in a state-space block, and fusion and self-distillation between scales. Everything else is our
    design, and no published figure belongs to it. Encoder levels at 1, 1/2, 1/4, 1/8 and 1/16 of the resolution are
    residual convolution blocks, followed from the second on by KMamba blocks; the decoder is convolutional, with a head
    at each of its four scales. The fused prediction is their mean at full resolution with learned weights, which favor
    the finest at first. The defaults ("base") have 19,934,200 parameters, 8,136 of them for training only.

    Args:
        spatial_dims: 3; there for MONAI's conventions.
        in_channels: image channels, one per modality.
        out_channels: regions (for sigmoid) or classes (for softmax).
        channels: channels of the five levels; from the second on multiples of 8 with ``kan="rational"``.
        depths: KMamba blocks of the four levels below full resolution.
        d_state: states of a channel in the selective scan.
        mixer: ``"bidirectional"``, or None for the same network without Mamba.
        kan: ``"rational"`` or ``"spline"`` Kolmogorov-Arnold channel mixing, or None for an MLP of the same widths.
        drop_path_rate: stochastic depth of the last KMamba block; it grows linearly from 0 in the first.

    Raises:
        ValueError: if ``spatial_dims`` is not 3, ``mixer`` or ``kan`` is unknown, a sequence has the wrong length, or
            (in forward) a size is not a multiple of ``stride`` or all three equal it.
    """

    stride = 16
    normalizes = True

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 4,
        out_channels: int = 3,
        channels: Sequence[int] = (24, 48, 96, 192, 384),
        depths: Sequence[int] = (1, 1, 2, 2),
        d_state: int = 16,
        mixer: str | None = "bidirectional",
        kan: str | None = "rational",
        drop_path_rate: float = 0.2,
    ) -> None:
        super().__init__()
        check_arguments(self, spatial_dims, mixer, ("bidirectional",), channels=(channels, 5), depths=(depths, 4))
        fan_in = [in_channels, *channels[1:]]
        self.encoders = nn.ModuleList(
            UnetResBlock(3, i, o, kernel_size=3, stride=1, norm_name=_NORM)
            for i, o in zip(fan_in, channels, strict=True)
        )
        self.downsamples = nn.ModuleList(nn.Conv3d(i, o, 2, stride=2, bias=False) for i, o in pairwise(channels))
        rates = iter(torch.linspace(0, drop_path_rate, sum(depths), device="cpu").tolist())
        count = iter(range(sum(depths)))
        self.stages = nn.ModuleList()
        for c, depth in zip(channels[1:], depths, strict=True):
            blocks = []
            for _ in range(depth):
                layer = BidirectionalSpatialMixer(c, next(count), d_state) if mixer else None
                blocks.append(KMambaBlock(c, layer, kan, next(rates)))
            self.stages.append(nn.Sequential(*blocks))

        shallow = channels[-2::-1]  # decoder channels from 1/8 to full resolution
        self.ups = nn.ModuleList(
            UnetrUpBlock(3, i, o, kernel_size=3, upsample_kernel_size=2, norm_name=_NORM, res_block=True)
            for i, o in zip(channels[:0:-1], shallow, strict=True)
        )
        self.heads = nn.ModuleList(PointwiseConv3d(c, out_channels) for c in channels[:-1])  # from fine to coarse
        self.fusion = nn.Parameter(torch.tensor([2.0, 1.0, 0.0, -1.0]))
        self.projections = nn.ModuleList(PointwiseConv3d(c, channels[0]) for c in channels[1:-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor | MultiScaleOutput:
        """Segment a volume.

        Args:
            x: image ``(B, in_channels, H, W, D)``; H, W and D are multiples of 16.

        Returns:
            in evaluation mode logits ``(B, out_channels, H, W, D)``; in training mode a pair of lists for
            `SelfDistillationLoss`: logits of the fused prediction and of the heads at 1, 1/2, 1/4 and 1/8 of the
            resolution, and features of these four scales, all projected to ``channels[0]`` channels.
        """
        check_spatial_size(x, self)
        x = self.encoders[0](x)
        skips = [x]
        for downsample, encoder, stage in zip(self.downsamples, self.encoders[1:], self.stages, strict=True):
            x = encoder(downsample(x))
            x = stage(x.movedim(1, -1)).movedim(-1, 1)
            skips.append(x)
        x = skips.pop()
        scales: list[torch.Tensor] = []
        for up in self.ups:
            x = up(x, skips.pop())
            scales.insert(0, x)
        logits = [head(scale) for head, scale in zip(self.heads, scales, strict=True)]
        fused = self._fuse(logits)
        if not self.training:
            return fused
        finest, *coarser = scales
        projected = [project(scale) for project, scale in zip(self.projections, coarser, strict=True)]
        return MultiScaleOutput([fused, *logits], [finest, *projected])

    def _fuse(self, logits: list[torch.Tensor]) -> torch.Tensor:
        weights = self.fusion.softmax(0)
        fused = weights[0] * logits[0]
        for weight, coarse in zip(weights[1:], logits[1:], strict=True):
            fused = fused + weight * functional.interpolate(coarse, size=fused.shape[2:], mode="trilinear")
        return fused


def msd_kmamba_small(in_channels: int = 4, out_channels: int = 3, **kwargs: Any) -> MSDKMamba:
    """MSDKMamba with 8.9 million parameters; other arguments as in :class:`MSDKMamba`."""
    numbers = {"channels": (16, 32, 64, 128, 256)}
    return MSDKMamba(in_channels=in_channels, out_channels=out_channels, **{**numbers, **kwargs})


def msd_kmamba_large(in_channels: int = 4, out_channels: int = 3, **kwargs: Any) -> MSDKMamba:
    """MSDKMamba with 35 million parameters; other arguments as in :class:`MSDKMamba`."""
    numbers = {"channels": (32, 64, 128, 256, 512)}
    return MSDKMamba(in_channels=in_channels, out_channels=out_channels, **{**numbers, **kwargs})
