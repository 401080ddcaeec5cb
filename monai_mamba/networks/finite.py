"""NaN and infinity in what a network computes, and the layer where they begin."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.utils._pytree import tree_leaves


def title(name: str, layer: nn.Module) -> str:
    """A layer by its name in `named_modules` and its type."""
    return f"layer '{name}' ({type(layer).__name__})" if name else f"the network ({type(layer).__name__}) itself"


def is_finite(values: object) -> bool:
    """Whether all tensors in a tensor, list, tuple or dictionary are finite."""
    return all(_finite_tensor(leaf) for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor))


def _finite_tensor(values: torch.Tensor) -> bool:
    if not values.is_floating_point():
        return True
    # NaN and infinity survive a sum, which is much cheaper than a look at each element.
    return bool(values.sum(dtype=torch.float32).isfinite()) or bool(values.isfinite().all())


def first_not_finite(network: Callable[..., object], run: Callable[[], object]) -> str:
    """Run a network once and say which of its layers is the first whose output is NaN or infinite.

    Args:
        network: its layers are watched, if it is a module.
        run: runs it.

    Returns:
        A clause that names the layer, innermost first, or says that there was none this time.
    """
    if not isinstance(network, nn.Module):
        return "its layers are not known"
    found: list[str] = []

    def watch(name: str) -> Callable[..., None]:
        def look(layer: nn.Module, args: tuple, kwargs: dict, output: object) -> None:
            if found or is_finite(output):
                return
            begins = "the output" if is_finite((args, kwargs)) else "already the input"
            found.append(f"{begins} of {title(name, layer)} is the first that is not finite")

        return look

    hooks = [layer.register_forward_hook(watch(name), with_kwargs=True) for name, layer in network.named_modules()]
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else "run a second time, every layer's output was finite"
