"""Label ids from values that a file has stored with a scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_mamba.data.label_values import read_label_ids, to_label_ids, with_label_ids
from monai_mamba.errors import InputError


def test_values_within_half_a_step_of_the_scale_are_ids():
    values = np.array([0.0, 16.9855, 2035.0])
    assert to_label_ids(values, "map", 2035 / 65535).tolist() == [0, 17, 2035]
    label = MetaTensor(torch.tensor(values), meta={"scl_slope": 2035 / 65535, "filename_or_obj": "map.nii"})
    ids = with_label_ids(label)
    assert ids.dtype == torch.int32
    assert ids.meta["filename_or_obj"] == "map.nii"
    assert not isinstance(with_label_ids(torch.tensor([0.0, 17.0])), MetaTensor)


@pytest.mark.parametrize("values", [[0.0, 17.000001, 2034.9999], np.float32([0, 17, 2035]) / 3 * np.float32(3)])
def test_labels_that_arithmetic_has_rounded_are_what_they_were(values):
    assert to_label_ids(np.asarray(values), "map").tolist() == [0, 17, 2035]
    with pytest.raises(InputError, match=r"found 17\.003"):
        to_label_ids(np.array([0.0, 17.003, 2035.0]), "map")


@pytest.mark.parametrize(("scale", "found"), [(np.nan, "Is this an image"), (0.001, "which does not explain them")])
def test_other_values_are_refused(scale, found):
    with pytest.raises(InputError, match=rf"^map: its values are not label ids .* found 16\.9.*{found}"):
        to_label_ids(np.array([0.0, 16.9]), "map", scale)


def test_a_scan_in_the_place_of_a_label_map_is_refused():
    sample = Path(__file__).resolve().parents[2] / "bundles" / "subcortical" / "sample_data"
    assert 17 in read_label_ids(sample / "sub-0001_desc-aseg_dseg.nii.gz")
    with pytest.raises(InputError, match=r"T1w\.nii\.gz: only \d+% of neighboring voxels have the same value"):
        read_label_ids(sample / "sub-0001_T1w.nii.gz")
