"""Configs have all properties that MONAI wants of a bundle; those of the hippocampi, which need more, by themselves."""

from __future__ import annotations

import pytest
from monai.bundle import ConfigWorkflow

from monai_mamba.bundle import shipped_bundles


@pytest.mark.parametrize("configs", [["inference"], ["train"], ["train", "evaluate"]])
@pytest.mark.parametrize("name", ["brats_multimodal", "subcortical"])
def test_properties_are_complete(name, configs, tmp_path):
    root = shipped_bundles()[name]
    files = [str(root / "configs" / f"{config}.json") for config in configs]
    kind, options = "train" if "train" in configs else "infer", {"device": "cpu", "output_dir": str(tmp_path)}
    bundle = ConfigWorkflow(files, workflow_type=kind, logging_file=False, **options)
    bundle.initialize()
    assert bundle.check_properties() == []
    assert bundle.bundle_root == str(root)
