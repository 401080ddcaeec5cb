"""The selective scan written down step by step, for reading and for checking the fast implementations."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .problem import ScanInputs


def reference_scan(inputs: ScanInputs) -> tuple[Tensor, Tensor]:
    """Selective scan, one token at a time; differentiable by autograd, and slow.

    Returns:
        y, (B, L, E) if ``merge`` else (B, K, L, E), and the last state, (B, K, E, N), both in the compute type.
    """
    order, directions = inputs.order, inputs.delta.shape[1]
    with torch.autocast(inputs.u.device.type, enabled=False):
        u, delta, A, B, C, bias = inputs.to(inputs.dtype).tensors
        if bias is not None:
            delta = delta + bias[:, None, :]
        if inputs.delta_softplus:
            delta = softplus(delta)
        u = u.expand(delta.shape)
        if order is not None:
            direction, order = torch.arange(directions, device=u.device)[:, None], order.long()
            u, delta, B, C = (tensor[:, direction, order] for tensor in (u, delta, B, C))

        state = u.new_zeros(inputs.state_shape)
        outputs = []
        for u_t, delta_t, B_t, C_t in zip(*(tensor.unbind(2) for tensor in (u, delta, B, C)), strict=True):
            decay = torch.exp(delta_t[..., None] * A)
            state = decay * state + (delta_t * u_t)[..., None] * B_t[..., None, :]
            outputs.append((state * C_t[..., None, :]).sum(-1))
        y = torch.stack(outputs, dim=2)

        if order is not None:
            y = y[:, direction, order.argsort(dim=1)]
        return (y.sum(1) if inputs.merge else y), state
