"""Mixed precision on any device."""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers import SimpleInferer
from torch.utils._pytree import tree_map

__all__ = ["AutocastInferer"]

SMALLEST_WINDOW = 48  # divided by 16, the usual stride of the deepest layers, this leaves 3 voxels


class AutocastInferer(SimpleInferer):
    """Run the network in bfloat16 on the device of its input; MONAI's trainers know autocast on CUDA only.

    On a CPU, windows with a side below 48 voxels are computed in float32: over grids of 1 or 2 voxels, to which
    networks reduce them, oneDNN 3.12 (PyTorch 2.13) returns wrong bfloat16 gradients of convolutions, sometimes NaN.

    Args:
        amp: False runs in the precision of the network.
    """

    def __init__(self, amp: bool = True) -> None:
        super().__init__()
        self.amp = amp

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> Any:
        """``network(inputs)``, its tensors in float32, also in the lists, tuples and dictionaries of several scales."""
        too_small = inputs.device.type == "cpu" and min(inputs.shape[2:], default=SMALLEST_WINDOW) < SMALLEST_WINDOW
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=self.amp and not too_small):
            output = super().__call__(inputs, network, *args, **kwargs)
        return tree_map(_to_float32, output)  # a loss summed in bfloat16 cannot see small structures


def _to_float32(output: Any) -> Any:
    return output.float() if isinstance(output, torch.Tensor) else output
