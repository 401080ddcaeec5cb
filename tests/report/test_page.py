"""The page: what it says, that it is whole, and that nothing in it runs but its own scripts."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from head_phantom import LEFT
from results_phantom import copy_results, usual_volumes

from monai_mamba.data.scans import RESULTS
from monai_mamba.errors import InputError, OutputError
from monai_mamba.report import page, write_report
from monai_mamba.report.images import embed_picture
from monai_mamba.report.statistics import MIN_SCANS

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
HOSTILE = "<img src=x onerror=alert(1)>&\"'{{7*7}}"


class Page(HTMLParser):
    """Tags, texts and the content of scripts and styles of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.contents: dict[str, list[str]] = {"script": [], "style": []}
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self.text += " "

    def handle_data(self, data: str) -> None:
        tag, attributes = self.tags[-1] if self.tags else ("", {})
        if tag not in self.contents:
            self.text += data
        elif "type" not in attributes and data.strip():
            self.contents[tag].append(data)

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="session")
def single(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = tmp_path_factory.mktemp("page") / "report.html"
    assert write_report(study / "results", path, [str(study / "scans")]) == []
    return Page(path)


def test_a_page_refers_to_nothing_outside_itself(single):
    addresses = [value for _, tag in single.tags for key, value in tag.items() if key in ("src", "href", "srcset")]
    assert addresses
    assert all(value.startswith(("data:", "#")) for value in addresses)
    assert not single.attributes("link")


def test_only_the_scripts_and_styles_of_the_report_may_run(single):
    (policy,) = (meta["content"] for meta in single.attributes("meta") if "http-equiv" in meta)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for tag in ("script", "style"):
        found = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in single.contents[tag]]
        assert found
        assert rules[f"{tag}-src"].split() == [f"'sha256-{digest}'" for digest in found]


def test_the_license_of_the_viewer_comes_with_it(single):
    assert "Copyright (c) 2021, Niivue" in single.contents["script"][0]
    assert "provided with the distribution" in single.contents["script"][0]


def test_the_viewer_is_the_published_file():
    # Of a new version, the license file has to name it and what it holds.
    digest = hashlib.sha256((page.ASSETS / "niivue.umd.js").read_bytes()).hexdigest()
    assert digest == "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"  # of 0.69.0
    assert "NiiVue 0.69.0" in (page.ASSETS / "niivue.LICENSE.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["niivue.umd.js", "viewer.js", "scans.js", "niivue.LICENSE.txt", "page.css"])
def test_assets_can_stand_inside_a_page(name):
    text = (page.ASSETS / name).read_bytes().decode("utf-8")
    end = "style" if name.endswith(".css") else "script"
    assert not re.search(rf"</{end}|<!--|\r|\0", text, re.IGNORECASE)
    if name.endswith(".txt"):
        assert "*/" not in text


def test_figures_have_their_units(single):
    text = " ".join(single.text.split())
    assert "Left mm³ Right mm³ Asymmetry % Expected DSC left, right; 0 to 1" in text
    assert "Nothing is marked" not in text


def test_a_cohort_marks_its_outliers_first(cohort, tmp_path):
    assert write_report(cohort, tmp_path / "report.html") == []
    found = Page(tmp_path / "report.html")
    links = [link["href"] for link in found.attributes("a")]
    sections = [section["id"] for section in found.attributes("section")]
    assert len(links) == 24
    assert [f"#{name}" for name in sections] == links
    text = " ".join(found.text.split())
    assert text.index("sub-11") < text.index("sub-15") < text.index("sub-00")
    assert re.search(r"Left-Hippocampus missing \(usual 3,[89]\d\d to 4,\d\d\d mm³\)", text)
    assert re.search(r"Left-Hippocampus 1,9\d\d mm³ \(usual 3,[89]\d\d to", text)
    assert "Lowest expected DSC 0.500 (usual 0.8" in text
    assert "median of these 24 scans, whatever their age, sex and head size" in text
    assert re.search(r"3,9\d\d \N{MINUS SIGN}\d\.\d ", text)  # a volume and its z-score
    assert found.contents["script"] == [(page.ASSETS / "scans.js").read_text(encoding="utf-8")]


def test_a_small_cohort_marks_nothing_and_says_why(cohort, tmp_path):
    for number in range(MIN_SCANS - 1):
        shutil.copytree(cohort / f"sub-{number:02d}", tmp_path / f"sub-{number:02d}")
    write_report(tmp_path, tmp_path / "report.html")
    found = Page(tmp_path / "report.html")
    assert f"Nothing is marked, and there are no z-scores: {MIN_SCANS} scans are" in " ".join(found.text.split())
    assert not [cell for cell in found.attributes("td") if "marked" in (cell.get("class") or "")]
    assert not re.search("Marked|Usual", found.text)


def test_of_many_marked_values_the_first_are_named(study, tmp_path):
    source, usual = study / "results" / "sub-01" / "sub-01_desc-subcortical", usual_volumes()
    for number in range(MIN_SCANS):
        size = 3 if number == 4 else 1 + number / 500
        copy_results(source, tmp_path / f"{number}_desc-subcortical", {key: size * mm3 for key, mm3 in usual.items()})
    write_report(tmp_path, tmp_path / "report.html")
    text = " ".join(Page(tmp_path / "report.html").text.split())
    (marked,) = re.findall(r"Marked: ((?!more than).*?); and (\d+) more, see the table\.", text)
    assert marked[0].count("; ") == 4
    assert int(marked[1]) > len(usual) - 10


def test_each_scan_has_its_grade_with_the_reason_and_the_worst_comes_first(study, tmp_path):
    usual, source = usual_volumes(), study / "results" / "sub-01" / "sub-01_desc-subcortical"
    for name, volumes in {"a": usual, "b": usual | {LEFT: 0.0}, "c": {LEFT: 4000.0}}.items():
        copy_results(source, tmp_path / f"{name}_desc-subcortical", volumes)
    write_report(tmp_path, tmp_path / "report.html")
    found = Page(tmp_path / "report.html")
    assert [row["data-grade"] for row in found.attributes("tr") if "data-grade" in row] == ["fail", "look", "pass"]
    assert [part["data-grade"] for part in found.attributes("section")] == ["fail", "look", "pass"]
    assert [option["value"] for option in found.attributes("option")] == ["", "fail", "look", "pass"]
    text = " ".join(found.text.split())
    assert "look 1 of 31 structures are unusual: Left-Hippocampus (not found)." in text
    assert "pass nothing is unusual." in text


@pytest.mark.parametrize("icv", [None, "1600000.0", "n/a"])
def test_shares_stand_beside_the_volumes_where_the_tables_have_them(study, tmp_path, icv):
    source = study / "results" / "sub-01" / "sub-01_desc-subcortical"
    copy_results(source, tmp_path / "a_desc-subcortical", {LEFT: 4000.0})
    table = tmp_path / "a_desc-subcortical_volumes.tsv"
    head, *rows = table.read_text().splitlines()
    rows.append("n/a\tBrainSegVolNotVent\tn/a\t1200000.0\tn/a\tn/a")
    shares = [f"{row}\t{float(row.split()[3]) / 1e4:.4f}" for row in rows]
    lines = [f"{head}\tpercent_of_brain", *shares]
    if icv:
        share = "n/a" if icv == "n/a" else "0.2500"
        lines = [f"{lines[0]}\tpercent_of_icv", *(f"{line}\t{share}" for line in shares)]
        lines.append(f"n/a\tEstimatedTotalIntraCranialVol\tn/a\t{icv}" + 4 * "\tn/a")
    table.write_text("\n".join(lines) + "\n")
    write_report(tmp_path, tmp_path / "report.html")
    text = " ".join(Page(tmp_path / "report.html").text.split())
    assert ("% of brain left, right" in text) == (icv is None)
    assert ("% of ICV left, right" in text) == (icv == "1600000.0")
    dash = "\N{EN DASH}"
    share = {None: f"0.400 {dash}", "1600000.0": "0.250 0.250", "n/a": f"0.900 {dash}"}[icv]
    assert f"Hippocampus 4,000 0 +200.0 {share}" in text
    assert "BrainSegVolNotVent 1,200,000" in text
    assert icv is None or f"EstimatedTotalIntraCranialVol {'1,600,000' if icv != 'n/a' else dash}" in text


def test_a_page_of_many_scans_stays_small_and_draws_pictures_when_they_are_seen(many, tmp_path):
    write_report(many, tmp_path / "report.html")
    found = Page(tmp_path / "report.html")
    pictures = found.attributes("img")
    assert len(pictures) == 200
    assert all(picture["loading"] == "lazy" for picture in pictures)
    assert all(section["class"] == "several" for section in found.attributes("section"))  # not laid out until seen
    # The pictures of phantoms are small, so that one of a head is counted in their place: 1,000 scans are 30 MB.
    head = embed_picture(BUNDLES.parent / "docs" / "sub-0001_desc-subcortical_picture.png", page.WIDTHS[-1][1])
    whole = (tmp_path / "report.html").stat().st_size - sum(len(picture["src"]) for picture in pictures)
    assert whole / 200 + len(head) < 30_000


def test_the_viewer_holds_the_scans_with_the_most_marked_values(cohort, study, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "MAX_VIEWERS", 2)
    for number in range(24):
        scan = tmp_path / f"sub-{number:02d}" / f"sub-{number:02d}_T1w.nii.gz"
        scan.parent.mkdir()
        shutil.copy(study / "scans" / "sub-01" / "sub-01_T1w.nii.gz", scan)
    assert write_report(cohort, tmp_path / "report.html", [str(tmp_path)]) == []
    found = Page(tmp_path / "report.html")
    assert len([script for script in found.attributes("script") if "image-" in (script.get("id") or "")]) == 2
    text = " ".join(found.text.split())
    assert "It holds 2 of 24 scans, the worst by quality and marked values." in text
    assert {cell["data-scan"] for cell in found.attributes("td") if "data-scan" in cell} == {"0", "1"}


def test_names_of_files_are_only_text(study, tmp_path):
    source = study / "results" / "sub-01" / "sub-01_desc-subcortical"
    folder = tmp_path / HOSTILE.replace("/", "")
    folder.mkdir()
    for ending in RESULTS.values():
        shutil.copy(f"{source}{ending}", folder / f"{HOSTILE}\n\udcff_desc-subcortical{ending}")
    (folder / f"{HOSTILE}_volumes.tsv").write_text("")
    assert len(write_report(folder, folder / "report.html")) == 1
    found = Page(folder / "report.html")
    assert HOSTILE in found.text
    assert all(image["src"].startswith("data:") for image in found.attributes("img"))


def test_a_page_that_cannot_be_written_leaves_nothing(study, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--output"):
        write_report(study / "results", tmp_path / "file" / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_report_takes_the_place_of_an_earlier_one_only(study, tmp_path, monkeypatch):
    write_report(study, tmp_path / "report.html")
    write_report(study, tmp_path / "report.html")
    (tmp_path / "scan.nii").write_bytes(b"a scan")
    with pytest.raises(InputError, match=r"--output is .*scan\.nii, which is not a report"):
        write_report(study, tmp_path / "scan.nii")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match="which is not a report"):
        write_report(study, "~/scan.nii")
    assert (tmp_path / "scan.nii").read_bytes() == b"a scan"


def test_scans_of_another_study_are_refused(cohort, study, tmp_path):
    with pytest.raises(InputError, match="none of the results"):
        write_report(cohort / "sub-00", tmp_path / "report.html", [str(study / "scans")])
