"""`python -m monai_mamba info`: what is installed, and whether it is complete."""

from __future__ import annotations

import json

import pytest

from monai_mamba.__main__ import main
from monai_mamba.errors import WeightsError


def test_weights_are_compared_with_the_metadata(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("monai_mamba.bundle.PACKAGE", tmp_path)
    bundle = tmp_path / "bundles" / "tiny"
    for folder in ("configs", "models"):
        (bundle / folder).mkdir(parents=True)
    metadata = {"version": "1.0.0", "weights": {"models/model.pt": {"sha256": "0" * 64}}}
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata))
    for content, found in ((None, "there is no weights file"), (b"damaged", "The file is damaged or was replaced")):
        if content:
            (bundle / "models" / "model.pt").write_bytes(content)
        with pytest.raises(WeightsError, match=r"^1 weights files of"):
            main(["info"])
        out = capsys.readouterr().out
        assert f"Bundle tiny 1.0.0 in {bundle}\n- models/model.pt: " in out
        assert found in out
        assert "torch 2." in out
        assert "Selective scan on cpu: " in out
