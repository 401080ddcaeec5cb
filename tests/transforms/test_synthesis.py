"""Images made from label maps: sides, sizes, ranges, contrasts and refusals."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from monai_mamba.errors import InputError
from monai_mamba.labels import LabelTable
from monai_mamba.transforms.synthesis import RandSynthesizeImaged, SynthesisTable, clear_frontal_horns

LABELS = LabelTable.load("subcortical")
INDEX = {entry.id: entry.index for entry in LABELS}
SIZE = (40, 40, 40)


def phantom() -> dict[str, torch.Tensor]:
    """Skin (507) around white matter with a thalamus and a hippocampus per side; the first axis runs to the left."""
    ids = torch.zeros(1, *SIZE, dtype=torch.int16)
    ids[0, 2:38, 2:38, 2:38] = 507
    ids[0, 5:20, 5:35, 5:35] = 41
    ids[0, 20:35, 5:35, 5:35] = 2
    ids[0, 12:18, 15:25, 15:25] = 49
    ids[0, 22:28, 15:25, 15:25] = 10
    ids[0, 7:11, 15:25, 15:25] = 53
    ids[0, 29:33, 15:25, 15:25] = 17
    return {"label_map": ids}


def synthesis(**options) -> RandSynthesizeImaged:
    table = SynthesisTable("subcortical_synthesis", LABELS)
    return RandSynthesizeImaged("label_map", table, roi_size=SIZE, **options)


def test_window_has_the_promised_shape_type_and_range():
    sample = synthesis().set_random_state(0)(phantom())
    assert sorted(sample) == ["image", "label"]
    assert sample["image"].shape == sample["label"].shape == (1, *SIZE)
    assert sample["image"].dtype == torch.float32
    assert sample["label"].dtype == torch.uint8
    assert 0 <= sample["image"].min() < sample["image"].max() <= 1
    assert sample["label"].max() < len(LABELS)


def test_same_seed_same_sample_and_another_seed_another():
    first, again, other = (synthesis().set_random_state(seed)(phantom()) for seed in (3, 3, 4))
    assert torch.equal(first["image"], again["image"])
    assert torch.equal(first["label"], again["label"])
    assert not torch.equal(first["image"], other["image"])


def test_left_stays_left_whether_the_anatomy_is_mirrored_or_not():
    transform = synthesis(anywhere_prob=0.0)
    checked = 0
    for seed in range(30):
        label = transform.set_random_state(seed)(phantom())["label"][0]
        for left, right in ((10, 49), (17, 53), (2, 41)):
            where = [torch.nonzero(label == INDEX[side])[:, 0].float() for side in (left, right)]
            if min(map(len, where)) > 100:
                assert where[0].mean() > where[1].mean(), f"seed {seed}: {left} and {right} changed sides"
                checked += 1
    assert checked > 20


def test_mirroring_changes_which_side_of_the_map_a_label_comes_from():
    ids = phantom()["label_map"]
    ids[ids == 17] = 2  # a hippocampus on the right only
    sides = set()
    for seed in range(30):
        label = synthesis(anywhere_prob=0.0).set_random_state(seed)({"label_map": ids})["label"]
        sides |= {side for side in (17, 53) if (label == INDEX[side]).any()}
    assert sides == {17, 53}


def test_elastic_deformation_bends_a_plane_and_none_leaves_it_plane():
    ids = torch.full((1, 120, 120, 120), 507, dtype=torch.int16)
    ids[:, :60] = 16
    off = {}
    for elastic in (0.0, 1.0, 2.0):
        transform = synthesis(center=(60, 60, 60), elastic=elastic)
        off[elastic] = []
        for seed in range(8):
            stem = transform.set_random_state(seed)({"label_map": ids})["label"][0] == INDEX[16]
            wall = torch.nonzero(stem[1:] != stem[:-1]).double()
            plane = torch.cat([wall[:, 1:], torch.ones(len(wall), 1)], 1)
            off[elastic].append((plane @ torch.linalg.lstsq(plane, wall[:, :1]).solution - wall[:, :1]).std())
    assert max(off[0.0]) < 0.5
    assert sum(off[2.0]) > 1.5 * sum(off[1.0]) > 1.5 * sum(off[0.0])


def test_mirror_table_is_its_own_inverse_and_keeps_the_midline():
    mirror = SynthesisTable("subcortical_synthesis", LABELS).mirror.long()
    assert torch.equal(mirror[mirror], torch.arange(len(LABELS)))
    assert mirror[INDEX[16]] == INDEX[16]
    assert mirror[INDEX[4]] == INDEX[43]


@pytest.mark.parametrize(("source", "target"), [(136, 31), (164, 63), (25, 2), (57, 41), (24, 0), (507, 0), (3, 3)])
def test_ids_of_the_maps_become_the_classes_of_the_task(source, target):
    assert SynthesisTable("subcortical_synthesis", LABELS).target[source] == INDEX[target]


def test_structures_without_examples_are_known():
    table = SynthesisTable("subcortical_synthesis", LABELS)
    missing = set(range(len(LABELS))) - set(table.target.tolist())
    assert missing == {INDEX[24], INDEX[77]}


def test_t1_like_images_show_white_matter_brighter_than_gray_matter():
    transform = synthesis(t1_prob=1.0, strip_prob=0.0, anywhere_prob=0.0)
    brighter = 0
    for seed in range(40):
        sample = transform.set_random_state(seed)(phantom())
        white = torch.isin(sample["label"], torch.tensor([INDEX[2], INDEX[41]], dtype=torch.uint8))
        gray = torch.isin(sample["label"], torch.tensor([INDEX[17], INDEX[53]], dtype=torch.uint8))
        brighter += bool(sample["image"][white].median() > sample["image"][gray].median())
    assert brighter >= 28  # five of six windows, over many seeds


def test_skull_stripping_empties_what_is_far_from_the_brain():
    ids = torch.full((1, *SIZE), 507, dtype=torch.int16)
    ids[0, 14:26, 14:26, 14:26] = 2
    bright = {}
    for prob in (0.0, 1.0):
        transform = synthesis(strip_prob=prob, anywhere_prob=0.0)
        images = [transform.set_random_state(seed)({"label_map": ids})["image"] for seed in range(10)]
        bright[prob] = sum((image > 0.15).float().mean() for image in images)
    assert bright[1.0] < 0.6 * bright[0.0]


def test_an_unknown_id_is_refused_by_name():
    table, ids = SynthesisTable("subcortical_synthesis", LABELS), phantom()["label_map"]
    assert torch.equal(table.check(ids), ids)
    listed = r"1 of its values .* first %g\."
    interpolated = r"its values are not label ids .* found %g\."
    for unknown, message in ((999, listed), (503, listed), (-1, interpolated), (16.7, interpolated)):
        ids = ids.float()
        ids[0, 0, 0, 0] = unknown
        with pytest.raises(InputError, match=rf"a\.nii: {message % unknown}"):
            table.check(MetaTensor(ids, meta={"filename_or_obj": "a.nii"}))


def test_ventricles_shrink_and_grow_and_draw_the_tissue_around_them_along():
    ids = torch.full((48, 48, 48), 2)
    ids[14:34, 14:34, 14:34] = 11
    ids[18:30, 18:30, 18:30] = 4
    ids[22:26, 22:26, 22:26] = 163  # plexus inside
    distance = (torch.stack(torch.meshgrid(*[torch.arange(48.0) - 23.5] * 3, indexing="ij"))).abs().amax(0)
    transform = synthesis()
    transform.roi_size = ids.shape
    sizes = set()
    for seed in range(20):
        changed = transform.set_random_state(seed)._resize_ventricles(ids)
        ventricle, caudate = (changed == 4) | (changed == 163), changed == 11
        sizes.add(int(ventricle.sum()))
        assert set(changed.unique().tolist()) == {2, 4, 11, 163}
        assert distance[ventricle].max() <= 5.5 + 1.5
        assert ventricle[distance < 1].all()
        assert torch.equal(changed[distance > 18], ids[distance > 18])
        # The layer moves with the wall instead of being eaten by the ventricle, or eating it.
        for line in (changed[:24, 24, 24], changed[24, :24, 24].flip(0), changed[24, 24, 24:]):
            assert 2 <= int((line == 11).sum()) <= 6
        assert caudate.any()
    assert min(sizes) < 12**3 / 3
    assert max(sizes) > 12**3
    assert 12**3 in sizes


def test_a_window_without_ventricles_stays_as_it_is():
    ids = torch.full(SIZE, 2)
    transform = synthesis()
    assert all(torch.equal(transform.set_random_state(seed)._resize_ventricles(ids), ids) for seed in range(10))


def head() -> torch.Tensor:
    """Left half (high first index) and right half, each a ventricle with a line of plexus along the last axis."""
    ids = torch.zeros(1, 8, 4, 12, dtype=torch.int16)
    ids[0, 4:], ids[0, :4] = 4, 43
    ids[0, 4:, 0, 2:6], ids[0, :4, 0, 2:8] = 10, 49
    ids[0, 4:, 2], ids[0, :4, 2] = 136, 163
    ids[0, 4:, 3, :4], ids[0, :4, 3, :4] = 137, 164
    return ids


def test_plexus_ends_at_the_front_of_the_thalamus_of_its_side():
    ids = head()
    kept = ids.clone()
    result = clear_frontal_horns(ids)
    assert torch.equal(ids, kept)
    assert (result[0, 4:, 2] == torch.tensor([136] * 6 + [4] * 6)).all()
    assert (result[0, :4, 2] == torch.tensor([163] * 8 + [43] * 4)).all()
    result[0, :, 2] = ids[0, :, 2]
    assert torch.equal(result, ids)


def test_a_map_without_thalamus_stays_as_it_is():
    ids = head()
    ids[(ids == 10) | (ids == 49)] = 2
    assert torch.equal(clear_frontal_horns(ids), ids)
