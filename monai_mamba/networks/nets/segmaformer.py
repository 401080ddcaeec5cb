"""SegMaFormer: a small encoder that scans while there are many tokens and attends once there are few."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from monai_mamba.networks.blocks.hybrid_mamba import AttentionMixer, HybridMixer, MambaMixer, ScaledResidualBlock
from monai_mamba.networks.layers.convolution import PointwiseConv3d
from monai_mamba.networks.layers.input_size import check_arguments, check_spatial_size
from monai_mamba.networks.layers.rotary import rotate_by_position

_STRIDES = (4, 2, 2, 2)


class SegMaFormer(nn.Module):
    """SegMaFormer (Nguyen and Tran-Truong, arXiv 2603.22002), for any box that 32 divides.

    Four stages work at 1/4, 1/8, 1/16 and 1/32 of the resolution: strided convolution, rotation of the features by
    their position, LayerNorm, and then blocks, of Mamba beside a convolution in the first three stages, of
    self-attention in the last. A decoder of linear layers brings the four scales to the first one's grid, fuses them
    and predicts there; the logits are interpolated by 4. The defaults follow the code of the first author with an MLP
    ratio of 4 in every stage, which gives 2,024,049 parameters for 4 -> 3, the published 2.02 million. The fusing
    convolution comes before the interpolation here, with which it commutes: the same numbers for less arithmetic.

    Args:
        spatial_dims: 3; there for MONAI's conventions.
        in_channels: image channels, one per modality.
        out_channels: regions (for sigmoid) or classes (for softmax).
        channels: channels of the four stages; multiples of 6 take part in the rotation as a whole.
        depths: blocks of the four stages.
        d_state: states of a channel in the selective scan, for each of the first three stages.
        expand: inner width of the scan as a multiple of the channels, for each of the first three stages.
        num_heads: heads of the attention; divides the last of ``channels``.
        mlp_ratio: hidden width of the blocks' MLPs as a multiple of the channels.
        decoder_channels: width of the decoder.
        layer_scale: initial factor of every residual branch of the first three stages.
        mixer: ``"hybrid"``, or None for the same network without Mamba, whose blocks keep the convolution.

    Raises:
        ValueError: if ``spatial_dims`` is not 3, ``mixer`` is unknown, a sequence has the wrong length, or (in forward)
            a size is not a multiple of ``stride`` or all three equal it.
    """

    stride = 32
    normalizes = True

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 4,
        out_channels: int = 3,
        channels: Sequence[int] = (36, 66, 96, 192),
        depths: Sequence[int] = (2, 2, 1, 1),
        d_state: Sequence[int] = (8, 4, 4),
        expand: Sequence[int] = (2, 2, 1),
        num_heads: int = 6,
        mlp_ratio: int = 4,
        decoder_channels: int = 256,
        layer_scale: float = 1e-4,
        mixer: str | None = "hybrid",
    ) -> None:
        super().__init__()
        lengths = {"channels": (channels, 4), "depths": (depths, 4), "d_state": (d_state, 3), "expand": (expand, 3)}
        check_arguments(self, spatial_dims, mixer, ("hybrid",), **lengths)

        def block(stage: int) -> ScaledResidualBlock:
            dim, hidden = channels[stage], mlp_ratio * channels[stage]
            if stage == 3:
                return ScaledResidualBlock(dim, AttentionMixer(dim, num_heads), hidden, layer_scale=None)
            scan = MambaMixer(dim, d_state[stage], expand[stage], conv_width=3) if mixer else None
            return ScaledResidualBlock(dim, HybridMixer(dim, scan), hidden, layer_scale)

        self.embeddings = nn.ModuleList(
            nn.Conv3d(i, o, 2 * stride - 1, stride=stride, padding=stride - 1)
            for i, o, stride in zip([in_channels, *channels[:-1]], channels, _STRIDES, strict=True)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in channels)
        self.stages = nn.ModuleList(
            nn.Sequential(*(block(stage) for _ in range(depth))) for stage, depth in enumerate(depths)
        )
        self.last_norm = nn.LayerNorm(channels[-1])
        self.tap_norms = nn.ModuleList(nn.GroupNorm(1, c) for c in channels)

        self.projections = nn.ModuleList(
            nn.Sequential(nn.Linear(c, decoder_channels), nn.LayerNorm(decoder_channels)) for c in channels
        )
        self.fuse = nn.Linear(len(channels) * decoder_channels, decoder_channels, bias=False)
        self.fuse_norm = nn.InstanceNorm3d(decoder_channels, affine=True)
        self.head = PointwiseConv3d(decoder_channels, out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, out_channels, H, W, D)`` of ``(B, in_channels, H, W, D)``, multiples of ``self.stride``."""
        check_spatial_size(x, self)
        size = x.shape[2:]
        parts = []
        weights = self.fuse.weight.chunk(len(self.stages), dim=1)
        for i, (embed, norm, stage) in enumerate(zip(self.embeddings, self.norms, self.stages, strict=True)):
            x = stage(norm(rotate_by_position(embed(x).movedim(1, -1))))
            if i == len(self.stages) - 1:
                x = self.last_norm(x)
            x = x.movedim(-1, 1)
            tapped = self.projections[i](self.tap_norms[i](x).movedim(1, -1))
            parts.append(functional.linear(tapped, weights[i]).movedim(-1, 1))
        fused, *coarser = parts
        for part in coarser:
            fused = fused + functional.interpolate(part, size=fused.shape[2:], mode="trilinear")
        return functional.interpolate(self.head(self.fuse_norm(fused).relu()), size=size, mode="trilinear")
