"""Label maps that come with scans, so that their structures need not be found again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monai_mamba.data.content import check_sources
from monai_mamba.data.image_header import check_header
from monai_mamba.data.scans import RESULTS
from monai_mamba.errors import InputError
from monai_mamba.files import user_path


def add_asegs(scans: Sequence[dict], aseg: str | Path | None, output_dir: str | Path, task: str) -> list[dict]:
    """Give scans the label maps that say where their structures are.

    Args:
        scans: what `find_scans` returned.
        aseg: a label map in FreeSurfer ids for the one scan; or the folder with the results of `task` for the same
            `input`; or None, which changes nothing.
        output_dir: as given to `find_scans`.
        task: of the bundle that made the results, see `find_scans`.

    Returns:
        The scans with their label maps as `aseg`; those without one get a `problem`, unless they are finished.

    Raises:
        InputError: the label map cannot be read, is of another scan by its header, or is one file for several; or no
            scan has one.
    """
    if aseg is None:
        return list(scans)
    source = user_path(aseg)
    if not source.is_dir():
        if not source.exists():
            raise InputError(f"{source}: there is no such file or folder. Check the path given with --aseg.")
        if len(scans) > 1:
            raise InputError(
                f"{source}: one label map for {len(scans)} scans. Set --aseg to the folder with the {task} "
                "results for the same input, or segment the scans one by one."
            )
        for scan in scans:
            _check(source, scan)
        return [{**scan, "aseg": str(source)} for scan in scans]
    result = []
    for scan in scans:
        if "finished" in scan:
            result.append(scan)
            continue
        output = Path(scan["output"]).relative_to(user_path(output_dir))
        name = f"{output.name.rpartition('_desc-')[0]}_desc-{task}{RESULTS['labels']}"
        path = source / output.parent / name
        scan = {**scan, "aseg": str(path)}
        try:
            _check(path, scan)
        except InputError as error:
            scan.setdefault("problem", f"{scan['image']}: its label map cannot be used. {error}")
        result.append(scan)
    problems = [scan["problem"] for scan in result if "problem" in scan]
    if problems and len(problems) == len(result):
        raise InputError("\n".join(problems))
    return result


def _check(path: Path, scan: dict) -> None:
    check_header(path)
    if "problem" not in scan:
        check_sources(path, scan["image"], "Give that of this scan with --aseg, or leave the option out.")
