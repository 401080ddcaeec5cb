"""Results that are there are those of this run only if it has the same weights and options."""

from __future__ import annotations

import shutil
from pathlib import Path

import hippocampus_phantom
import numpy as np
import pytest
import torch
from head_phantom import IntensityNetwork, save_head
from monai.bundle import ConfigWorkflow
from tumor_phantom import TumorNetwork, save_case

from monai_mamba.errors import InputError, as_before, own_error

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
SHAPE = (24, 26, 22)


def run(bundle: str, folder: Path, **options: object) -> None:
    """Inference from `in` to `out`."""
    places = {"input": str(folder / "in"), "output_dir": str(folder / "out")}
    config = str(BUNDLES / bundle / "configs" / "inference.json")
    workflow = ConfigWorkflow(
        config, workflow_type="infer", logging_file=False, device="cpu", **{"progress": False, **places, **options}
    )
    with as_before():
        workflow.initialize()
        workflow.run()


def refused(bundle: str, folder: Path, **options: object) -> None:
    """A run is refused for the results that are there, and changes none."""
    before = {path: path.read_bytes() for path in (folder / "out").iterdir()}
    with pytest.raises(RuntimeError) as caught:
        run(bundle, folder, **options)
    error = own_error(caught.value)
    assert isinstance(error, InputError)
    assert "_dseg.nii.gz is there and was made with other weights or options" in str(error)
    assert "--overwrite True" in str(error)
    assert {path: path.read_bytes() for path in (folder / "out").iterdir()} == before


def saved(network: torch.nn.Module, path: Path) -> str:
    torch.save(network.state_dict(), path)
    return str(path)


def other_values(path: Path) -> str:
    network = IntensityNetwork()
    with torch.no_grad():
        network.levels.mul_(0.5)
    return saved(network, path)


CHANGES: dict[str, object] = {
    "amp": False,
    "look": False,
    "mirror": True,
    "network_def": {"_target_": "head_phantom.HungryNetwork"},
    "overlap": 0.5,
    "postprocessing#transforms#0#calibration": "@quality_limits",
    "roi_size": [32, 32, 32],
    "stats": True,
    "weights": other_values,
    "whole_brain": True,
    "windows#mode": "constant",
}


def test_results_of_other_weights_or_options_are_not_taken_for_those_of_this_run(tmp_path):
    (tmp_path / "in").mkdir()
    save_head(tmp_path / "in" / "s.nii.gz", SHAPE, np.eye(3))
    options = {"network_def": {"_target_": "head_phantom.IntensityNetwork"}, "mirror": False, "roi_size": [48, 48, 48]}
    options["weights"] = saved(IntensityNetwork(), tmp_path / "weights.pt")
    run("subcortical", tmp_path, **options)
    for name, value in CHANGES.items():
        value = value(tmp_path / "other.pt") if callable(value) else value
        refused("subcortical", tmp_path, **{**options, name: value})
    # What changes no label, or says the same in other words.
    copy = shutil.copy(options["weights"], tmp_path / "copy.pt")
    for same in ({"sw_batch_size": 2, "progress": True}, {"look": True}, {"weights": copy}):
        labels = (tmp_path / "out" / "s_desc-subcortical_dseg.nii.gz").stat().st_mtime_ns
        run("subcortical", tmp_path, **{**options, **same})
        assert (tmp_path / "out" / "s_desc-subcortical_dseg.nii.gz").stat().st_mtime_ns == labels
    run("subcortical", tmp_path, **{**options, "overlap": 0.5, "overwrite": True})
    refused("subcortical", tmp_path, **options)


def test_results_of_other_options_of_the_hippocampal_bundle(tmp_path):
    (tmp_path / "in").mkdir()
    hippocampus_phantom.save_head(tmp_path / "in" / "s.nii.gz", (64, 60, 50), np.diag([-1.0, 1, 1]))
    aseg = (tmp_path / "in" / "aseg.nii.gz").rename(tmp_path / "aseg.nii.gz")
    options = {"network_def": {"_target_": "hippocampus_phantom.HalvesNetwork"}, "aseg": str(aseg)}
    options |= {"first_network_def": {"_target_": "head_phantom.IntensityNetwork"}}
    options |= hippocampus_phantom.save_weights(tmp_path)
    run("hippocampal_subfields", tmp_path, **options)
    refused("hippocampal_subfields", tmp_path, **options, fill=False)
    refused("hippocampal_subfields", tmp_path, **{**options, "aseg": None})
    aseg.write_bytes((tmp_path / "in" / "s.nii.gz").read_bytes())
    refused("hippocampal_subfields", tmp_path, **options)


def test_results_of_other_options_of_the_tumor_bundle(tmp_path):
    save_case(tmp_path / "in", "a")
    options = {"network_def": {"_target_": "tumor_phantom.TumorNetwork"}, "pixdim": [1.0] * 3, "roi_size": [32] * 3}
    options["weights"] = saved(TumorNetwork(), tmp_path / "weights.pt")
    run("brats_multimodal", tmp_path, **options)
    for change in ({"label_convention": "brats2021"}, {"min_enhancing_ml": 0}, {"register": True}):
        refused("brats_multimodal", tmp_path, **options, **change)
