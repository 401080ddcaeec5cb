"""Configs of all bundles look alike, and need one import of the package."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from monai.bundle.config_item import ComponentLocator

import monai_mamba

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "bundles").glob("*/configs/*.json"))
IDS = [f"{path.parents[1].name}-{path.stem}" for path in CONFIGS]
MAX_LINES = 400


@pytest.mark.parametrize("path", CONFIGS, ids=IDS)
def test_a_config_is_short_and_its_short_arrays_stand_on_one_line(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    assert not re.findall(r"\[\s*\n[\s\d.,-]+\]", text)


@pytest.mark.parametrize("path", CONFIGS, ids=IDS)
def test_a_config_finds_all_that_it_names_in_one_import(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    content = json.loads(text)
    imports = [line for key in ("imports", "+imports") for line in content.get(key, [])]
    assert [line for line in imports if "monai_mamba" in line] in ([], ["$import monai_mamba"])
    locator = ComponentLocator()
    targets = re.findall(r'"_target_": "(\w+)"', text)
    assert [name for name in targets if not isinstance(locator.get_component_module_name(name), str)] == []
    for dotted in re.findall(r"monai_mamba((?:\.\w+)+)", text):
        value = monai_mamba
        for name in dotted.split(".")[1:]:
            value = getattr(value, name)
