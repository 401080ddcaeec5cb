"""The two ways in which the bundle of the hippocampal subfields divides a hippocampus."""

from __future__ import annotations

import logging

from monai_mamba.errors import InputError
from monai_mamba.labels.tables import LabelTable

SCHEMES = {
    "head_tail": (
        ("hippocampus_head_tail", "hippocampus_crop"),
        "anterior part (head) and posterior part (body and tail) of each hippocampus. It is the default because openly "
        "licensed manual labels, and hence weights that ship, exist for it.",
    ),
    "fs60": (
        ("hippocampus_fs60",),
        "the 12 subfields of FreeSurfer's FS60 on each side. No openly licensed labels exist, so no weights ship: "
        "give your own, or converted ones, with --weights.",
    ),
}

logger = logging.getLogger(__name__)


def check_label_scheme(label_scheme: str, labels: LabelTable) -> None:
    """Say which label scheme is in use and why, and refuse `labels`, the classes of a configuration, of another one.

    Raises:
        InputError: there is no such scheme, or the classes belong to another one.
    """
    if label_scheme not in SCHEMES:
        raise InputError(f"--label_scheme is '{label_scheme}', expected one of: {', '.join(SCHEMES)}.")
    tables, meaning = SCHEMES[label_scheme]
    if all(labels != LabelTable.load(table) for table in tables):
        raise InputError(
            f"--label_scheme is {label_scheme}, but the configuration has the {len(labels)} classes of another one. "
            "A scheme is chosen by its file: add configs/fs60_inference.json or configs/fs60_train.json to "
            "--config_file for fs60, and leave it out for head_tail."
        )
    logger.info("Label scheme %s: %s", label_scheme, meaning)
