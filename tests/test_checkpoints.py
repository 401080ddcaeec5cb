"""Which checkpoint a training goes on from."""

from __future__ import annotations

import os

import torch

from monai_mamba.engines.checkpoints import latest_checkpoint


def test_newest_complete_checkpoint_is_taken(tmp_path):
    for epoch in (9, 10):
        path = tmp_path / f"checkpoint_epoch={epoch}.pt"
        torch.save({"epoch": epoch, "weights": torch.zeros(1000)}, path)
        os.utime(path, (epoch, epoch))
    torch.save({}, tmp_path / "model.pt")
    assert latest_checkpoint(tmp_path) == str(tmp_path / "checkpoint_epoch=10.pt")
    cut = tmp_path / "checkpoint_epoch=11.pt"
    cut.write_bytes((tmp_path / "checkpoint_epoch=10.pt").read_bytes()[:-100])
    assert latest_checkpoint(tmp_path) == str(tmp_path / "checkpoint_epoch=10.pt")


def test_no_checkpoint(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "absent") is None
