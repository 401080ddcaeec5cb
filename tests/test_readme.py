"""What the README promises is what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BUNDLE_README = (ROOT / "bundles" / "subcortical" / "docs" / "README.md").read_text(encoding="utf-8")


def commands(text: str) -> list[str]:
    return [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]


def test_continuous_integration_runs_the_test_command_of_the_readme():
    (command,) = [line for line in commands(README) if "pytest" in line]
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("text", [README, BUNDLE_README], ids=["README", "bundle"])
def test_configs_and_tools_named_in_commands_exist(text):
    paths = {path for line in commands(text) for path in re.findall(r"(?:bundles|tools)/[\w/]+\.(?:json|py)", line)}
    assert paths
    assert all((ROOT / path).is_file() for path in paths), paths


def test_documented_options_are_options_of_the_config():
    config = json.loads((ROOT / "bundles" / "subcortical" / "configs" / "inference.json").read_text(encoding="utf-8"))
    options = re.findall(r"^\| `--(\w+)", README, re.MULTILINE)
    assert len(options) >= 8
    assert set(options) <= set(config)


@pytest.mark.parametrize("document", [README, BUNDLE_README], ids=["README", "bundle"])
def test_links_lead_somewhere(document):
    folder = ROOT if document is README else ROOT / "bundles" / "subcortical" / "docs"
    links = [link for link in re.findall(r"\]\(([^)]+)\)", document) if not link.startswith("http")]
    assert all((folder / link).exists() for link in links), links
