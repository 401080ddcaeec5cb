"""Probabilities find their way back to the grid of the input file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import affine_transform

from monai_mamba.errors import InputError
from monai_mamba.labels import LabelTable
from monai_mamba.transforms import RestoreLabelsd

TABLE = LabelTable.load("subcortical")
WRITTEN = np.array([entry.id if entry.written else 0 for entry in TABLE])


def probabilities(
    shape: tuple[int, int, int], affine: np.ndarray, native_affine: np.ndarray, native_shape
) -> MetaTensor:
    """Smooth random classes, confident enough that most of the 36 win somewhere."""
    noise = torch.randn(1, len(TABLE), *shape, generator=torch.Generator().manual_seed(0))
    logits = 12 * torch.nn.functional.avg_pool3d(noise, 5, stride=1, padding=2)[0]
    meta = {"original_affine": native_affine, "spatial_shape": np.array(native_shape)}
    return MetaTensor(logits.softmax(dim=0), affine=torch.from_numpy(affine), meta=meta)


def restore(image: MetaTensor) -> MetaTensor:
    return RestoreLabelsd("pred", "subcortical")({"pred": image})["pred"]


@pytest.mark.parametrize(
    "text", [None, "id\tfactor\n10\tx\n", "id\n10\n", "id\tfactor\n10\tnan\n", "id\tfactor\n10\t-1\n"]
)
def test_a_file_without_factors_is_refused(tmp_path, text):
    if text:
        (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(InputError, match=r"a\.tsv: not a table of factors"):
        RestoreLabelsd("pred", "subcortical", tmp_path / "a.tsv")


def test_on_the_same_lattice_the_labels_are_exact():
    shape = (14, 16, 12)
    affine = np.array([[-1.0, 0, 0, 9], [0, 0, 1, -4], [0, -1, 0, 6], [0, 0, 0, 1]])  # LIA
    native = np.eye(4)
    native[:3, 3] = [-7, -7, -12]
    image = probabilities(shape, affine, native, (20, 17, 21))
    labels = restore(image)
    expected = np.zeros((20, 17, 21), dtype=np.uint8)
    ids = WRITTEN[image.numpy().argmax(axis=0)]
    for voxel in np.ndindex(*shape):
        index = np.linalg.inv(native) @ affine @ [*voxel, 1]
        if (index[:3] >= 0).all() and (index[:3] < expected.shape).all():
            expected[tuple(index[:3].astype(int))] = ids[voxel]
    assert len(np.unique(expected)) > 20
    np.testing.assert_array_equal(labels[0].numpy(), expected)
    np.testing.assert_array_equal(labels.affine.numpy(), native)
    assert labels.dtype == torch.uint8


def test_the_shortcuts_change_nothing():
    """Boxes and running maximum give the same labels as resampling every class everywhere."""
    angle = 0.3
    native = np.diag([0.8, 0.9, 1.3, 1.0])
    native[:2, :2] = native[:2, :2] @ [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    native[:3, 3] = [1, -2, 1]
    image = probabilities((18, 16, 14), np.eye(4), native, (19, 18, 9))
    labels = restore(image)[0].numpy()
    values = [
        affine_transform(
            channel.numpy().astype(np.float32),
            native[:3, :3],
            native[:3, 3],
            (19, 18, 9),
            order=1,
            mode="grid-constant",
            cval=float(index == 0),
        )
        for index, channel in enumerate(image.as_tensor())
    ]
    np.testing.assert_array_equal(labels, WRITTEN[np.argmax(values, axis=0)])


def test_soft_volumes_are_sums_of_probabilities():
    image = probabilities((12, 12, 12), np.diag([2.0, 1, 1, 1]), np.eye(4), (24, 12, 12))
    volumes = restore(image).meta["soft_volumes"]
    assert list(volumes) == [entry.id for entry in TABLE.structures]
    channel = image[12].numpy()
    assert volumes[17] == pytest.approx(2 * channel[channel >= 1 / 36].sum(), rel=1e-5)


def test_a_network_without_auxiliary_classes_and_one_of_another_task():
    image = probabilities((8, 8, 8), np.eye(4), np.eye(4), (8, 8, 8))
    assert restore(image[:32]).max() > 0
    with pytest.raises(InputError, match="7 output channels"):
        restore(image[:7])


def test_structures_that_the_border_cuts_off_are_named():
    """Not those whose rounded end it touches."""
    points = np.stack(np.meshgrid(*map(np.arange, (24, 20, 20)), indexing="ij"), axis=-1)
    for start, doubts in (
        (5, ""),
        (0, ""),
        (-4, "cut off by the border of the image, so that volumes are too small: "),
    ):
        image = MetaTensor(torch.zeros(len(TABLE), 24, 20, 20), meta={"original_affine": np.eye(4)})
        image.meta["spatial_shape"] = np.array([24, 20, 20])
        inside = torch.from_numpy(np.linalg.norm(points - [start + 6, 10, 10], axis=-1) <= 6)
        image[TABLE.index_of_id[17]], image[0] = inside.float(), (~inside).float()
        assert restore(image).meta["doubts"] == doubts + ("Left-Hippocampus" if doubts else "")


def test_background_everywhere():
    image = probabilities((8, 8, 8), np.eye(4), np.eye(4), (8, 8, 8))
    image.zero_()
    image[0] = 1
    labels = restore(image)
    assert labels.max() == 0
    assert set(labels.meta["soft_volumes"].values()) == {0.0}


def test_the_expected_dice_is_that_of_truths_drawn_from_the_probabilities():
    image = probabilities((12, 12, 12), np.eye(4), np.eye(4), (12, 12, 12))
    restored = restore(image)
    labels, values = restored[0].numpy(), image.numpy()
    generator = np.random.default_rng(1)
    drawn = {entry.id: [] for entry in TABLE.structures}
    for _ in range(200):
        chance = generator.random((1, 12, 12, 12))
        truth = WRITTEN[(values.cumsum(axis=0) < chance).sum(axis=0).clip(max=len(TABLE) - 1)]
        for structure, scores in drawn.items():
            common = np.sum((truth == structure) & (labels == structure))
            scores.append(2 * common / max(np.sum(truth == structure) + np.sum(labels == structure), 1))
    expected = restored.meta["expected_dsc"]
    large = [structure for structure in drawn if np.sum(labels == structure) > 40]
    assert len(large) > 5
    for structure in large:
        # Probabilities below 1 / 36 are left out of the soft volume, so the expectation is a little too high.
        assert expected[structure] == pytest.approx(np.mean(drawn[structure]), abs=0.06)
