"""Kolmogorov-Arnold channel mixing: two layers with learned activations in the place of an MLP."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from monai_mamba.networks.layers.rational import SWISH_GAIN, RationalActivation


class GroupRationalKAN(nn.Sequential):
    """Rational activation (identity at first), linear, rational activation (swish at first), linear.

    A Kolmogorov-Arnold layer with its univariate functions shared by groups of inputs costs hardly more than the MLP
    of the same widths. The initial weights keep the variance of standard normal inputs. Source: GR-KAN of the
    Kolmogorov-Arnold Transformer (Yang and Wang, arXiv 2409.10594), section 4.

    Args:
        dim: channels C of ``(..., C)``, input and output.
        hidden_dim: channels between the two layers.
        groups: groups of channels with an activation of their own; divides ``dim`` and ``hidden_dim``.
    """

    def __init__(self, dim: int, hidden_dim: int, groups: int = 8) -> None:
        inner, outer = nn.Linear(dim, hidden_dim), nn.Linear(hidden_dim, dim)
        for layer, gain in ((inner, 1.0), (outer, SWISH_GAIN)):
            nn.init.normal_(layer.weight, std=(gain / layer.in_features) ** 0.5)
            nn.init.zeros_(layer.bias)
        super().__init__(
            RationalActivation(dim, "identity", groups), inner, RationalActivation(hidden_dim, "swish", groups), outer
        )


class SplineLinear(nn.Module):
    """Linear layer with a learned cubic spline on every connection, beside one linear map of silu(x).

    y_o = sum_i w_oi silu(x_i) + sum_ij c_oij B_j(x_i) with the 8 uniform cubic B-splines of a grid with 5 intervals on
    [-3, 3], where nearly all normalized features lie; splines end 3 intervals beyond the grid. It has 9 times
    the parameters of a linear layer. Source: KAN (Liu et al., arXiv 2404.19756), section 2.2; the second scale of each
    spline, which is redundant, is left out.

    Args:
        in_features: inputs I of ``(..., I)``.
        out_features: outputs O.
    """

    intervals = 5
    limit = 3.0

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.base = nn.Linear(in_features, out_features, bias=False)
        self.step = 2 * self.limit / self.intervals
        centers = self.step * torch.arange(-1, self.intervals + 2) - self.limit
        self.register_buffer("centers", centers, persistent=False)
        # Small against the linear part, as in the source: learning shapes the splines.
        self.coefficients = nn.Parameter(torch.randn(out_features, in_features, len(centers)) * 0.1 * in_features**-0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(..., I) -> (..., O)``; the splines are evaluated in float32 whatever the autocast state."""
        if self.training:  # a step would keep several float32 tensors of 8 values for each feature
            spline = checkpoint(self._splines, x, use_reentrant=False, preserve_rng_state=False)
        else:
            spline = self._splines(x)
        return self.base(nn.functional.silu(x)) + spline

    def _splines(self, x: torch.Tensor) -> torch.Tensor:
        distance = (x.to(torch.promote_types(x.dtype, torch.float32)).unsqueeze(-1) - self.centers).abs() / self.step
        basis = ((2 - distance).relu() ** 3 - 4 * (1 - distance).relu() ** 3) / 6
        return nn.functional.linear(basis.flatten(-2), self.coefficients.flatten(1))


class SplineKAN(nn.Sequential):
    """Two `SplineLinear` layers: ``(..., C) -> (..., hidden_dim) -> (..., C)`` for C = ``dim``."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__(SplineLinear(dim, hidden_dim), SplineLinear(hidden_dim, dim))
