"""Learnable rational activations: the nonlinearity of a group-rational Kolmogorov-Arnold layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

# Swish by least squares on 2001 even points of [-6, 6], where it errs by at most 2.2e-4; lowest power first.
_SWISH_NUMERATOR = (6.831054e-05, 0.5, 0.2497785, 0.05216864, 0.00536099, 0.000225292)
_SWISH_DENOMINATOR = (0.0, 0.1043373, 0.0, 0.0004505839)
SWISH_GAIN = 2.81083  # 1 / E[phi(x)^2] for x ~ N(0, 1), for initial weights that keep the variance
# The identity as (x + x Q) / (1 + Q). With Q = 0 the denominator would have no gradient to learn from.
_IDENTITY_NUMERATOR = (0.0, 1.0, 0.0, _SWISH_DENOMINATOR[1], 0.0, _SWISH_DENOMINATOR[3])
_COEFFICIENTS = {"swish": (_SWISH_NUMERATOR, _SWISH_DENOMINATOR), "identity": (_IDENTITY_NUMERATOR, _SWISH_DENOMINATOR)}


def _horner(x: torch.Tensor, *coefficients: torch.Tensor) -> torch.Tensor:
    """Sum of coefficients[i] x^i."""
    *lower, value = coefficients
    for c in reversed(lower):
        value = torch.addcmul(c, value, x)
    return value


def _parts(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """P and Q of x `(..., G, C / G)`, numerator `(6,)` and denominator `(G, 4)`."""
    return _horner(x, *a.unbind()), _horner(x, *b.unsqueeze(-1).unbind(1)) * x


def _evaluate(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    p, q = _parts(x, a, b)
    return p / (1 + q.abs())


class _Rational(torch.autograd.Function):
    """P / (1 + |Q|), keeping only x for the backward: Horner's steps would be nine tensors of its size in float32."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, a, b)
        exact = torch.promote_types(x.dtype, torch.float32)
        return _evaluate(x.to(exact), a, b).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        stored, a, b = ctx.saved_tensors
        x = stored.to(torch.promote_types(stored.dtype, torch.float32))
        p, q = _parts(x, a, b)
        scaled = grad.to(x.dtype) / (1 + q.abs())  # d loss / d P
        slope = scaled * -(p / (1 + q.abs())) * q.sign()  # d loss / d Q
        dp = _horner(x, *(i * a[i] for i in range(1, 6)))
        dq = _horner(x, *(i * b[:, i - 1, None] for i in range(1, 5)))
        grad_x = scaled * dp + slope * dq

        grad_a, grad_b = [scaled.sum()], []
        rest = [i for i in range(x.ndim) if i != x.ndim - 2]
        for i in range(1, 6):
            scaled = scaled * x
            grad_a.append(scaled.sum())
            if i < 5:
                slope = slope * x
                grad_b.append(slope.sum(rest))
        return grad_x.to(stored.dtype), torch.stack(grad_a).to(a.dtype), torch.stack(grad_b, dim=1).to(b.dtype)


class RationalActivation(nn.Module):
    """phi(x) = P(x) / (1 + |Q(x)|) with a learned P of degree 5 and a learned Q of degree 4 without constant.

    All channels share P; each group of successive channels has a Q of its own. It is evaluated in float32 (float64 for
    float64) whatever the autocast state, because x^5 leaves the range of half precision at |x| = 9; values and
    gradients are finite up to |x| = 1e6. Source: Kolmogorov-Arnold Transformer (Yang and Wang, arXiv 2409.10594),
    section 4.

    Args:
        channels: channels C, a multiple of ``groups``.
        init: function to start from, ``"identity"`` or ``"swish"``.
        groups: number of groups G.

    Raises:
        ValueError: ``groups`` does not divide ``channels``, or ``init`` is unknown.
    """

    def __init__(self, channels: int, init: str = "swish", groups: int = 8) -> None:
        super().__init__()
        if channels % groups:
            raise ValueError(f"groups={groups} does not divide the {channels} channels.")
        if init not in _COEFFICIENTS:
            raise ValueError(f'init must be "identity" or "swish", got {init!r}.')
        numerator, denominator = _COEFFICIENTS[init]
        self.groups = groups
        self.numerator = nn.Parameter(torch.tensor(numerator))
        self.denominator = nn.Parameter(torch.tensor(denominator).repeat(groups, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(..., C) -> (..., C)``, in the type of x."""
        grouped = x.unflatten(-1, (self.groups, -1))
        if torch.is_grad_enabled() and not torch.jit.is_tracing():
            y = _Rational.apply(grouped, self.numerator, self.denominator)
        else:  # plain operations, which every exporter knows
            exact = grouped.to(torch.promote_types(x.dtype, torch.float32))
            y = _evaluate(exact, self.numerator, self.denominator).to(x.dtype)
        return y.flatten(-2)
