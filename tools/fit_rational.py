"""Fit the coefficients of the rational activations and print them as they stand in the package.

    python tools/fit_rational.py

A rational activation is P(x) / (1 + |Q(x)|) with P of degree 5 and Q of degree 4 without constant. The least-squares
fit on an even grid gives the constants of `monai_mamba/networks/layers/rational.py`; the gain beside them is
1 / E[phi(x)^2] for x ~ N(0, 1). The printed errors are the largest on the grid.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import least_squares

INTERVAL = 6.0
POINTS = 2001


def swish(x: np.ndarray) -> np.ndarray:
    """x sigmoid(x)."""
    return x / (1 + np.exp(-x))


def rational(x: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """P(x) / (1 + |Q(x)|) for the 6 coefficients of P and the 4 of Q, lowest power first."""
    powers = np.vander(x, 6, increasing=True)
    return powers @ coefficients[:6] / (1 + np.abs(powers[:, 1:5] @ coefficients[6:]))


def fit(function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Coefficients of the rational function nearest to a function on [-6, 6], in the mean square.

    Multiplied by its denominator the problem is linear, and repeating that with the errors divided by the last
    denominator comes near the solution; Levenberg-Marquardt does the rest.

    Args:
        function: maps an array of numbers to an array of values.

    Returns:
        ``(10,)``: 6 coefficients of P, then 4 of Q, lowest power first.
    """
    x = np.linspace(-INTERVAL, INTERVAL, POINTS)
    y = function(x)
    powers = np.vander(x, 6, increasing=True)
    system = np.hstack([powers, -y[:, None] * powers[:, 1:5]])
    denominator = np.ones_like(x)
    for _ in range(10):
        coefficients = np.linalg.lstsq(system / denominator[:, None], y / denominator, rcond=None)[0]
        denominator = 1 + np.abs(powers[:, 1:5] @ coefficients[6:])
    scale = np.maximum(np.abs(coefficients), 1e-6)
    return least_squares(
        lambda c: rational(x, c) - y, coefficients, x_scale=scale, method="lm", ftol=1e-15, xtol=1e-15, gtol=1e-15
    ).x


def gain(coefficients: np.ndarray) -> float:
    """1 / E[phi(x)^2] of a rational function for standard normal x."""
    x, weights = np.polynomial.hermite_e.hermegauss(100)
    return float(weights.sum() / (weights @ rational(x, coefficients) ** 2))


def main() -> None:
    """Print numerator, denominator, gain and largest error."""
    x = np.linspace(-INTERVAL, INTERVAL, POINTS)
    coefficients = fit(swish)
    print("numerator:  ", ", ".join(f"{c:.7g}" for c in coefficients[:6]))
    print("denominator:", ", ".join(f"{c:.7g}" for c in coefficients[6:]))
    print(f"gain: {gain(coefficients):.5f}")
    print(f"largest error on [-{INTERVAL:g}, {INTERVAL:g}]: {np.abs(rational(x, coefficients) - swish(x)).max():.2e}")


if __name__ == "__main__":
    main()
