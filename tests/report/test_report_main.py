"""`python -m monai_mamba.report`: what it writes, says and refuses."""

from __future__ import annotations

import shutil

import pytest
from head_phantom import LEFT

from monai_mamba.data.scans import RESULTS
from monai_mamba.errors import BatchError
from monai_mamba.report.__main__ import main


@pytest.mark.parametrize("arguments", [[""], ["results", "--output="], ["results", "--input", "scan.nii", " "]])
def test_empty_names_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "it is empty" in capsys.readouterr().err


def test_the_command_reports_what_it_can_and_fails_for_the_rest(study, tmp_path, capsys):
    folder = tmp_path / "results"
    shutil.copytree(study / "results", folder)
    (folder / f"sub-02_desc-subcortical{RESULTS['volumes']}").write_text("")
    with pytest.raises(BatchError, match=r"1 result could not.*\n.*sub-02_desc-subcortical_volumes\.tsv"):
        main([str(folder), "--input", str(study / "scans")])
    assert "report.html" in capsys.readouterr().out
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "sub-02_desc-subcortical_volumes.tsv" in text
    assert f'data-id="{LEFT}"' in text
