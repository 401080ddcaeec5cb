"""Scans that are no plain T1-weighted scan of a person, as far as their names and headers say so.

Source: Brain Imaging Data Structure 1.10.0, entities `ce` and `space`, suffixes, and standard template identifiers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SCALED = "if it was scaled to that, volumes are not the person's"
NAMES = {
    r"(space-(?:fs|ICBM|IXI|MNI|NIHPD|OASIS|Talairach|UNC)[^_.]*)": f"in the space of a template: {SCALED}",
    r"[_-](ce-[^_.]+|(?i:t1ce|t1c|t1gd)(?=\.))": "with a contrast agent, for which the bundles are not made",
    r"[_-]((?i:T2w?|T2f|FLAIR|PDw?|PDT2|T2starw|inplaneT2|angio|T[12]map|bold|dwi|asl)(?=\.))": "no T1-weighted scan",
}
TEMPLATE_CODES = {3: "Talairach", 4: "MNI152"}  # of sform and qform in NIfTI headers


def doubts_by_name(meta: Mapping[str, Any]) -> list[str]:
    """What name and header of a scan say that makes its results doubtful.

    Args:
        meta: meta data of the image, with `filename_or_obj` and, from a NIfTI file, the codes of its header.
    """
    name = Path(str(meta.get("filename_or_obj", ""))).name
    found = {pattern: re.search(pattern, name) for pattern in NAMES}
    doubts = [f"by its name ({match[1]}) {NAMES[pattern]}" for pattern, match in found.items() if match]
    sform, qform = (int(meta.get(code, 0)) for code in ("sform_code", "qform_code"))
    template = TEMPLATE_CODES.get(sform or qform)
    if template and not any("space-" in doubt for doubt in doubts):
        doubts.append(f"by its header in the space of a template ({template}): {SCALED}")
    return doubts
