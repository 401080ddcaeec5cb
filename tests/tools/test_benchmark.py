"""The benchmarks of networks and of whole scans print what a figure belongs to, and shares that are shares."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from functools import partial
from pathlib import Path

import nibabel as nib
import pytest
import torch

from monai_mamba import MedSegMamba

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = REPOSITORY / "tools"
TINY = partial(MedSegMamba, channels=(8, 8, 8), depth=1, d_state=2, stem_stride=2)


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line; its rows, and what it says on stderr."""
    monkeypatch.syspath_prepend(TOOLS)

    def run(*arguments: object) -> tuple[list[dict], str]:
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *map(str, arguments)])
        importlib.import_module("benchmark").main()
        output = capsys.readouterr()
        return [json.loads(line) for line in output.out.splitlines()], output.err

    return run


@pytest.fixture
def network(run):
    return importlib.import_module("benchmarks.network")


def test_network_costs_are_printed_with_their_machine(run, network, monkeypatch, tmp_path):
    monkeypatch.setattr(network, "NETWORKS", {"tiny": TINY, "tiny without Mamba": partial(TINY, mixer=None)})
    arguments = ["network", "--networks", "tiny", "tiny without Mamba", "--window", 16, 16, 32, "--classes", 3]
    arguments += ["--repeats", 1, "--threads", 1, "--no-memory", "--output_dir", tmp_path]
    rows, _ = run(*arguments)
    for kind in ("inference", "training"):
        same = {row["network"]: row for row in rows if row["pass"] == kind}
        assert list(same) == ["tiny", "tiny without Mamba"]
        for row in same.values():
            assert row["seconds"] > 0
            assert 0 < row["share_convolution"] < 1
            assert (row["window"], row["classes"], row["settings"]) == ("16x16x32", 3, "float32")
            assert {"cpu", "threads", "torch", "date"} <= set(row)
        full, twin = same.values()
        assert 0 < full["share_scan"] < 1
        assert twin["share_scan"] == 0
        assert full["parameters"] > twin["parameters"] > 0
        assert full["times_without_mamba"] == pytest.approx(full["seconds"] / twin["seconds"])
    assert len(rows) == 4

    more, _ = run(*arguments, "--passes", "inference", "--amp")
    assert {row["settings"] for row in more} == {"amp"}
    text = (tmp_path / "network.md").read_text()
    assert text.count("| tiny | ") == 3
    assert "## training, window 16x16x32, 3 classes" in text
    assert len((tmp_path / "network.jsonl").read_text().splitlines()) == 6


def test_the_networks_of_monai_are_built_and_their_memory_is_measured(run, network):
    window = ["--window", 32, "--classes", 2, "--repeats", 1, "--threads", 1, "--passes", "inference"]
    (row,), _ = run("network", "--networks", "SegResNet", *window)
    assert row["network"] == "SegResNet"
    if Path("/proc/self/clear_refs").exists():
        logits = 2 * 32**3 * 4 / 2**20
        assert logits < row["peak_extra_MiB"] < 500
    else:
        assert row["peak_extra_MiB"] is None


def test_a_network_that_cannot_be_built_is_left_out(run, network):
    if importlib.util.find_spec("nvsubquadratic"):
        pytest.skip("what HyenaNDUNETR needs is installed")
    rows, errors = run("network", "--networks", "HyenaNDUNETR", "--window", 32, "--no-memory", "--repeats", 1)
    assert rows == []
    assert "HyenaNDUNETR is left out: " in errors


def test_scan_to_labels_runs_the_bundle_with_each_value(run, monkeypatch, tmp_path):
    module, stages = (importlib.import_module(f"benchmarks.{name}") for name in ("scan_to_labels", "stages"))
    log = tmp_path / "log"
    weights = tmp_path / "weights"
    config = {
        "imports": ["$import shutil", "$import time"],
        "reading": {"_target_": "monai.data.Dataset", "data": [0], "transform": "$lambda _: time.sleep(0.1)"},
        "amp": True,
        "mirror": False,
        "network_def": {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 1},
        "run": [
            f"$open({str(log)!r}, 'a').write(repr((@input, @amp, @mirror, @device)) + chr(10))",
            f"$shutil.copy(@weights, {str(weights)!r})",
            "$@reading[0]",
        ],
    }
    config |= dict.fromkeys(("input", "device", "output_dir", "weights"))
    configs = tmp_path / "bundles" / "heads" / "configs"
    configs.mkdir(parents=True)
    (configs / "inference.json").write_text(json.dumps(config))
    (configs / "network_wide.json").write_text(json.dumps({"network_def#in_features": 5}))
    monkeypatch.setattr(module, "BUNDLES", tmp_path / "bundles")
    arguments = ["scan-to-labels", "--bundle", "heads", "--input", "head.nii", "--repeats", 1, "--threads", 1]
    rows, _ = run(*arguments, "--networks", "wide", "--mirror", "True", "False", "--output_dir", tmp_path)
    assert log.read_text().splitlines() == ["('head.nii', True, True, 'cpu')", "('head.nii', True, False, 'cpu')"]
    assert torch.load(weights, weights_only=True)["weight"].shape == (1, 5)
    for row, mirror in zip(rows, ("True", "False"), strict=True):
        assert (row["bundle"], row["network"], row["input"]) == ("heads", "wide", "head.nii")
        assert (row["amp"], row["mirror"]) == ("True", mirror)
        assert [row["seconds"]] == row["all_seconds"]
        assert row["seconds"] > 0
        assert row["peak_GiB"] > 0.05
        assert row["cpu_seconds"] > 0
        assert row["import"] > row["conform"] >= 0.1 > row["read"] == row["windows"] == 0
        assert sum(row[stage] for stage in stages.STAGES) < row["seconds"]
    text = (tmp_path / "scan-to-labels.md").read_text()
    assert "## heads: head.nii" in text
    assert "| wide, True, False | " in text


def test_samseg_is_measured_on_the_same_scan(run, monkeypatch, tmp_path):
    module = importlib.import_module("benchmarks.scan_to_labels")
    log = tmp_path / "log"
    stub = f"open({str(log)!r}, 'w').write(repr((sys.argv[1:-1], Path(sys.argv[-1]).is_dir())))"
    monkeypatch.setattr(module, "SAMSEG", ("-c", f"import sys; from pathlib import Path; {stub}"))
    monkeypatch.setattr(module, "command", lambda *_: [sys.executable, "-c", ""])
    arguments = ["scan-to-labels", "--input", "head.nii", "--repeats", 1, "--threads", 3, "--samseg", sys.executable]
    (_, row), _ = run(*arguments, "--output_dir", tmp_path)
    assert log.read_text() == repr((["--input", "head.nii", "--threads", "3", "--output"], True))
    assert (row["network"], row["input"]) == ("SAMSEG", "head.nii")
    assert row["seconds"] > 0 < row["peak_GiB"]
    assert "| SAMSEG, -, - | " in (tmp_path / "scan-to-labels.md").read_text()


def test_the_tumor_case_has_the_grid_of_brats(run, tmp_path):
    module = importlib.import_module("benchmarks.scan_to_labels")
    files = sorted(module.tumor_case(tmp_path).iterdir())
    assert [path.name[-10:-7] for path in files] == ["t1c", "t1n", "t2f", "t2w"]
    small = nib.load(REPOSITORY / "bundles" / "brats_multimodal" / "sample_data" / "TCGA-FG-6692" / files[0].name)
    image = nib.load(files[0])
    assert image.shape == (240, 240, 155)
    # The brain keeps its volume, within what interpolation adds at its border.
    brain = (image.get_fdata() > 0).sum() / (8 * (small.get_fdata() > 0).sum())
    assert 0.95 < brain < 1.25
