"""What the documents of the hippocampal bundle name is there."""

from __future__ import annotations

import json
import re
from pathlib import Path

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "hippocampal_subfields"
README = (BUNDLE / "docs" / "README.md").read_text(encoding="utf-8")


def test_configs_named_in_commands_exist():
    commands = "\n".join(re.findall(r"```bash\n(.*?)```", README, re.DOTALL))
    commands = commands.replace("$C", "bundles/hippocampal_subfields/configs")
    paths = set(re.findall(r"bundles/[\w/]+\.json", commands))
    assert len(paths) >= 5
    assert all((BUNDLE.parents[1] / path).is_file() for path in paths), paths


def test_documented_options_are_options_of_the_config():
    config = json.loads((BUNDLE / "configs" / "inference.json").read_text(encoding="utf-8"))
    rows = re.findall(r"^\| (`--.*?) \|", README, re.MULTILINE)
    options = set(re.findall(r"--(\w+)", " ".join(rows)))
    assert len(options) >= 10
    assert options <= set(config)


def test_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    assert all((BUNDLE / "docs" / link).exists() for link in links), links
