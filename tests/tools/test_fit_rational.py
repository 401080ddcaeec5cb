"""The constants of the rational activations are what the fit gives."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from monai_mamba.networks.layers.rational import SWISH_GAIN, RationalActivation

TOOL = Path(__file__).resolve().parents[2] / "tools" / "fit_rational.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("fit_rational", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_refitting_gives_the_constants(tool):
    coefficients = tool.fit(tool.swish)
    activation = RationalActivation(1, groups=1)
    np.testing.assert_allclose(activation.numerator.detach(), coefficients[:6], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(activation.denominator.detach()[0], coefficients[6:], rtol=1e-5, atol=1e-7)
    assert tool.gain(coefficients) == pytest.approx(SWISH_GAIN, abs=1e-5)


def test_a_rational_function_is_fitted_exactly(tool):
    truth = np.array([0.5, -1, 0.3, 0.2, -0.1, 0.02, 0.1, 0.3, 0.05, 0.04])
    x = np.linspace(-6, 6, 50)
    fitted = tool.rational(x, tool.fit(lambda t: tool.rational(t, truth)))
    np.testing.assert_allclose(fitted, tool.rational(x, truth), rtol=0, atol=1e-6)


def test_output_names_the_constants(tool, capsys):
    tool.main()
    lines = capsys.readouterr().out.splitlines()
    assert "0.2497785" in lines[0]
    assert lines[2] == f"gain: {SWISH_GAIN}"
    assert float(lines[3].rpartition(" ")[2]) == pytest.approx(2.13e-4, rel=0.01)
