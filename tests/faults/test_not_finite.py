"""Networks and weights that are not finite: no result, and the place where it began."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import hippocampus_phantom
import nibabel as nib
import numpy as np
import pytest
import torch
from head_phantom import DARK, TISSUE, IntensityNetwork, centered_affine, make_head
from hippocampus_phantom import HalvesNetwork
from monai.bundle import ConfigWorkflow
from tumor_phantom import TumorNetwork, save_case

from monai_mamba.errors import BatchError, MonaiMambaError, NotFiniteError, WeightsError

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
SHAPE = (40, 40, 40)


class Spoiled(torch.nn.Module):
    """A layer whose output is no number where its input lies in a range."""

    def __init__(self, value: float, low: float, high: float) -> None:
        super().__init__()
        self.value, self.low, self.high = value, low, high

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As `x`."""
        return torch.where((x > self.low) & (x < self.high), self.value, x)


class SpoiledHead(IntensityNetwork):
    """Fails in windows that show the dark structure."""

    def __init__(self, value: float = float("nan")) -> None:
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Identity(), Spoiled(value, 0.2, 0.3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As `IntensityNetwork`."""
        return super().forward(self.inner(x))


class SpoiledHalves(HalvesNetwork):
    """Fails for one of the two hippocampi."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Spoiled(float("inf"), 0.9, 1.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As `HalvesNetwork`."""
        return super().forward(self.inner(x))


class SpoiledTumor(TumorNetwork):
    """Gives an infinite logit where a tumor is, which a sigmoid makes a plausible probability of 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As `TumorNetwork`."""
        regions = super().forward(x)
        return torch.where(regions > 0, torch.inf, regions)


def run(bundle: str, **options: object) -> None:
    config = str(BUNDLES / bundle / "configs" / "inference.json")
    workflow = ConfigWorkflow(
        config, workflow_type="infer", logging_file=False, device="cpu", progress=False, **options
    )
    hook = sys.excepthook
    try:
        workflow.initialize()
        workflow.run()
    finally:
        sys.excepthook = hook


def failure(bundle: str, **options: object) -> MonaiMambaError:
    """The error that a user reads."""
    with pytest.raises(RuntimeError) as caught:
        run(bundle, **options)
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, MonaiMambaError):
        error = error.__cause__
    assert error is not None, caught.value
    return error


def results(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def head(path: Path, dark: float = DARK) -> None:
    affine = centered_affine(SHAPE, np.eye(3))
    image = make_head(SHAPE, affine)[0]
    image[image == DARK] = dark
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(image, affine), path)


def small(tmp_path: Path, network: torch.nn.Module) -> dict[str, object]:
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    return {
        "output_dir": str(tmp_path / "out"),
        "weights": str(tmp_path / "weights.pt"),
        "mirror": False,
        "roi_size": [24, 24, 24],
        "amp": False,
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_window_that_is_not_finite_fails_its_scan_and_the_others_go_on(value, tmp_path):
    head(tmp_path / "in" / "bad.nii.gz")
    head(tmp_path / "in" / "good.nii.gz", dark=TISSUE)
    options = small(tmp_path, SpoiledHead())
    definition = {"_target_": "test_not_finite.SpoiledHead", "value": value}
    error = failure("subcortical", input=str(tmp_path / "in"), network_def=definition, **options)
    assert isinstance(error, BatchError)
    assert "1 of 2 scans failed" in str(error)
    assert "bad.nii.gz: the network's output is NaN or infinite in the window of voxels " in str(error)
    assert "the output of layer 'inner.1' (Spoiled) is the first that is not finite" in str(error)
    ending = "_desc-subcortical_"
    expected = [f"good{ending}{name}" for name in ("dseg.nii.gz", "picture.png", "volumes.tsv")]
    assert results(tmp_path / "out") == ["cases.tsv", *expected]


def test_the_window_that_fails_is_the_one_that_is_named(tmp_path):
    """The dark structure lies left, low and in the back; windows over the padded head begin at 0, 16 and 32."""
    head(tmp_path / "in" / "s.nii.gz")
    options = small(tmp_path, SpoiledHead())
    options["overlap"] = 0
    error = failure(
        "subcortical",
        input=str(tmp_path / "in"),
        network_def={"_target_": "test_not_finite.SpoiledHead"},
        **options,
    )
    assert isinstance(error, NotFiniteError)
    assert "in the window of voxels 16-39 x 16-39 x 0-23 " in str(error)  # axes to the left, down, to the front
    assert results(tmp_path / "out") == []


HIPPOCAMPAL: dict[str, tuple[dict[str, object], str]] = {
    "the network that looks for the hippocampi": (
        {"first_network_def": {"_target_": "test_not_finite.SpoiledHead"}},
        "s.nii.gz, search for the hippocampi: the network's output is NaN or infinite",
    ),
    "the network that divides a hippocampus": (
        {"network_def": {"_target_": "test_not_finite.SpoiledHalves"}},
        "hippocampus: the network's output is NaN or infinite",
    ),
}


@pytest.mark.parametrize("case", HIPPOCAMPAL)
def test_either_network_of_the_hippocampal_bundle(case, tmp_path):
    spoiled, message = HIPPOCAMPAL[case]
    (tmp_path / "in").mkdir()
    hippocampus_phantom.save_head(tmp_path / "in" / "s.nii.gz", (64, 60, 50), np.diag([-1.0, 1, 1]))
    options: dict[str, object] = {
        "first_network_def": {"_target_": "head_phantom.IntensityNetwork"},
        "network_def": {"_target_": "hippocampus_phantom.HalvesNetwork"},
        "first_roi_size": [48, 48, 48],
        "first_windows#mirror": None,
        "amp": False,
    }
    options |= hippocampus_phantom.save_weights(tmp_path) | spoiled
    scan = str(tmp_path / "in" / "s.nii.gz")
    error = failure("hippocampal_subfields", input=scan, output_dir=str(tmp_path / "out"), **options)
    assert isinstance(error, NotFiniteError)
    assert str(error).startswith(scan)
    assert message in str(error)
    assert results(tmp_path / "out") == []


def test_an_infinite_logit_of_the_tumor_bundle_fails_its_case(tmp_path):
    save_case(tmp_path / "in", "a")
    torch.save(SpoiledTumor().state_dict(), tmp_path / "weights.pt")
    error = failure(
        "brats_multimodal",
        input=str(tmp_path / "in"),
        output_dir=str(tmp_path / "out"),
        weights=str(tmp_path / "weights.pt"),
        network_def={"_target_": "test_not_finite.SpoiledTumor"},
        pixdim=[1.0] * 3,
        roi_size=[32] * 3,
    )
    assert isinstance(error, NotFiniteError)
    assert "the output of the network (SpoiledTumor) itself is the first that is not finite" in str(error)
    assert results(tmp_path / "out") == []


def levels(*values: float, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    return {"levels": torch.tensor(values, dtype=dtype)}


def saved(content: object) -> Callable[[Path], object]:
    return lambda path: torch.save(content, path)


def changed(change: Callable[[bytearray], object]) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        torch.save({"levels": torch.arange(4.0)}, path)
        content = bytearray(path.read_bytes())
        change(content)
        path.write_bytes(content)

    return make


def flip(content: bytearray) -> None:
    """Another value in the first of the weights."""
    position = content.index(torch.arange(4.0).numpy().tobytes())
    content[position + 4] ^= 0x40


WEIGHTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "NaN": (saved(levels(0, 0.25, float("nan"), 0.5)), "1 of the 4 values of levels are NaN or infinite"),
    "infinite": (saved(levels(0, float("inf"), 1, float("-inf"))), "2 of the 4 values of levels are NaN or infinite"),
    "too large for float32": (saved(levels(0, 1e300, 1, 0.5, dtype=torch.float64)), "1 of the 4 values of levels"),
    "whole numbers": (saved(levels(0, 64, 127, 32, dtype=torch.int8)), "torch.int8, expected torch.float32"),
    "sparse": (saved({"levels": torch.eye(4)[1].to_sparse()}), "the values of levels are sparse or not there"),
    "zeros": (saved(levels(0, 0, 0, 0)), "all values are equal"),
    "one bit of a value is wrong": (changed(flip), "the file is damaged; the checksum of its part"),
    "cut": (changed(lambda content: content.__delitem__(slice(-300, None))), "the file is truncated or damaged"),
    "bytes after the end": (changed(lambda content: content.extend(b"more")), "the file is damaged; surplus bytes"),
    "a pointer of Git LFS": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
        "a pointer of Git LFS or git-annex",
    ),
    "a checkpoint that holds no network": (
        saved({"epoch": 3, "optimizer": levels(0)}),
        "found something else, with the entries epoch, optimizer",
    ),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_that_cannot_be_right_are_refused(case, tmp_path):
    make, message = WEIGHTS[case]
    head(tmp_path / "in" / "s.nii.gz")
    options = small(tmp_path, IntensityNetwork())
    make(tmp_path / "weights.pt")
    network = {"_target_": "head_phantom.IntensityNetwork"}
    error = failure("subcortical", input=str(tmp_path / "in"), network_def=network, **options)
    assert isinstance(error, WeightsError)
    assert str(error).startswith(f"{tmp_path / 'weights.pt'}: ")
    assert message in str(error)
    assert results(tmp_path / "out") == []


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in IntensityNetwork().state_dict().items()}


NAMED: dict[str, tuple[object, str]] = {
    "names with module. of DistributedDataParallel": (prefixed("module."), "read without 'module.'"),
    "names with _orig_mod. of torch.compile": (prefixed("_orig_mod."), "read without '_orig_mod.'"),
    "both": (prefixed("module._orig_mod."), "read without 'module.', '_orig_mod.'"),
    "below the entry state_dict": ({"state_dict": prefixed(""), "epoch": 3}, "read without 'state_dict'"),
    "below the entry network, with module.": ({"network": prefixed("module.")}, "read without 'network', 'module.'"),
}


@pytest.mark.parametrize("case", NAMED)
def test_weights_under_other_names_are_used_and_one_line_says_so(case, tmp_path, caplog):
    content, message = NAMED[case]
    head(tmp_path / "in" / "s.nii.gz")
    options = small(tmp_path, IntensityNetwork()) | {"roi_size": [64, 64, 64]}
    torch.save(content, tmp_path / "weights.pt")
    network = {"_target_": "head_phantom.IntensityNetwork"}
    with caplog.at_level("INFO"):
        run("subcortical", input=str(tmp_path / "in"), network_def=network, **options)
    assert f"{tmp_path / 'weights.pt'}: the names of the weights are {message}." in caplog.text
    labels = np.asarray(nib.load(tmp_path / "out" / "s_desc-subcortical_dseg.nii.gz").dataobj)
    np.testing.assert_array_equal(labels[1:], make_head(SHAPE, centered_affine(SHAPE, np.eye(3)))[1][1:])
