"""FreeSurfer ids to class indices: merged ids, sides of the midline, and refusals."""

from __future__ import annotations

from functools import partial

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_mamba.errors import InputError
from monai_mamba.labels import LabelTable
from monai_mamba.transforms.synthesis import SynthesisTable
from monai_mamba.transforms.to_training_labels import ToAllowedClassesd, ToTrainingLabelsd

TABLE = LabelTable.load("subcortical")


def volume(*ids: int) -> torch.Tensor:
    """One voxel of each id, `(1, len(ids), 1, 1)`."""
    return torch.tensor(ids, dtype=torch.int32).view(1, -1, 1, 1)


def to_indices(table: LabelTable | str, label: torch.Tensor | np.ndarray) -> torch.Tensor:
    return ToTrainingLabelsd("label", table)({"label": label})["label"]


def test_every_class_gets_its_index_and_the_rest_is_background():
    known = to_indices(TABLE, volume(*TABLE.ids))
    assert known.dtype == torch.uint8
    assert known.flatten().tolist() == list(range(len(TABLE)))
    assert not to_indices(TABLE, volume(17, 30, 62, 80, 85, 258, 530, 14175)).flatten()[1:].any()


def test_numbers_of_segments_in_the_place_of_ids_are_refused():
    structures = len(TABLE.structures)
    with pytest.raises(InputError, match=r"label map: its labels 0, 1, 2, .* look like numbers of segments"):
        to_indices(TABLE, volume(*range(structures + 1)))
    left_side = [0, 2, 3, 4, 5, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 24, 25, 26, 28, 30, 31]  # of FreeSurfer
    assert to_indices(TABLE, volume(*left_side)).any()


def test_cortical_parcels_go_to_the_cortex_of_their_side():
    result = to_indices("subcortical", volume(1000, 1035, 1999, 2000, 2035, 2999, 999, 3000))
    left, right = TABLE.index_of_id[3], TABLE.index_of_id[42]
    assert result.flatten().tolist() == [left, left, left, right, right, right, 0, 0]


def test_corpus_callosum_goes_to_the_nearer_white_matter():
    ids = torch.zeros(1, 21, 6, 6, dtype=torch.int32)
    ids[:, :6], ids[:, 16:] = 2, 41
    for offset, label in enumerate(range(251, 256)):
        ids[:, 6:16, offset] = label
    result = to_indices(TABLE, ids)
    assert (result[:, :10, :5] == TABLE.index_of_id[2]).all()
    assert (result[:, 12:, :5] == TABLE.index_of_id[41]).all()


def test_hypointensities_stay_a_class_or_join_the_white_matter_of_their_side():
    ids = volume(2, 77, 0, 0, 0, 77, 41)
    assert to_indices(TABLE, ids).flatten()[1] == TABLE.index_of_id[77]
    without = LabelTable(tuple(entry for entry in TABLE if entry.id != 77))
    result = to_indices(without, ids).flatten()
    assert result[1] == TABLE.index_of_id[2]
    assert result[5] == TABLE.index_of_id[41]


def test_table_without_auxiliary_classes_writes_them_as_background():
    published = TABLE.for_channels(32)
    assert to_indices(published, volume(17, 2, 42, 1010, 251)).flatten().tolist() == [12, 0, 0, 0, 0]


def test_keeps_the_affine_and_does_not_touch_its_input():
    label = MetaTensor(volume(17, 1010).float(), affine=torch.diag(torch.tensor([-1.0, 2.0, 1.0, 1.0])))
    result = ToTrainingLabelsd("label", "subcortical")({"label": label, "subject": "sub-1"})
    torch.testing.assert_close(result["label"].affine, label.affine)
    assert label.flatten().tolist() == [17, 1010]
    assert result["subject"] == "sub-1"


@pytest.mark.parametrize("matrix", [[-1, 1, 1, 1], [1, 1, 1, 1]])
def test_left_and_right_exchanged_are_refused(matrix: list[float]):
    """By both ways to training windows; of one side alone nothing is known."""
    ids = torch.zeros(1, 5, 4, 4)
    ids[:, 0], ids[:, 4] = (53, 17) if matrix[0] == 1 else (17, 53)
    meta = {"affine": torch.diag(torch.tensor(matrix, dtype=torch.float64)), "filename_or_obj": "sub-1_dseg.nii.gz"}
    for check in (partial(to_indices, TABLE), SynthesisTable("subcortical_synthesis", TABLE).check):
        with pytest.raises(
            InputError, match=r"sub-1_dseg\.nii\.gz: by its header, left lies 4 mm to the right of right"
        ):
            check(MetaTensor(ids, meta=meta))
        check(MetaTensor(ids.flip(1), meta=meta))
        check(MetaTensor(ids * (ids == 17), meta=meta))


@pytest.mark.parametrize("values", [[0.0, 16.5], [0.0, float("nan")], [0.0, -17.0], [0.0, 1e9]])
def test_values_that_are_no_labels_are_refused(values: list[float]):
    label = MetaTensor(torch.tensor(values).view(1, 2, 1, 1), meta={"filename_or_obj": "sub-1_T1w.nii.gz"})
    with pytest.raises(InputError, match=r"sub-1_T1w\.nii\.gz: its values are not label ids"):
        to_indices(TABLE, label)


def test_a_map_without_any_class_is_refused_and_names_what_it_holds():
    with pytest.raises(InputError, match=r"\(0, 1, 6\).*FreeSurfer's aseg"):
        to_indices(TABLE, volume(0, 1, 6))


def test_subfields_without_a_side_are_refused_and_the_ids_with_one_named():
    with pytest.raises(InputError, match=r"\(0, 203, 226, 7001\).*hippocampus_fs60_plain, which have no side"):
        to_indices("hippocampus_fs60", volume(0, 203, 226, 7001))
    with pytest.raises(InputError, match=r"Expected ids such as 2226"):
        to_indices("hippocampus_fs60", volume(0, 17, 53))
    assert to_indices("hippocampus_fs60_plain", volume(0, 203, 226)).flatten().tolist() == [0, 1, 12]


def test_real_parcellation_gives_the_same_classes_as_its_segmentation(shared):
    folder = shared / "data" / "aomic_piop2" / "sub-0001"
    indices = []
    for name in ("aseg.nii.gz", "aparc+aseg.nii.gz"):
        indices.append(to_indices(TABLE, np.asarray(nib.load(folder / name).dataobj)[None]))
    # FreeSurfer itself labels a few voxels differently in the two files (cortex and what touches it).
    assert (indices[0] == indices[1]).float().mean() > 0.995
    hippocampus = TABLE.index_of_id[17]
    assert abs(int((indices[0] == hippocampus).sum()) - int((indices[1] == hippocampus).sum())) < 100


def allowed(label_id: int, missing: str | None) -> set[int]:
    """Ids that a voxel with this id in the map may have."""
    data = {"label": torch.full((1, 2, 2, 2), TABLE.index_of_id[label_id], dtype=torch.uint8)}
    if missing is not None:
        data["missing"] = missing
    bits = ToAllowedClassesd("label", TABLE)(data)["label"]
    assert bits.shape == (1, 2, 2, 2)
    assert bits.dtype == torch.int64
    return {entry.id for entry in TABLE if int(bits[0, 0, 0, 0]) >> entry.index & 1}


@pytest.mark.parametrize(
    ("label_id", "missing", "ids"),
    [
        (0, None, {0}),
        (42, "", {42}),
        (0, "24,77", {0, 24}),
        (2, "24,77", {2, 77}),
        (41, "24,77", {41, 77}),
        (4, "31,63", {4, 31}),
        (44, "31,63", {44, 63}),
        (17, "24,31,63,77", {17}),
    ],
)
def test_a_voxel_may_be_what_its_map_says_or_what_the_map_calls_the_same(label_id, missing, ids):
    assert allowed(label_id, missing) == ids


@pytest.mark.parametrize("missing", ["17", "999", "CSF", "24;77"])
def test_an_id_that_nothing_stands_for_is_refused(missing):
    with pytest.raises(InputError, match=r"call something else, 77, 24, 31, 63\."):
        allowed(0, missing)
