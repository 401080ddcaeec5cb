"""Small drawings for tables, as SVG without any style of its own: the classes get their colors from the page."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from monai_mamba.report.statistics import Measure

WIDTH, HEIGHT, MARGIN = 180, 18, 5
MAX_ASYMMETRY = 30.0  # percent at the ends of the bar; more is drawn as this


def swatch(color: Sequence[int] | None) -> Markup:
    """A square in the color of a structure: red, green, blue, 0..255; nothing without a color."""
    if color is None:
        return Markup("")
    shade = "#" + "".join(f"{part:02x}" for part in color[:3])
    return Markup(
        '<svg class="swatch" width="10" height="10" aria-hidden="true"><rect width="10" height="10" fill="{}"/></svg>'
    ).format(shade)


def asymmetry_bar(value: float | None) -> Markup:
    """A bar from the middle towards the larger side, for a percentage; it is full at 30 %."""
    if value is None:
        return Markup("")
    half = WIDTH / 5
    length = min(abs(value), MAX_ASYMMETRY) / MAX_ASYMMETRY * half
    left = half - length if value > 0 else half
    return Markup(
        '<svg class="plot" width="{0}" height="10" aria-hidden="true"><path class="axis" d="M{1} 0V10"/>'
        '<rect class="bar" x="{2:.1f}" y="2" width="{3:.1f}" height="6"/></svg>'
    ).format(2 * half, half, left, length)


def strip(measure: Measure) -> Markup:
    """The values of a cohort on a line, with the usual range as a band, the median as a tick and outliers set off."""
    known = [(value, scan) for scan, value in enumerate(measure.values) if value is not None]
    if not known:
        return Markup("")
    values = [value for value, _ in known]
    reference = measure.reference
    ends = values + ([reference.low, reference.high] if reference else [])
    low, high = min(ends), max(ends)
    scale = (WIDTH - 2 * MARGIN) / (high - low) if high > low else 0.0

    def x(value: float) -> float:
        return MARGIN + (value - low) * scale if scale else WIDTH / 2

    parts = [Markup('<svg class="plot" width="{}" height="{}" aria-hidden="true">').format(WIDTH, HEIGHT)]
    if reference:
        start, end = x(reference.low), x(reference.high)
        parts.append(
            Markup('<rect class="band" x="{:.1f}" y="2" width="{:.1f}" height="{}"/>').format(
                start, end - start, HEIGHT - 4
            )
        )
        parts.append(Markup('<path class="axis" d="M{:.1f} 2V{}"/>').format(x(reference.median), HEIGHT - 2))
    for name, wanted in (("dots", False), ("dots out", True)):
        # A line without length and with round ends is a dot: one path is much smaller than a circle for each scan.
        dots = "".join(
            f"M{x(value):.1f} {HEIGHT // 2}h0" for value, scan in known if measure.is_outlier(scan) == wanted
        )
        if dots:
            parts.append(Markup('<path class="{}" d="{}"/>').format(name, dots))
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)
