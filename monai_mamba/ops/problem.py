"""A selective scan as one value, and what an implementation makes of it.

Shapes used in this package (channels last; a direction is one traversal of the volume, or one B/C group):

| symbol     | shape                      | meaning                                                            |
| ---------- | -------------------------- | ------------------------------------------------------------------ |
| u          | (B, K, L, E), (B, 1, L, E) | input, one per direction or shared by all                          |
| delta      | (B, K, L, E)               | step size, before bias and softplus                                |
| A          | (K, E, N)                  | state matrix, diagonal, negative for a decaying memory             |
| B, C       | (B, K, L, N)               | input and output matrices, one per token                           |
| delta_bias | (K, E)                     | added to delta                                                     |
| order      | (K, L)                     | step t of direction k reads and writes token order[k, t]           |
| state      | (B, K, E, N)               | h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t, h_{-1} = 0         |
| y          | (B, K, L, E), (B, L, E)    | y_t = C_t . h_t, per direction or summed over the directions       |

Source: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023, equations 1-2 and
algorithm 2 (S6), with the discretization of the published implementation: exp(delta A) for A, delta B for B.

An implementation has two functions. ``forward(inputs, save)`` returns y, the last state, and what the backward needs
(empty unless ``save``). ``backward(grads, saved, inputs)`` takes the gradients of y and of the last state, or None for
the latter, and returns what `ScanInputs.gradients` makes. A third, ``saved_shape(delta, states)``, says the shape of
what the forward keeps.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

LOG2_E = math.log2(math.e)

Results = tuple[Tensor, Tensor, Tensor]
ResultGradients = tuple[Tensor, Tensor | None]
Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


class ScanInputs(NamedTuple):
    """What a scan reads, see the table above; `delta_softplus` passes delta + delta_bias through softplus.

    `order` is a permutation of the tokens per direction, or None for the order they come in. `merge` sums y over the
    directions.
    """

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    delta_bias: Tensor | None
    order: Tensor | None
    delta_softplus: bool
    merge: bool

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """What a gradient may flow to."""
        return (self.u, self.delta, self.A, self.B, self.C, self.delta_bias)

    @property
    def states(self) -> int:
        """Number of states N."""
        return self.A.shape[-1]

    @property
    def dtype(self) -> torch.dtype:
        """Type of the state and of all sums: float64 for float64 input, float32 for everything else."""
        return torch.float64 if self.u.dtype == torch.float64 else torch.float32

    @property
    def y_shape(self) -> tuple[int, ...]:
        """Shape of y."""
        batch, directions, length, channels = self.delta.shape
        return (batch, length, channels) if self.merge else (batch, directions, length, channels)

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of the state."""
        batch, directions, _, channels = self.delta.shape
        return (batch, directions, channels, self.states)

    def to(self, dtype: torch.dtype) -> ScanInputs:
        """The same problem with all tensors but the order in a type."""
        tensors = (None if tensor is None else tensor.to(dtype) for tensor in self.tensors)
        return ScanInputs(*tensors, self.order, self.delta_softplus, self.merge)

    def gradients(
        self, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, delta_bias: Tensor | None
    ) -> Gradients:
        """Gradients in the types of the inputs.

        That of u is summed over the directions if they share it; that of delta_bias is zero if there is none.
        """
        if u.shape[1] != self.u.shape[1]:
            u = u.sum(1, keepdim=True)
        if self.delta_bias is None:
            delta_bias = self.A.new_zeros(self.A.shape[:2])
        else:
            delta_bias = delta_bias.to(self.delta_bias.dtype)
        grads = zip((u, delta, A, B, C), self.tensors[:5], strict=True)
        return (*(grad.to(tensor.dtype) for grad, tensor in grads), delta_bias)
