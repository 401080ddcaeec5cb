"""One version, wherever it is written."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from monai_mamba import version

ROOT = Path(__file__).resolve().parents[1]


def test_the_changelog_and_the_citation_name_the_version():
    (newest, *_) = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    (cited,) = re.findall(r"^version: (\S+)", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest == cited == version.__version__


def test_the_build_can_read_the_version_without_the_dependencies():
    tree = ast.parse(Path(version.__file__).read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
