"""Folders of FreeSurfer and FastSurfer: one scan a person.

Source: the recon-all pipeline of FreeSurfer 7, which writes `SUBJECTS_DIR/NAME/mri/*.mgz`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

# In this order: the whole head before the brain alone, the conformed grid before that of the scanner.
VOLUMES = ("orig", "T1", "nu", "rawavg", "norm", "brain")
PARTS = {"bem", "dmri", "label", "mri", "scripts", "stats", "surf", "tmp", "touch", "trash"}
TEMPLATES = re.compile(r"fsaverage.*|cvs_avg35.*|[lr]h\.EC_average|V1_average")


def subject_of(path: Path) -> Path | None:
    """The folder of the subject that a file shows, if it is `SUBJECT/mri/orig.mgz` or another of `VOLUMES`."""
    path = path.absolute()
    return path.parent.parent if path.parent.name == "mri" and path.suffix == ".mgz" and path.stem in VOLUMES else None


def beside_scans_of_subjects(files: Iterable[Path]) -> dict[Path, str]:
    """Images that are not the one of their subject, which is the first of `VOLUMES` that is there; and what they are.

    Files outside of the folders of subjects are not among them.
    """
    files = list(files)
    best: dict[Path, Path] = {}
    for path in files:
        if subject := subject_of(path):
            best[subject] = min(best.get(subject, path), path, key=lambda volume: VOLUMES.index(volume.stem))
    beside = {}
    for path in files:
        place = path.absolute()
        subject = next((folder for folder in place.parents if folder in best), None)
        if subject is None or place.relative_to(subject).parts[0] not in PARTS:
            continue
        if TEMPLATES.fullmatch(subject.name):
            beside[path] = "in a template of FreeSurfer"
        elif best[subject] != path:
            beside[path] = "beside the scan of a FreeSurfer subject"
    return beside
