"""Mixed precision on any device."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from monai.inferers import SimpleInferer
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from monai_mamba.inferers.halved_convolutions import HalvedConvolutions


class AutocastInferer(SimpleInferer):
    """Run the network in bfloat16 where the device of its input computes in it; MONAI's trainers know CUDA only.

    On a CPU, PyTorch 2.13 computes wrong bfloat16 gradients of two kinds of layers, which stay in float32: convolutions
    whose kernel is larger than their volume, such as one of 3 x 3 x 3 over a grid of 2 x 2 x 2 (oneDNN 3.12 returns
    something else each time, sometimes NaN), and layer normalization, whose gradients of weight and bias are summed
    over the tokens in bfloat16 (6,144 tokens: 8 to 66 % off). In float32, a CPU computes `HalvedConvolutions`.

    Args:
        amp: False runs in the precision of the network.
    """

    def __init__(self, amp: bool = True) -> None:
        super().__init__()
        self.amp = amp

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> Any:
        """``network(inputs)``, its tensors in float32, also in the lists, tuples and dictionaries of several scales."""
        device = inputs.device.type
        amp = self.amp and has_native_bfloat16(inputs.device)
        layers: AbstractContextManager = nullcontext()
        if device == "cpu":
            layers = _SafeLayers() if amp else HalvedConvolutions()
        with torch.autocast(device, dtype=torch.bfloat16, enabled=amp), layers:
            output = super().__call__(inputs, network, *args, **kwargs)
        return tree_map(_to_float32, output)  # a loss summed in bfloat16 cannot see small structures


class _SafeLayers(TorchFunctionMode):
    """Computes layers in float32 whose gradients are wrong in bfloat16."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not torch.is_autocast_enabled("cpu") or not _is_wrong(func, args, kwargs):
            return func(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            result = func(*tree_map(_to_float32, args), **tree_map(_to_float32, kwargs))
        return result.to(torch.get_autocast_dtype("cpu"))  # what other layers expect


def _is_wrong(func: Callable, args: tuple, kwargs: dict[str, Any]) -> bool:
    given = dict(zip(("input", "weight"), args, strict=False)) | kwargs
    if func is functional.layer_norm:
        return given["input"].dtype == torch.bfloat16
    if func is not functional.conv3d:
        return False
    sizes = zip(given["weight"].shape[-3:], given["input"].shape[-3:], strict=True)
    return any(width > size for width, size in sizes)


def _to_float32(output: Any) -> Any:
    return output.float() if isinstance(output, torch.Tensor) else output


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16 itself; emulated, it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    emulated = torch.cpu._is_avx512_supported() and not torch.cpu._is_avx512_bf16_supported()
    return torch.ops.mkldnn._is_mkldnn_bf16_supported() and not emulated
