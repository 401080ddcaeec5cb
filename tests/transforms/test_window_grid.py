"""Windows at fixed places, and the loader that feeds them one by one."""

from __future__ import annotations

import pytest
import torch
from monai.data import Dataset, MetaTensor
from torch.utils.data import SequentialSampler

from monai_mamba.data.window_loader import WindowLoader
from monai_mamba.transforms.window_grid import WindowGridd


def case(shape: tuple[int, int, int] = (20, 17, 12), value: int = 0) -> dict:
    affine = torch.diag(torch.tensor([-1.0, 2.0, 1.0, 1.0]))
    numbers = torch.arange(shape[0] * shape[1] * shape[2]).view(1, *shape) + value
    return {
        "image": MetaTensor(numbers.float(), affine=affine),
        "label": MetaTensor(numbers, affine=affine),
        "id": value,
    }


def test_windows_reach_from_border_to_border_and_cover_everything():
    data = case()
    windows = WindowGridd(["image", "label"], roi_size=8)(data)
    assert len(windows) == 27
    assert {tuple(window["image"].shape) for window in windows} == {(1, 8, 8, 8)}
    seen = torch.cat([window["label"].as_tensor().flatten() for window in windows]).unique()
    assert len(seen) == data["label"].numel()
    assert all((window["image"] == window["label"]).all() for window in windows)


def test_window_affines_say_where_the_windows_lie():
    data = case()
    last = WindowGridd(["image", "label"], roi_size=(8, 8, 8))(data)[-1]["image"]
    assert last.affine[:3, 3].tolist() == [-12.0, 18.0, 4.0]
    torch.testing.assert_close(last.as_tensor(), data["image"].as_tensor()[:, 12:, 9:, 4:])


def test_small_scans_are_padded_and_one_position_takes_the_middle():
    (window,) = WindowGridd(["image", "label"], roi_size=(8, 8, 16), positions=1)(case((9, 8, 12)))
    assert window["image"].shape == (1, 8, 8, 16)
    assert (window["label"][..., 0] == 0).all()
    assert window["id"] == 0


def test_entries_of_different_size_are_refused():
    data = case()
    data["label"] = data["label"][..., :-1]
    with pytest.raises(ValueError, match="share one grid"):
        WindowGridd(["image", "label"], roi_size=8)(data)


def loader(number: int, announced: int = 8, **kwargs) -> WindowLoader:
    grid = WindowGridd(["image", "label"], roi_size=8, positions=2)
    return WindowLoader(Dataset([case(value=n) for n in range(number)], grid), windows_per_scan=announced, **kwargs)


def test_loader_yields_single_windows_scan_by_scan():
    batches = list(loader(3))
    assert len(loader(3)) == len(batches) == 24
    assert batches[0]["image"].shape == (1, 1, 8, 8, 8)
    assert [int(batch["id"]) for batch in batches] == [0] * 8 + [1] * 8 + [2] * 8


def test_shuffling_moves_scans_but_keeps_their_windows_together():
    torch.manual_seed(1)
    order = [int(batch["id"]) for batch in loader(4, shuffle=True)]
    scans = order[::8]
    assert order == [scan for scan in scans for _ in range(8)]
    assert sorted(scans) == [0, 1, 2, 3]
    assert scans != [0, 1, 2, 3]


def test_loader_takes_a_sampler_and_refuses_a_wrong_count():
    sampler = SequentialSampler(range(2))
    assert loader(2, sampler=sampler).sampler is sampler
    with pytest.raises(ValueError, match="8 windows, expected 27"):
        next(iter(loader(1, announced=27)))
