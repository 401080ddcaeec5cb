"""The values of a cohort as a small drawing, in SVG without a style of its own: the page gives its classes colors."""

from __future__ import annotations

from markupsafe import Markup

from monai_mamba.report.statistics import Measure

WIDTH, HEIGHT, MARGIN = 180, 18, 5


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
