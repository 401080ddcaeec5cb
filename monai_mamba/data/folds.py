"""Cross-validation with folds that are written down."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from monai_mamba.errors import InputError
from monai_mamba.files import user_path

ALL = "all"

logger = logging.getLogger(__name__)

Pairs = list[dict[str, str]]


def split_folds(pairs: Sequence[dict[str, str]], folds_file: str | Path, fold: int | str) -> tuple[Pairs, Pairs]:
    """Divide what `find_pairs` returned into training pairs and validation pairs.

    Args:
        pairs: `subject` is the name of the case.
        folds_file: JSON file whose entry `folds` is a list of lists of case names, those of one person together. Cases
            that it does not name are in neither set.
        fold: number of the fold to validate on, from 0; or `"all"` to train on every pair, whether the file names it or
            not, and validate on none.

    Raises:
        InputError: the file is no such file, a case is in several folds, there is no such fold, or a set is empty.
    """
    if fold == ALL:
        return list(pairs), []
    try:
        folds = [set(cases) for cases in json.loads(user_path(folds_file).read_text(encoding="utf-8"))["folds"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folds_file}: not a JSON file with the entry 'folds', a list of lists of case names ({error}). Give one "
            "with --folds, or train on all cases with --fold all."
        ) from error
    if twice := [case for case, count in Counter(case for cases in folds for case in cases).items() if count > 1]:
        raise InputError(f"{folds_file}: {twice[0]} is in several folds. Put every case into one.")
    if not isinstance(fold, int) or isinstance(fold, bool) or not 0 <= fold < len(folds):
        raise InputError(f"--fold is {fold}, expected a number from 0 to {len(folds) - 1} or 'all'.")
    training = [pair for pair in pairs if any(pair["subject"] in cases for i, cases in enumerate(folds) if i != fold)]
    validation = [pair for pair in pairs if pair["subject"] in folds[fold]]
    if not training or not validation:
        raise InputError(
            f"{folds_file}: of the {len(pairs)} cases found, {len(training)} are for training and {len(validation)} in "
            f"fold {fold}; expected some of both. Give the folds of your own cases with --folds, or train on all of "
            "them with --fold all."
        )
    left_out = len(pairs) - len(training) - len(validation)
    if left_out:
        logger.info("%d of %d cases are in no fold of %s and left out.", left_out, len(pairs), folds_file)
    return training, validation
