"""KMamba block: a scan forward and backward through the volume, then Kolmogorov-Arnold channel mixing."""

from __future__ import annotations

import torch
from monai.networks.blocks import MLPBlock
from monai.networks.layers import DropPath
from torch import nn

from monai_mamba.networks.layers.convolution import DepthwiseConv3d
from monai_mamba.networks.layers.kan import GroupRationalKAN, SplineKAN
from monai_mamba.networks.layers.state_space import StateSpaceMixer
from monai_mamba.networks.layers.traversal import serpentine_orders

_ORIENTATIONS = (0, 3, 2)  # whose first walk is fastest along D, W and H


class BidirectionalSpatialMixer(StateSpaceMixer):
    """One serpentine walk through the volume and the same walk backward, fused by a gate that the features decide.

    Linear to features and gate -> depthwise 3x3x3 convolution -> SiLU -> two selective scans with parameters of their
    own -> g * forward + (1 - g) * backward with g = sigmoid(linear of both) -> LayerNorm -> * SiLU(gate) -> linear. A
    reconstruction of the "bidirectional spatial aware branch" in the abstract of MSD-KMamba (arXiv 2509.23677); the
    walks are MedSegMamba's (arXiv 2409.08307).

    Args:
        dim: channels C of input and output, and inner width E.
        walk: the fastest axis is D, W or H for 0, 1 or 2 (mod 3).
        d_state: states N of a channel.
    """

    directions = 2

    def __init__(self, dim: int, walk: int = 0, d_state: int = 16) -> None:
        super().__init__(dim, d_state)
        self.orientation = _ORIENTATIONS[walk % 3]
        self.in_proj = nn.Linear(dim, 2 * dim, bias=False)
        self.conv = DepthwiseConv3d(dim)
        self.add_projections(dim)
        self.add_states(dim)
        self.fusion = nn.Linear(2 * dim, dim)
        self.out_norm = nn.LayerNorm(dim)
        self.out_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, H, W, D, C) -> (B, H, W, D, C)``."""
        batch, *size, _ = x.shape
        x, gate = self.in_proj(x).chunk(2, dim=-1)
        x = nn.functional.silu(self.conv(x.movedim(-1, 1))).flatten(2).transpose(1, 2)  # (B, L, E)
        orders = serpentine_orders(size, self.orientation, x)[::4]  # a walk and its reverse
        y = self.scan(x, orders, merge=None)
        forward, backward = y.unbind(1)
        y = torch.lerp(backward, forward, self.fusion(torch.cat([forward, backward], dim=-1)).sigmoid())
        y = self.out_norm(y).reshape(batch, *size, -1)
        return self.out_proj(y * nn.functional.silu(gate))


class KMambaBlock(nn.Module):
    """Pre-norm residual block: a token mixer, then channel mixing of ratio 2.

    Args:
        dim: channels C.
        mixer: module mapping ``(B, H, W, D, C)`` to the same shape; None leaves the channel mixing alone.
        kan: ``"rational"`` or ``"spline"`` Kolmogorov-Arnold layers; None for an MLP of the same widths.
        drop_path_rate: probability of dropping a residual branch for a sample.

    Raises:
        ValueError: ``kan`` is unknown.
    """

    ratio = 2

    def __init__(
        self, dim: int, mixer: nn.Module | None, kan: str | None = "rational", drop_path_rate: float = 0.0
    ) -> None:
        super().__init__()
        hidden = self.ratio * dim
        if kan == "rational":
            self.mixing = GroupRationalKAN(dim, hidden)
        elif kan == "spline":
            self.mixing = SplineKAN(dim, hidden)
        elif kan is None:
            self.mixing = MLPBlock(dim, hidden)
        else:
            raise ValueError(f'kan must be "rational", "spline" or None, got {kan!r}.')
        self.mixer = mixer
        self.mixer_norm = nn.LayerNorm(dim) if mixer is not None else None
        self.mixing_norm = nn.LayerNorm(dim)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, H, W, D, C) -> (B, H, W, D, C)``."""
        if self.mixer is not None:
            x = x + self.drop_path(self.mixer(self.mixer_norm(x)))
        return x + self.drop_path(self.mixing(self.mixing_norm(x)))
