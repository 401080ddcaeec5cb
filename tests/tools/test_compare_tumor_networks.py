"""The comparison of tumor networks: two tiny ones trained for two steps, and how their scores are reported."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import monai.bundle
import numpy as np
import pytest
from tumor_phantom import save_case

TOOL = Path(__file__).resolve().parents[2] / "tools" / "compare_tumor_networks.py"
TINY = {"_target_": "MSDKMamba", "channels": [8] * 5, "depths": [1] * 4, "d_state": 2}
NETWORKS = {"tiny": (TINY, {}), "tiny-no_mamba": ({**TINY, "mixer": None}, {"distillation_weight": 0.0})}


@pytest.fixture
def tool(monkeypatch):
    """The tool, imported as its command imports it."""
    monkeypatch.syspath_prepend(TOOL.parent)
    import compare_tumor_networks

    return compare_tumor_networks


def call(tool, *arguments: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
        return tool.main()


def here(tool, calls: list):
    """Runs a bundle in this process, with what its own process would get."""

    def run(configs: list[str], options: dict, threads: int) -> dict[str, float]:
        calls.append((configs, options))
        files = [f"{tool.CONFIGS}/{name}" for name in configs]
        monai.bundle.run(config_file=files, logging_file=False, **options)
        return {"seconds": 10.0, "peak_GiB": 1.0}

    return run


def test_two_networks_are_trained_scored_and_compared(tool, monkeypatch, tmp_path, capsys):
    for folder, count in (("training", 2), ("test", 1)):
        for number in range(count):
            name = f"BraTS-GLI-0000{number}-000"
            save_case(tmp_path / folder / name, name, "2023", label=True, center=np.array([4.0 - number, 3.0, 2.0]))
    calls: list = []
    monkeypatch.setattr(tool, "NETWORKS", NETWORKS)
    monkeypatch.setattr(tool, "run_bundle", here(tool, calls))
    arguments = ["--training", tmp_path / "training", "--test", tmp_path / "test", "--output_dir", tmp_path / "out"]
    arguments += ["--epochs", 1, "--window", 32, "--device", "cpu", "--threads", 1, "--networks", *NETWORKS]
    assert call(tool, *arguments) == 0
    assert [configs[-1] for configs, _ in calls] == ["train.json", "evaluate.json"] * 2
    for folder in NETWORKS:
        state = tool.torch.load(tmp_path / "out" / folder / "checkpoint.pt", weights_only=True)
        assert state["trainer"]["iteration"] == 2  # all cases of the training folder, none held out
        subjects, scores = tool.read_scores(tmp_path / "out" / folder / "scores.tsv")
        assert subjects == ["BraTS-GLI-00000-000"]
        assert scores.shape == (1, 3, 2)
        assert json.loads((tmp_path / "out" / folder / "run.json").read_text())["train"]["seconds"] == 10
    assert calls[2][1]["network_def#network"]["mixer"] is None
    assert calls[2][1]["distillation_weight"] == 0
    text = (tmp_path / "out" / "report.md").read_text()
    parameters = [tool.count_parameters(name) for name in NETWORKS]
    assert parameters[0] > parameters[1]
    for name, count in zip(NETWORKS, parameters, strict=True):
        assert f"| {name} | {count:,} | 10 | 5 | 1 | 10 |" in text
    assert "Training cases: 2; steps from scratch: 2," in text
    assert "| DSC | tiny-no_mamba |" in text

    # The same command trains nothing again, other settings do.
    calls.clear()
    assert call(tool, *arguments) == 0
    assert not calls
    monkeypatch.setattr(tool, "run_bundle", lambda *_: pytest.fail("trained, as it should"))
    with pytest.raises(pytest.fail.Exception, match="as it should"):
        call(tool, *arguments, "--seed", 1)

    assert call(tool, *arguments, "--window", 40) == 1
    assert "--window 40" in capsys.readouterr().err


def test_a_twin_lacks_what_its_name_says(tool):
    sizes = {name: tool.count_parameters(name) for name in tool.NETWORKS}
    for name, size in sizes.items():
        network, _, lacks = name.partition("-")
        if lacks == "no_mamba":
            assert size < sizes[network], name
    # A group-rational activation has few parameters of its own, and only the training of this twin differs.
    assert sizes["msd_kmamba_small-no_kan"] == pytest.approx(sizes["msd_kmamba_small"], rel=0.01)
    definition, options = tool.NETWORKS["msd_kmamba_small-no_distillation"]
    assert definition == tool.NETWORKS["msd_kmamba_small"][0]
    config = json.loads(Path(tool.CONFIGS, "train.json").read_text())
    assert all(config[name] > 0 and value == 0 for name, value in options.items())
    assert {key for name, (_, more) in tool.NETWORKS.items() for key in more} == set(options)


def test_a_bundle_gets_the_options_as_they_are(tool, monkeypatch, tmp_path, capfd):
    options = {
        "network_def#network": {"mixer": None},
        "split": "$(@cases, @cases[:1])",
        "resume": False,
        "roi": [64] * 3,
    }
    config = {
        "cases": "$[1, 2]",
        "network_def": {"network": {"mixer": "there"}},
        "run": ["$print('GOT', @network_def, @split, @resume, @roi)"],
    }
    (tmp_path / "train.json").write_text(json.dumps(config))
    monkeypatch.setattr(tool, "CONFIGS", str(tmp_path))
    figures = tool.run_bundle(["train.json"], options, 1)
    assert "GOT {'network': {'mixer': None}} ([1, 2], [1]) False [64, 64, 64]" in capfd.readouterr().out
    assert figures["seconds"] > 0
    assert figures["peak_GiB"] > 0.05
    with pytest.raises(tool.subprocess.CalledProcessError):
        tool.run_bundle(["train.json"], {"cases": "$1/0"}, 1)


def test_scores_and_tests_have_the_figures_of_their_cases(tool):
    better = np.zeros((8, 3, 2))
    better[..., 0] = np.linspace(0.8, 0.9, 8)[:, None]
    worse = better.copy()
    worse[..., 0] -= np.linspace(0.1, 0.2, 8)[:, None]
    worse[..., 1] += 2
    cells = tool.score_cells(better)
    assert cells[:4] == ["0.850 ± 0.035"] * 4  # the standard deviation of 8 even steps, n - 1
    assert cells[4:] == ["0.0 ± 0.0"] * 4
    assert tool.score_cells(better[:1])[0] == "0.800"
    dsc, hd95 = tool.test_rows({"better": better, "worse": worse})
    assert dsc[:4] == ["DSC", "worse", "0.150", "0.150"]
    assert hd95[:4] == ["HD95 (mm)", "worse", "-2.000", "-2.000"]
    assert (dsc[4], hd95[4]) == ("1.00", "-1.00")
    assert float(dsc[5]) == pytest.approx(2 / 2**8, rel=0.01)  # all of 8 differ the same way
    assert float(dsc[6]) == pytest.approx(4 / 2**8, rel=0.05)
