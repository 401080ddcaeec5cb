"""`python -m monai_mamba.labels`: what it refuses."""

from __future__ import annotations

import pytest

from monai_mamba.errors import InputError, OutputError
from monai_mamba.labels.__main__ import main


def test_what_cannot_be_read_or_written_is_said(tmp_path):
    with pytest.raises(InputError, match="no label table 'absent'"):
        main(["absent"])
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        main(["subcortical", "--output_dir", str(tmp_path / "file" / "deep")])
