"""Where NaN and infinity begin in a network."""

from __future__ import annotations

import torch
from torch import nn

from monai_mamba.networks.finite import first_not_finite, is_finite


def test_tensors_in_containers_are_looked_at_and_integers_are_finite():
    assert is_finite({"a": [torch.ones(2), torch.tensor(3)], "b": (None, "text")})
    assert not is_finite({"a": [torch.ones(2), torch.tensor([1.0, torch.nan])]})
    assert is_finite(torch.full((2,), 3e38))  # the sum is infinite, the elements are not


def test_values_that_a_module_makes_between_its_layers_are_attributed_to_the_layer_that_receives_them():
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x.log())

    outer = Outer()
    found = first_not_finite(outer, lambda: outer(-torch.ones(1)))
    assert found == "already the input of layer 'inner' (Identity) is the first that is not finite"
    assert "every layer's output was finite" in first_not_finite(outer, lambda: outer(torch.ones(1)))
    assert not outer.inner._forward_hooks
