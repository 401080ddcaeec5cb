"""Muon for the linear maps of a network, kernels of convolutions among them, and AdamW for everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from monai_mamba.errors import InputError

# of the quintic a x + b x^3 + c x^5, which five times over brings every singular value from (0, 1] near 1
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


class MuonAdamW(Optimizer):
    """Update every linear map by an orthogonal matrix near to its momentum, and other parameters as AdamW does.

    ``torch.optim.Muon`` takes matrices only. Here a kernel ``(out, in, ...)`` counts as a matrix of ``out`` rows, and
    one of three axes (``x_proj_weight`` of the Mamba layers) as a stack of matrices. Maps are the parameters with two
    axes or more whose name ends with ``weight``, except kernels of one input channel, as depthwise ones are; state
    matrices, biases, norms and position embeddings are not. Steps of maps are scaled to the size that those of AdamW
    have: one learning rate serves both.

    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024 (orthogonalization and
    momentum); Liu et al., "Muon is scalable for LLM training", arXiv 2502.16982, section 2.2 (weight decay, scale).

    Args:
        network: whose parameters are trained.
        lr: learning rate, >= 0.
        weight_decay: share of a parameter, times ``lr``, that a step takes away, >= 0.
        momentum: of the maps, in [0, 1).
        betas: of AdamW, each in [0, 1).

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(
        self,
        network: nn.Module,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        if not (lr >= 0 and weight_decay >= 0 and all(0 <= decay < 1 for decay in (momentum, *betas))):
            raise InputError(
                f"MuonAdamW: lr is {lr}, weight_decay {weight_decay}, momentum {momentum}, betas {betas}; expected "
                "none below 0, and momentum and betas below 1."
            )
        maps, others = [], []
        for name, parameter in network.named_parameters():
            (maps if _is_map(name, parameter) else others).append(parameter)
        groups = [{"params": maps, "map": True}, {"params": others, "map": False}]
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "betas": betas}
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            update = self._muon if group["map"] else self._adam
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update(parameter, group), alpha=-group["lr"])
        return loss

    def _muon(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
        matrices = parameter.grad.lerp(state["momentum"], group["momentum"])
        if matrices.ndim > 3:
            matrices = matrices.flatten(1)
        direction = orthogonalize(matrices) * (0.2 * max(matrices.shape[-2:]) ** 0.5)
        return direction.view_as(parameter)

    def _adam(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[parameter]
        if not state:
            state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        state["step"] += 1
        first, second = group["betas"]
        state["mean"].lerp_(parameter.grad, 1 - first)
        state["square"].lerp_(parameter.grad.square(), 1 - second)
        size = (state["square"] / (1 - second ** state["step"])).sqrt_().add_(1e-8)
        return (state["mean"] / (1 - first ** state["step"])).div_(size)


def orthogonalize(matrices: Tensor) -> Tensor:
    """The orthogonal factor of matrices ``(..., N, M)``, roughly: singular values come out between 0.7 and 1.2."""
    wide = matrices.shape[-2] <= matrices.shape[-1]
    # few processors compute in bfloat16: on others it would take half of a training step
    x = (matrices if wide else matrices.mT).to(torch.bfloat16 if matrices.is_cuda else torch.float32)
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    a, b, c = QUINTIC
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.mT).to(matrices.dtype)


def _is_map(name: str, parameter: Tensor) -> bool:
    return name.endswith("weight") and parameter.ndim >= 2 and parameter.shape[1] > 1
