"""MONAI's way to images, with files that are read whole and verified."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import NibabelReader
from monai.utils import ensure_tuple

from monai_mamba.data.geometry import check_geometry
from monai_mamba.data.image_file import checksum_of, parse_image, read_content, stored_scale


class VerifyingNibabelReader(NibabelReader):
    """MONAI's `NibabelReader` for files that are read as `read_image` does; for `LoadImaged(reader=...)`.

    The affine is nibabel's (see `geometry`). The meta data of the first file also hold `checksum`, see `read_image`;
    `geometry_warning`, see `check_geometry`; and `scl_slope`, see `stored_scale`.
    """

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> tuple[PathLike, ...]:
        """Return the names: `LoadImage` hides the errors of this method, and those of `get_data` it does not."""
        self.filenames = ensure_tuple(data)
        return self.filenames

    def get_data(self, img: Sequence[PathLike]) -> tuple[np.ndarray, dict]:
        """Read the files; see `NibabelReader.get_data`.

        Raises:
            InputError: see `read_image`.
        """
        contents = [read_content(name) for name in img]
        images = [parse_image(name, content) for name, content in zip(img, contents, strict=True)]
        voxels, meta = super().get_data(images)
        return voxels, meta | {
            "checksum": checksum_of(contents[0]),
            "geometry_warning": check_geometry(img[0], images[0]),
            "scl_slope": stored_scale(images[0]),
        }
