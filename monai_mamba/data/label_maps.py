"""Label maps to make training images from."""

from __future__ import annotations

from pathlib import Path

from monai_mamba.data.image_header import IMAGE_SUFFIXES
from monai_mamba.data.scans import is_image
from monai_mamba.errors import InputError
from monai_mamba.files import user_path


def find_label_maps(dataset_dir: str | Path) -> list[str]:
    """List the label maps of whole heads (see `IMAGE_SUFFIXES`) in a folder by name.

    Raises:
        InputError: no such folder, or no label map in it.
    """
    root = user_path(dataset_dir)
    files = sorted(map(str, filter(is_image, root.glob("*"))))
    if not files:
        found = f"no file in it ends in {', '.join(IMAGE_SUFFIXES)}" if root.is_dir() else "there is no such folder"
        raise InputError(f"{root}: {found}. Set dataset_dir to a folder with label maps of whole heads.")
    return files
