"""The drawings of the report."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

from monai_mamba.report.page import ENVIRONMENT
from monai_mamba.report.statistics import Measure, reference_of

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


def test_the_values_of_a_cohort_are_dots_beside_the_band_of_what_is_usual():
    values = [*(float(value) for value in range(100, 120)), None, 200.0]
    drawing = str(
        PLOTS.strip(Measure("CSF", "asymmetry", "%", (24,), tuple(values), reference_of(values, "asymmetry")))
    )
    ElementTree.fromstring(drawing)
    usual, marked = (re.search(rf'class="{name}" d="([^"]*)"', drawing).group(1) for name in ("dots", "dots out"))
    assert usual.count("M") == 20
    assert marked == "M175.0 9h0"  # the largest value of all, at the right end
    start, width = map(float, re.search(r'class="band" x="([\d.]+)" y="2" width="([\d.]+)"', drawing).groups())
    median = float(re.search(r'class="axis" d="M([\d.]+) 2', drawing).group(1))
    assert 5 <= start < median < start + width < 175
    few = str(PLOTS.strip(Measure("CSF", "volume", "mm³", (24,), (3.0,), None)))
    assert "band" not in few
    assert 'd="M90.0 9h0"' in few  # one value is in the middle
