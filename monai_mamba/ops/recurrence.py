"""The linear recurrence at the heart of the scan, in place."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor

BUSY_ELEMENTS = 1 << 14  # of one step on a CPU: from here on computing costs more than starting the operation
BUSY_ELEMENTS_ACCELERATOR = 1 << 20  # the same where starting an operation means launching a kernel


def recur(factors: Tensor, values: Tensor, start: Tensor | None, reverse: bool = False) -> None:
    """Add factors_t * values_{t-1} to values_t, one t after the other (values_{t+1}, from the last on, if ``reverse``).

    A step that is too small to be worth its own operation is done for several segments of the sequence side by side,
    as if each began with zero; then every segment receives what the one before hands on, damped by the product of the
    factors so far.

    Args:
        factors: (T, ...).
        values: (T, ...), changed in place.
        start: (...) the value before the first, or None for zero.
        reverse: run from the last to the first.
    """
    length = len(values)
    count = segment_count(length, values[0].numel(), values.device.type) if length else 1
    if count == 1:
        _chain(factors.unbind(0), values.unbind(0), start, reverse)
        return
    steps = length // count
    rest = length - count * steps
    body = slice(rest, None) if reverse else slice(length - rest)
    remainder = slice(rest) if reverse else slice(length - rest, None)
    value = values[body].unflatten(0, (count, steps))
    product = factors[body].unflatten(0, (count, steps)).clone()

    one_way = slice(None, None, -1 if reverse else 1)
    value_steps, product_steps = value.unbind(1)[one_way], product.unbind(1)[one_way]
    for t in range(1, steps):
        value_steps[t].addcmul_(product_steps[t], value_steps[t - 1])
        product_steps[t].mul_(product_steps[t - 1])
    ends = value_steps[-1]
    _chain(product_steps[-1].unbind(0), ends.unbind(0), start, reverse)

    inner = slice(1, None) if reverse else slice(steps - 1)
    first, later, before = (count - 1, slice(count - 1), slice(1, None)) if reverse else (0, slice(1, None), slice(-1))
    value[later, inner].addcmul_(product[later, inner], ends[before].unsqueeze(1))
    if start is not None:
        value[first, inner].addcmul_(product[first, inner], start)
    _chain(factors[remainder].unbind(0), values[remainder].unbind(0), ends[0 if reverse else -1], reverse)


def segment_count(length: int, elements: int, device_type: str) -> int:
    """Number of segments to do side by side, for so many elements a step; 1 where segments do not pay.

    S segments of T / S steps take 2 T / S + S operations, fewest at S = sqrt(2 T). More segments than fill a step gain
    nothing, and neither do fewer than four.
    """
    busy = BUSY_ELEMENTS if device_type == "cpu" else BUSY_ELEMENTS_ACCELERATOR
    count = min(busy // elements, math.isqrt(2 * length), length // 2)
    return count if count >= 4 else 1


def _chain(factors: Iterable[Tensor], values: Iterable[Tensor], start: Tensor | None, reverse: bool) -> None:
    steps = list(zip(factors, values, strict=True))
    for factor, value in reversed(steps) if reverse else steps:
        if start is not None:
            value.addcmul_(factor, start)
        start = value
