"""Synthetic head scans: what is in them, that they can be made again, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from head_phantom import save_label_maps

from monai_mamba.data.pairs import find_pairs

TOOL = Path(__file__).resolve().parents[2] / "tools" / "make_head_scans.py"


@pytest.fixture
def call(monkeypatch):
    """Calls the tool as its command does."""
    monkeypatch.syspath_prepend(TOOL.parent)
    import make_head_scans

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
        return make_head_scans.main()

    return run


def test_scans_show_their_labels_on_their_sides(call, tmp_path):
    save_label_maps(tmp_path / "maps")
    assert call("--label_maps", tmp_path / "maps", "--scans", 4, "--output_dir", tmp_path / "scans") == 0
    pairs = find_pairs(tmp_path / "scans")
    assert [pair["subject"] for pair in pairs] == [
        "sub-map0_run-1",
        "sub-map0_run-2",
        "sub-map1_run-1",
        "sub-map2_run-1",
    ]
    for pair in pairs:
        image, label = nib.load(pair["image"]), nib.load(pair["label"])
        assert nib.aff2axcodes(image.affine) == ("L", "I", "A")
        ids, values = np.asarray(label.dataobj), np.asarray(image.dataobj)
        assert set(np.unique(ids)) == {0, 2, 10, 41, 49}
        assert 0 <= values.min() < values.max() <= 1000
        assert (
            np.argwhere(ids == 10)[:, 0].mean() > np.argwhere(ids == 49)[:, 0].mean()
        )  # the first axis runs to the left
        edge = np.ones(ids.shape, bool)
        edge[1:-1, 1:-1, 1:-1] = False
        assert not ids[edge].any()


def test_a_scan_depends_on_its_map_and_number_only(call, tmp_path):
    save_label_maps(tmp_path / "maps")
    for name, arguments in {"few": (2,), "many": (5,), "other": (2, "--seed", 1)}.items():
        assert call("--label_maps", tmp_path / "maps", "--output_dir", tmp_path / name, "--scans", *arguments) == 0
    few, many, other = (
        np.asarray(nib.load(tmp_path / name / "sub-map1_run-1_T1w.nii.gz").dataobj) for name in ("few", "many", "other")
    )
    assert np.array_equal(few, many)
    assert not np.array_equal(few, other)


def test_unusable_input_is_refused_in_a_sentence(call, tmp_path, capsys):
    save_label_maps(tmp_path / "maps", 1)
    assert call("--label_maps", tmp_path / "maps", "--scans", 0, "--output_dir", tmp_path / "scans") == 1
    assert "--scans is 0" in capsys.readouterr().err
    twin = tmp_path / "twin" / "map-0.nii.gz"
    twin.parent.mkdir()
    twin.write_bytes((tmp_path / "maps" / "map_0.nii.gz").read_bytes())
    assert call("--label_maps", tmp_path / "maps", twin, "--output_dir", tmp_path / "scans") == 1
    assert "two maps would have the same name" in capsys.readouterr().err
    foreign = tmp_path / "foreign.nii.gz"
    nib.save(nib.Nifti1Image(np.full((8, 8, 8), 999, np.int16), np.eye(4)), foreign)
    assert call("--label_maps", foreign, "--output_dir", tmp_path / "scans") == 1
    assert "999" in capsys.readouterr().err
    empty = tmp_path / "empty.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 8), np.int16), np.eye(4)), empty)
    assert call("--label_maps", empty, "--output_dir", tmp_path / "scans") == 1
    assert "empty.nii.gz: it has no brain structure" in capsys.readouterr().err
    broken = tmp_path / "broken.nii.gz"
    broken.write_text("no image")
    assert call("--label_maps", broken, "--output_dir", tmp_path / "scans") == 1
    assert "broken.nii.gz" in capsys.readouterr().err
    assert not list((tmp_path / "scans").iterdir())
