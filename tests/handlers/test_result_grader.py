"""Grades in the answer of a server, which writes no table of volumes."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from monai_mamba.data.quality import QualityLimits
from monai_mamba.handlers import GradeResultd, ResultSaver

LIMITS = QualityLimits({"Left-Thalamus": (20, 30, 0.0, 0.0)})
THALAMUS = 10


@pytest.mark.parametrize(("voxels", "grade"), [(24, "pass"), (0, "look")])
def test_the_answer_has_a_grade_and_what_else_it_had(voxels, grade, tmp_path, caplog):
    labels = torch.zeros(1, 6, 6, 6, dtype=torch.uint8)
    labels.flatten()[:voxels] = THALAMUS
    table = ResultSaver("subcortical").table
    known = {name: {entry.id: 0.5 for entry in table.structures} for name in ("soft_volumes", "expected_dsc")}
    meta = {"filename_or_obj": "scan.nii", **known}
    data = {"pred": MetaTensor(labels, meta=meta), "result": {"params": 1}}
    graded = GradeResultd("pred", ResultSaver("subcortical"), LIMITS)(data)
    assert graded["result"].pop("params") == 1
    assert graded["result"].pop("quality") == grade
    assert ("Left-Thalamus (not found)" in graded["result"]["quality_reason"]) == (grade == "look")
    assert ("scan.nii" in caplog.text) == (grade == "look")
    assert data["result"] == {"params": 1}
    assert "result" not in GradeResultd("pred", ResultSaver("subcortical"), None)({"pred": labels})
