"""Tables, figures and files of reports."""

from __future__ import annotations

import argparse

import numpy as np
import pytest
import reports

from monai_mamba.errors import InputError, OutputError


def test_a_table_keeps_its_columns():
    text = reports.table(["name", "n"], [["a|b", 3], ["c", "-"]])
    assert text == "| name | n |\n| --- | ---: |\n| a\\|b | 3 |\n| c | - |\n"


def test_figures_have_three_digits_a_unit_or_a_dash():
    assert [reports.number(value) for value in (0.12345, 12.345, 1234.5, None)] == ["0.123", "12.3", "1,234", "-"]
    assert reports.number(0.25, 1e-3) == "250"
    assert [reports.percent(value) for value in (0.256, None)] == ["26 %", "-"]


def test_missing_values_are_left_out_of_a_mean():
    values = np.array([1.0, 2.0, np.nan, 3.0])
    assert reports.spread(values) == "2.000 ± 1.000"
    assert reports.spread(values[:1], digits=1) == "1.0"
    assert reports.moments(values[2:3]) == ("n/a", "n/a")


def test_an_error_ends_a_command_with_its_sentence(capsys):
    def fail(options: argparse.Namespace) -> None:
        raise InputError(f"{options.input}: no such file.")

    assert reports.run_command(fail, argparse.Namespace(input="scan.nii")) == 1
    assert capsys.readouterr().err == "Error: scan.nii: no such file.\n"
    assert reports.run_command(lambda _: None, argparse.Namespace()) == 0
    assert reports.run_command(lambda _: 3, argparse.Namespace()) == 3


def test_files_appear_where_a_folder_can_be_made(tmp_path):
    reports.write_files(tmp_path / "new", {"a.md": "text\n", "b.bin": lambda file: file.write_bytes(b"12")})
    assert (tmp_path / "new" / "a.md").read_text() == "text\n"
    assert (tmp_path / "new" / "b.bin").read_bytes() == b"12"
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot be written .* --output_dir"):
        reports.write_files(tmp_path / "file" / "out", {"a.md": "text"})
