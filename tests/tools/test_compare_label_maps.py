"""The comparison of methods through its command line, on label maps whose scores are known."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path

import compare_label_maps as tool
import nibabel as nib
import numpy as np
import pytest
from evaluation import comparison_report
from matplotlib.image import imread

from monai_mamba.files import MISSING
from monai_mamba.metrics.score_tables import ALL
from monai_mamba.metrics.structure_scores import ABSENT_RULE

AFFINE = np.diag([-2.0, 1.0, 1.0, 1.0])  # voxels of 2 mm3
LEFT, RIGHT = 17, 53  # hippocampi
OUTPUTS = ["bland_altman.png", "boxplots.png", "columns.json", "report.md", "scores.csv", "summary.csv", "tests.csv"]


def label_map(shift: int = 0, ids: tuple[int, ...] = (LEFT, RIGHT)) -> np.ndarray:
    """Bars of 8 x 4 x 4 voxels; the left one starts `shift` voxels later along the first axis."""
    labels = np.zeros((20, 8, 14), dtype=np.int16)
    for label, start, depth in ((LEFT, 2 + shift, 2), (RIGHT, 2, 8)):
        if label in ids:
            labels[start : start + 8, 2:6, depth : depth + 4] = label
    return labels


def save(path: Path, labels: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = nib.MGHImage if path.suffix == ".mgz" else nib.Nifti1Image
    nib.save(kind(labels, affine), path)


def shifted_assd(shift: int) -> float:
    """ASSD in mm of the shifted bar, counted by hand.

    Of its 104 surface voxels, the 12 on the rim of each layer beyond the other bar are 2, 4, ... mm away, the 4 in the
    middle of its end as far as the last layer, and the 4 in the middle of its start, inside the other bar, 1 mm.
    """
    return (12 * sum(2 * layer for layer in range(1, shift + 1)) + 4 * 2 * shift + 4) / 104


def rows(path: Path, **where: str) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if all(row[key] == value for key, value in where.items())]


def numbers(row: dict[str, str], *names: str) -> list[float]:
    return [float(row[name]) for name in names]


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command in this process, without drawing; gives its exit status and what it printed."""
    for name in ("draw_boxes", "draw_bland_altman"):
        monkeypatch.setattr(comparison_report, name, lambda file, _: file.touch())

    def command(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["compare_label_maps.py", *map(str, arguments)])
        status = tool.main()
        captured = capsys.readouterr()
        return status, captured.err if status else captured.out

    return command


@pytest.fixture(scope="module")
def comparison(tmp_path_factory) -> Path:
    """Six scans in two data sets: `ours` is off by one voxel in the first, `other` by 2..6 in the others."""
    root = tmp_path_factory.mktemp("comparison")
    for number in range(1, 7):
        folder, name = ("one", "two")[number > 3], f"sub-{number}"
        save(root / "ref" / folder / f"{name}_desc-aseg_dseg.nii.gz", label_map())
        save(root / "ours" / f"{name}_desc-subcortical_dseg.nii.gz", label_map(1 if number == 1 else 0))
        save(root / "other" / name / "mri" / "aseg.mgz", label_map(0 if number == 1 else number))
        save(root / "other" / name / "mri" / "T1.mgz", np.ones((20, 8, 14), dtype=np.float32))
    command = ["compare_label_maps.py", "--reference", "ref", "--method", "ours=ours"]
    command += ["--method", "other=other/{subject}/mri/aseg.mgz"]
    command += ["--dataset_pattern", "ref/([a-z]+)/", "--output_dir", "out"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", command)
        patched.chdir(root)
        assert tool.main() == 0
    return root / "out"


def test_everything_is_written_and_nothing_else(comparison):
    assert sorted(path.name for path in comparison.iterdir()) == OUTPUTS


def test_scores_of_a_shifted_bar(comparison):
    for number in range(1, 7):
        for method, shift in (("ours", int(number == 1)), ("other", number if number > 1 else 0)):
            where = {"subject": f"sub-{number}", "method": method}
            (left,) = rows(comparison / "scores.csv", **where, id=str(LEFT))
            expected = [1 - shift / 8, 1, shifted_assd(shift) if shift else 0, 2 * shift]
            assert numbers(left, "dsc", "vs", "assd_mm", "hd95_mm") == pytest.approx(expected, rel=1e-5)
            assert numbers(left, "volume_mm3", "reference_mm3") == [256, 256]
            assert left["dataset"] == ("one" if number <= 3 else "two")
            (right,) = rows(comparison / "scores.csv", **where, id=str(RIGHT))
            assert numbers(right, "dsc", "vs", "assd_mm", "hd95_mm") == [1, 1, 0, 0]


def test_summary_of_each_data_set_and_overall(comparison):
    shifts = {"one": [0, 2, 3], "two": [4, 5, 6], "overall": [0, 2, 3, 4, 5, 6]}
    for dataset, values in shifts.items():
        (left,) = rows(comparison / "summary.csv", dataset=dataset, method="other", id=str(LEFT))
        dsc = 1 - np.array(values) / 8
        assert left["n"] == str(len(values))
        assert numbers(left, "dsc_mean", "dsc_sd") == pytest.approx([dsc.mean(), dsc.std(ddof=1)], rel=1e-5)
        assert float(left["hd95_mm_mean"]) == pytest.approx(2 * np.mean(values), rel=1e-5)
        (mean,) = rows(comparison / "summary.csv", dataset=dataset, method="other", name=ALL)
        assert float(mean["dsc_mean"]) == pytest.approx((dsc.mean() + 1) / 2, rel=1e-5)


def test_tests_between_the_methods(comparison):
    # Differences in DSC are -1, 2, 3, 4, 5, 6 eighths: p = 2 * 2 / 64, effect (20 - 1) / 21; VS does not differ.
    for structure, difference, family in ((ALL, 19 / 96, 4), ("Left-Hippocampus", 19 / 48, 8)):
        tests = {row["metric"]: row for row in rows(comparison / "tests.csv", dataset="overall", name=structure)}
        assert {(row["method_a"], row["method_b"], row["n"]) for row in tests.values()} == {("ours", "other", "6")}
        assert float(tests["dsc"]["mean_difference"]) == pytest.approx(difference, rel=1e-5)
        for metric, sign in (("dsc", 1), ("assd_mm", -1), ("hd95_mm", -1)):
            expected = [0.0625, family * 0.0625, sign * 19 / 21]
            assert numbers(tests[metric], "p", "p_holm", "effect_size") == pytest.approx(expected, rel=1e-5)
        assert numbers(tests["vs"], "p", "p_holm", "effect_size") == [1, 1, 0]
    assert [row["n"] for row in rows(comparison / "tests.csv", dataset="two", name=ALL)] == ["3"] * 4


def test_report_has_the_rule_before_its_tables_and_the_numbers(comparison):
    text = (comparison / "report.md").read_text(encoding="utf-8")
    assert text.count("\n| --- |") == 3 * (1 + 1 + 4)
    assert 0 < text.find(ABSENT_RULE) < text.find("\n| --- |")
    assert "6 scans in data sets: one (3), two (3)" in text
    # Mean DSC of the two bars of `other`, overall: 1 - (20 / 6) / 16; shifts 0, 2, 3, 4, 5, 6 have the SD 2.1602.
    assert "| other | 6 | 0.792 ± 0.135 | 1.000 ± 0.000 |" in text
    assert "--method 'other=other/{subject}/mri/aseg.mgz'" in text


def test_columns_are_explained(comparison):
    notes = json.loads((comparison / "columns.json").read_text(encoding="utf-8"))
    explained = {name.strip() for key in notes for name in key.removesuffix(" (tests)").split(",")}
    for table in ("scores.csv", "summary.csv", "tests.csv"):
        columns = set(rows(comparison / table)[0])
        moments = {name for name in columns if name.endswith(("_mean", "_sd"))}
        assert columns - moments - explained <= {"metric"}
    assert notes["absent structures"] == ABSENT_RULE


@pytest.mark.parametrize("name", ["boxplots.png", "bland_altman.png"])
def test_plots_are_pictures(comparison, name):
    picture = imread(comparison / name)[..., :3]
    assert min(picture.shape[:2]) > 300
    colored = np.ptp(picture, axis=2) > 0.2  # boxes and points; axes, text and grid are gray
    assert 50 < colored.sum() < colored.size / 2


def test_rule_for_absent_structures(run, tmp_path):
    maps = {
        "ref": [label_map(), label_map(ids=(LEFT,))],
        "ours": [label_map(), label_map(ids=(LEFT,))],
        "other": [label_map(ids=(LEFT,))] * 2,
    }
    for name, pair in maps.items():
        for number, labels in enumerate(pair):
            save(tmp_path / name / f"{number}.nii.gz", labels)
    sets = ["--reference", tmp_path / "ref", "--method", f"ours={tmp_path / 'ours'}"]
    sets += ["--method", f"other={tmp_path / 'other'}", "--output_dir", tmp_path / "out"]
    status, printed = run(*sets)
    assert status == 1
    assert "other never has 53 (Right-Hippocampus)." in printed
    assert "In all sets: 17. In the reference: 17 53." in printed
    assert not list((tmp_path / "out").iterdir())

    assert run(*sets, "--ids", LEFT, RIGHT)[0] == 0
    out = tmp_path / "out"
    (missed,) = rows(out / "summary.csv", method="other", id=str(RIGHT))
    assert [missed[name] for name in ("n", "n_absent", "n_missing", "dsc_mean")] == ["1", "1", "1", "0"]
    assert missed["assd_mm_mean"] == MISSING
    (found,) = rows(out / "summary.csv", method="ours", id=str(RIGHT))
    assert [found[name] for name in ("n", "n_absent", "n_missing", "dsc_mean")] == ["1", "1", "0", "1"]
    dsc, _, assd, _ = rows(out / "tests.csv", id=str(RIGHT))
    assert [dsc[name] for name in ("n", "n_unpaired", "mean_difference")] == ["1", "0", "1"]
    assert [assd[name] for name in ("n", "n_unpaired", "p", "p_holm")] == ["0", "1", MISSING, MISSING]
    text = (out / "report.md").read_text(encoding="utf-8")
    assert "- other never has: 53" in text
    assert "| 53 Right-Hippocampus | 1.000 (1) | 0.000 (1) |" in text
    assert "| 53 Right-Hippocampus | 0.000 (1) | n/a (0) |" in text


def test_ids_that_a_reference_does_not_know_are_not_scored_there(run, tmp_path):
    for name in ("ref", "ours", "other"):
        for number in range(2):
            ids = (LEFT,) if name == "ref" and number else (LEFT, RIGHT)
            save(tmp_path / name / f"{number}.nii.gz", label_map(ids=ids))
    table = ["subject\tperson\tfold\tmissing\tdraws", "0\ta\t0\t\t1", f"1\tb\t0\t{RIGHT}\t1"]
    (tmp_path / "scans.tsv").write_text("\n".join(table))
    sets = ["--reference", tmp_path / "ref", "--method", f"ours={tmp_path / 'ours'}", "--ids", LEFT, RIGHT]
    sets += ["--method", f"other={tmp_path / 'other'}", "--output_dir", tmp_path / "out"]
    for more, scans in (([], ["1", "0.5"]), (["--scan_table", tmp_path / "scans.tsv"], ["0", "1"])):
        assert run(*sets, *more)[0] == 0
        (row,) = rows(tmp_path / "out" / "summary.csv", method="ours", id=str(RIGHT))
        assert [row["n_missing"], row["dsc_mean"]] == scans


def test_ids_outside_the_label_table_are_named_not_compared(run, tmp_path):
    for name in ("ref", "a", "b"):
        labels = label_map()
        labels[0, 0, 0] = 2035 if name == "b" else 0
        save(tmp_path / name / "x.nii.gz", labels)
    arguments = ["--reference", tmp_path / "ref", "--method", f"a={tmp_path / 'a'}", "--method", f"b={tmp_path / 'b'}"]
    assert run(*arguments, "--output_dir", tmp_path / "out")[0] == 0
    assert "- b also has, not compared: 2035\n" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert {row["id"] for row in rows(tmp_path / "out" / "scores.csv")} == {"17", "53"}


def drop_a_subject(root: Path) -> None:
    (root / "b" / "s2.nii.gz").unlink()
    save(root / "b" / "s9.nii.gz", label_map())


def crop(root: Path) -> None:
    save(root / "b" / "s2.nii.gz", label_map()[:-1])


def move(root: Path) -> None:
    save(root / "b" / "s2.nii.gz", label_map(), nib.affines.from_matvec(AFFINE[:3, :3], [0, 0.5, 0]))


def interpolate(root: Path) -> None:
    save(root / "b" / "s2.nii.gz", label_map() * np.float32(0.3))


def cut(root: Path) -> None:
    path = root / "b" / "s2.nii.gz"
    path.write_bytes(path.read_bytes()[:-30])


def add_a_structure(root: Path) -> None:
    labels = label_map()
    labels[0, 0, 0] = 10
    save(root / "b" / "s1.nii.gz", labels)


def double(root: Path) -> None:
    save(root / "b" / "again" / "s2.nii", label_map())


def empty(root: Path) -> None:
    for path in (root / "b").iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "extra", "message"),
    [
        (drop_a_subject, [], r"b \(.*\) lacks: s2\.\nb \(.*\) has what the reference lacks: s9\."),
        (crop, [], r"b: .*s2\.nii\.gz: its grid is \(19, 8, 14\) voxels, but that of .* is \(20, 8, 14\)"),
        (move, [], r"b: .*s2\.nii\.gz: it has the shape of .* differ by up to 0\.5 mm\)"),
        (interpolate, [], r"s2\.nii\.gz: its values are not label ids"),
        (cut, [], r"s2\.nii\.gz: .*(truncated|damaged)"),
        (add_a_structure, [], r"b has, unlike the reference, 10 \(Left-Thalamus\)\.(.|\n)* In all sets: 17 53\."),
        (double, [], r"b: .* both belong to subject s2"),
        (empty, [], r"b: no label map found"),
        (None, ["--ids", "17", "9999"], r"--ids: \[9999\] are not in the label table"),
        (None, ["--method", "a=elsewhere/{subject}.nii"], r"a: no label map found for 'elsewhere"),
        (None, ["--dataset_pattern", "("], r"is not a regular expression"),
        (None, ["--dataset_pattern", "s."], r"has no group"),
        (None, ["--dataset_pattern", "(t3)"], r"s1\.nii\.gz: --dataset_pattern \(t3\) finds no name"),
        (None, ["--labels", "nothing"], r"There is no label table 'nothing'"),
    ],
)
def test_sets_that_cannot_be_compared(run, tmp_path, spoil, extra, message):
    for name in ("ref", "a", "b"):
        for subject in ("s1", "s2"):
            save(tmp_path / name / f"{subject}.nii.gz", label_map())
    if spoil:
        spoil(tmp_path)
    arguments = ["--reference", tmp_path / "ref", "--method", f"a={tmp_path / 'a'}", "--method", f"b={tmp_path / 'b'}"]
    status, printed = run(*arguments, "--output_dir", tmp_path / "out", *extra)
    assert status == 1
    assert "Traceback" not in printed
    assert re.search(message, printed), printed
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_methods_need_names_of_their_own(run, tmp_path):
    save(tmp_path / "s1.nii.gz", label_map())
    for names in (["a"], ["a", "a"], ["a", "reference"]):
        methods = [word for name in names for word in ("--method", f"{name}={tmp_path}")]
        status, printed = run("--reference", tmp_path, *methods, "--output_dir", tmp_path / "out")
        assert status == 1
        assert f"The methods are {names}" in printed


def test_images_beside_label_maps_are_not_taken(run, tmp_path):
    for name in ("ref", "a", "b"):
        save(tmp_path / name / "x" / "x_desc-aseg_dseg.nii.gz", label_map())
        save(tmp_path / name / "x" / "x_T1w.nii.gz", np.full((20, 8, 14), 0.5, dtype=np.float32))
        save(tmp_path / name / "x" / ".unfinished_dseg.nii.gz", label_map())
    arguments = ["--reference", tmp_path / "ref", "--method", f"a={tmp_path / 'a'}", "--method", f"b={tmp_path / 'b'}"]
    assert run(*arguments, "--output_dir", tmp_path / "out")[0] == 0
    assert {row["subject"] for row in rows(tmp_path / "out" / "scores.csv")} == {"x"}


def test_folder_that_cannot_be_written(run, tmp_path):
    for name in ("ref", "a", "b"):
        save(tmp_path / name / "x.nii.gz", label_map())
    (tmp_path / "file").write_text("in the way")
    arguments = ["--reference", tmp_path / "ref", "--method", f"a={tmp_path / 'a'}", "--method", f"b={tmp_path / 'b'}"]
    status, printed = run(*arguments, "--output_dir", tmp_path / "file" / "out")
    assert status == 1
    assert "cannot be written" in printed
