"""What the README promises is what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(text: str) -> list[str]:
    return [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]


def test_continuous_integration_runs_the_test_command_of_the_readme():
    (command,) = [line for line in commands(README) if "pytest" in line]
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_first_command_installs_the_package_and_segments_the_scan_that_ships():
    first = commands(README)[0]
    assert "pip install -q -c constraints.txt ." in first
    assert first.endswith("-m monai.bundle run --config_file bundles/subcortical/configs/inference.json")


def test_documented_options_are_options_of_the_config():
    config = json.loads((ROOT / "bundles" / "subcortical" / "configs" / "inference.json").read_text(encoding="utf-8"))
    options = re.findall(r"^\| `--(\w+)", README, re.MULTILINE)
    assert len(options) >= 8
    assert set(options) <= set(config)
