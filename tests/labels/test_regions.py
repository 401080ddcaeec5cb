"""Regions and labels of the conventions."""

from __future__ import annotations

import numpy as np
import pytest

from monai_mamba.errors import InputError
from monai_mamba.labels import CONVENTIONS, RegionTable, fitting_conventions

IDS = {  # necrotic core, edema, enhancing tumor
    "brats2023": (1, 2, 3),
    "brats2024": (1, 2, 3),
    "brats2021": (1, 2, 4),
    "brats_msd": (2, 1, 3),
}


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_regions_of_each_convention(convention):
    table = RegionTable.load(convention)
    necrotic, edema, enhancing = IDS[convention]
    assert table.names == ("TC", "WT", "ET")
    ids = np.array([[[0, necrotic, edema, enhancing]]])
    core, whole, bright = table.to_regions(ids)
    assert core.ravel().tolist() == [0, 1, 0, 1]
    assert whole.ravel().tolist() == [0, 1, 1, 1]
    assert bright.ravel().tolist() == [0, 0, 0, 1]
    np.testing.assert_array_equal(table.to_ids([core, whole, bright]), ids)
    assert {entry.id for entry in table.labels.structures} == set(IDS[convention])  # a cavity is not written


def test_labels_are_nested_whatever_the_masks_say():
    table = RegionTable.load("brats2021")
    masks = np.array([[bit >> region & 1 for bit in range(8)] for region in range(3)])[:, None, None]
    # Bits: TC 1, WT 2, ET 4. The smallest region that holds decides.
    ids = table.to_ids(masks)
    assert ids.ravel().tolist() == [0, 1, 2, 1, 4, 4, 4, 4]
    core, whole, enhancing = table.to_regions(ids)
    assert (enhancing <= core).all()
    assert (core <= whole).all()


def test_conventions_that_fit_and_an_unknown_one():
    assert fitting_conventions([0, 1, 2, 4]) == ["brats2024", "brats2021"]
    assert fitting_conventions([0, 3]) == ["brats2023", "brats2024", "brats_msd"]
    assert fitting_conventions([0, 5]) == []
    with pytest.raises(
        InputError, match=r"--label_convention is 'brats2019'.*brats2023, brats2024, brats2021, brats_msd"
    ):
        RegionTable.load("brats2019")
