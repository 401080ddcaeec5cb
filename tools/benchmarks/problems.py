"""Selective scans to time: sizes, and inputs spread like those of a trained network."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from monai_mamba.networks.layers.traversal import serpentine_orders, tri_oriented_orders


@dataclass(frozen=True)
class Problem:
    """Sizes of one selective scan over a volume."""

    name: str
    batch: int  # volumes B
    directions: int  # traversals K, 1 to 8
    grid: tuple[int, int, int]  # tokens along the three axes; their product is the length L
    channels: int  # channels E of a direction
    states: int  # states N of a channel

    @property
    def length(self) -> int:
        """Tokens L."""
        return math.prod(self.grid)

    @property
    def updates(self) -> int:
        """State updates: one exponential and two multiply-adds each."""
        return self.batch * self.directions * self.length * self.channels * self.states

    def orders(self, device: torch.device) -> Tensor:
        """Walks through the volume, (K, L): those of SegMamba for three directions, else those of MedSegMamba."""
        beside = torch.empty(0, device=device)
        if self.directions == 3:
            return tri_oriented_orders(self.grid, beside)
        return serpentine_orders(self.grid, 0, beside)[: self.directions]


PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem("W1", 1, 8, (12, 12, 12), 1024, 64),  # a block of the published MedSegMamba, window of 96
        Problem("W1-one-direction", 1, 1, (12, 12, 12), 1024, 64),
        Problem("W1-batch2", 2, 8, (12, 12, 12), 1024, 64),
        Problem("W1-N16", 1, 8, (12, 12, 12), 1024, 16),
        Problem("W2", 1, 1, (48, 48, 48), 96, 16),  # long and thin, as in the first stage of SegMamba
        Problem("W3", 1, 3, (24, 24, 24), 192, 16),  # its second stage
        Problem("small", 1, 8, (6, 6, 6), 128, 16),  # a block of medsegmamba_small, window of 96
    )
}


def parse_problem(text: str) -> Problem:
    """The problem of a command line: a name, or the numbers B,K,H,W,D,E,N."""
    if text in PROBLEMS:
        return PROBLEMS[text]
    numbers = [int(number) for number in text.split(",") if number.strip().isdecimal()]
    if len(numbers) != 7 or text.count(",") != 6 or min(numbers) < 1 or numbers[1] > 8:
        raise argparse.ArgumentTypeError(
            f"problem is {text!r}, expected one of {', '.join(PROBLEMS)} or positive numbers B,K,H,W,D,E,N with K <= 8."
        )
    batch, directions, *grid, channels, states = numbers
    return Problem(text, batch, directions, tuple(grid), channels, states)


def make_inputs(problem: Problem, device: torch.device) -> dict[str, Tensor]:
    """Random inputs in float32, the same at every call; symbols as in `cross_selective_scan`.

    x `(B, L, E)` is one volume that all directions read, delta lies before bias and softplus, and step sizes lie around
    1e-3 .. 1e-1.
    """
    b, k, n_tokens, e, n = problem.batch, problem.directions, problem.length, problem.channels, problem.states
    generator = torch.Generator(device).manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device)

    step = torch.rand((k, e), generator=generator, device=device).mul_(math.log(100)).sub_(math.log(1000)).exp_()
    return {
        "x": normal(b, n_tokens, e),
        "delta": normal(b, k, n_tokens, e).mul_(0.3),
        "A": -torch.arange(1, n + 1, device=device) * normal(k, e, n).mul_(0.3).exp_(),
        "B": normal(b, k, n_tokens, n),
        "C": normal(b, k, n_tokens, n),
        "delta_bias": step + torch.log(-torch.expm1(-step)),  # the inverse of softplus
        "order": problem.orders(device),
    }
