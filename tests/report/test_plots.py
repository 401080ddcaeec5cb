"""The drawings of the report."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

from monai_mamba.report.page import ENVIRONMENT

PLOTS = ENVIRONMENT.get_template("plots.html.j2").module


def test_a_square_has_the_color_of_its_structure():
    assert 'fill="rgb(10, 11, 12)"' in PLOTS.swatch((10, 11, 12, 255))
    assert PLOTS.swatch(None) == ""


def test_the_bar_of_an_asymmetry_points_to_the_larger_side_and_is_full_at_30_percent():
    def bar(value: float) -> tuple[float, float]:
        left, length = re.search(
            r'class="bar" x="([\d.]+)" y="2" width="([\d.]+)"', PLOTS.asymmetry_bar(value)
        ).groups()
        return float(left), float(length)

    half = 36
    assert bar(15) == (half / 2, half / 2)
    assert bar(-15) == (half, half / 2)
    assert bar(60) == bar(30) == (0, half)
    assert PLOTS.asymmetry_bar(None) == ""
    ElementTree.fromstring(str(PLOTS.asymmetry_bar(3.0)))
