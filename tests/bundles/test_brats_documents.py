"""Commands that docs/benchmarks/tumors.md names do what is said of them."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

from monai.bundle import ConfigWorkflow

from monai_mamba import SegMaFormer

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "brats_multimodal"
DOCUMENT = (BUNDLE.parents[1] / "docs" / "benchmarks" / "tumors.md").read_text(encoding="utf-8")


def value(text: str) -> object:
    """What the command line makes of an option."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def test_one_case_is_learned_as_it_is_and_where_it_is_validated(tmp_path):
    (command,) = [line for line in DOCUMENT.splitlines() if "--output_dir by_heart" in line]
    words = shlex.split(command)
    options = {name[2:]: value(text) for name, text in zip(words[4::2], words[5::2], strict=True)}
    configs = [name.replace("$C", str(BUNDLE / "configs")) for name in options.pop("config_file")]
    options |= {"output_dir": str(tmp_path), "device": "cpu"}
    bundle = ConfigWorkflow(configs, workflow_type="train", logging_file=False, **options)
    bundle.initialize()
    assert isinstance(bundle.parser.get_parsed_content("network_def").network, SegMaFormer)
    assert bundle.parser.get_parsed_content("train_cases") == bundle.parser.get_parsed_content("val_cases")
    transforms = bundle.parser.get_parsed_content("train#preprocessing").transforms
    assert [type(step).__name__ for step in transforms[-2:]] == ["SpatialPadd", "RandCropByPosNegLabeld"]
    windows = bundle.parser.get_parsed_content("train#dataset")[0]
    assert [tuple(window["image"].shape) for window in windows] == [(4, 64, 64, 64)] * 2
    assert windows[0]["image"].pixdim.tolist() == [2, 2, 2]
    assert options["epochs"] % options["val_interval"] == 0  # the last step is validated


def test_no_shell_expands_what_belongs_to_a_config():
    assert not re.findall(r'"[^"\n]*\$@[^"\n]*"', DOCUMENT)  # the shell knows "$@"
