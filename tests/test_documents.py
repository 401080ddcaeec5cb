"""What the documents name is there, and every documented command of `tools` is one that its tool takes."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    ROOT / "tools" / "README.md",
    *ROOT.glob("bundles/*/docs/*.md"),
]
IDS = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]


def commands(text: str) -> list[str]:
    """Lines of the shell blocks, and of the indented commands of reports, with their variables replaced."""
    lines = []
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        values: dict[str, str] = {}
        for line in block.splitlines():
            if match := re.fullmatch(r'([A-Z]+)="?(.*?)"?', line):
                values[match[1]] = match[2]
            lines.append(re.sub(r"\$\{?([A-Z]+)\}?", lambda name, values=values: values.get(name[1], name[0]), line))
    return lines + re.findall(r"^    (python .*)$", text, re.MULTILINE)


def test_there_are_documents_of_every_kind():
    assert {"README.md", "docs/scan.md", "docs/benchmarks/scan.md", "bundles/subcortical/docs/README.md"} <= set(IDS)


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_links_and_files_of_commands_are_there(path):
    text = path.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    missing = [link for link in links if not (path.parent / link).exists()]
    assert not missing
    named = {name for line in commands(text) for name in re.findall(r"(?:bundles|tools)/[\w/]+\.(?:json|py|pt)", line)}
    missing = [name for name in named if not (ROOT / name).is_file()]
    assert not missing


class ParsedError(Exception):
    """The command line has been accepted."""


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_tools_take_their_documented_options(path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "tools")
    parse = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser, arguments: list[str] | None = None) -> None:
        parse(parser, arguments)
        raise ParsedError

    for command in commands(path.read_text(encoding="utf-8")):
        if match := re.match(r"python (tools/\w+\.py.*)", command):
            words = shlex.split(match[1], comments=True)
            monkeypatch.setattr(sys, "argv", words)
            monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
            try:
                importlib.import_module(Path(words[0]).stem).main()
            except ParsedError:
                continue
            except SystemExit:
                pytest.fail(f"{command}\n{capsys.readouterr().err}")


@pytest.mark.parametrize("name", ["subcortical", "hippocampal_subfields", "brats_multimodal"])
def test_documented_options_are_options_of_the_bundle(name):
    document = ROOT / "bundles" / name / "docs" / "README.md"
    text = document.read_text(encoding="utf-8")
    if name == "subcortical":
        text += (ROOT / "README.md").read_text(encoding="utf-8")
    configs = (ROOT / "bundles" / name / "configs").glob("*.json")
    known = set().union(*(json.loads(path.read_text(encoding="utf-8")) for path in configs))
    options = set(re.findall(r"`--(\w+)", text))
    assert len(options) > 8
    assert options <= known | {"config_file"}
