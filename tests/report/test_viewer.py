"""The viewer in a real browser, from disk and without a network."""

from __future__ import annotations

import io
import shutil

import numpy as np
from browser import Browser, chromium
from head_phantom import LEFT
from PIL import Image
from results_phantom import save_results, save_scan

from monai_mamba.report import write_report

STATE = "return document.documentElement.dataset.viewer || null"
WHERE = "return document.getElementById('viewer-where').textContent"
BOX = (
    "const box = document.getElementById('viewer-canvas').getBoundingClientRect(); "
    "return [box.left, box.top, box.right, box.bottom]"
)


def yellow(browser: Browser) -> np.ndarray:
    """Where the viewer shows the color of the hippocampus on the gray scan: `(N, 2)`, fractions of height and width."""
    box = browser.run(BOX)
    viewer = Image.open(io.BytesIO(browser.screenshot())).convert("RGB").crop([round(side) for side in box])
    colors = np.asarray(viewer).astype(int)
    found = np.argwhere((colors[..., 0] - colors[..., 2] > 60) & (colors[..., 1] - colors[..., 2] > 60))
    return found / colors.shape[:2]


def choose(browser: Browser, control: str, value: str) -> None:
    """Set one of the controls above the viewer."""
    browser.run(
        f"const control = document.getElementById('viewer-{control}'); control.value = '{value}'; "
        "control.dispatchEvent(new Event('input')); control.dispatchEvent(new Event('change'));"
    )


def test_the_labels_are_seen_on_the_scan_without_a_network(tmp_path):
    scan = tmp_path / "scan" / "<b>'&_T1w.nii.gz"
    save_results(scan, save_scan(scan, sides=(LEFT,)), tmp_path / "results" / "<b>'&_desc-subcortical")
    assert write_report(tmp_path / "results", tmp_path / "report.html", [str(scan)]) == []
    with chromium(tmp_path / "profile") as browser:
        browser.open(tmp_path / "report.html")
        assert browser.wait_for(STATE, "ready", "failed") == "ready", browser.run(WHERE)
        assert len(yellow(browser)) > 500  # pixels

        browser.run(f"document.querySelector('[data-id=\"{LEFT}\"] button').click()")
        assert browser.run(WHERE).startswith("Left-Hippocampus (17) at -11.0, -8.0, -6.0 mm")

        # The scan is stored right to left; the patient's left is on the left of the picture.
        choose(browser, "view", "axial")
        found = yellow(browser)
        assert len(found) > 500
        assert found[:, 1].max() < 0.5

        choose(browser, "labels", "0")
        assert len(yellow(browser)) == 0

        assert browser.run("return performance.getEntriesByType('resource').length") == 0
        assert browser.run("return document.querySelectorAll('header b').length") == 0
        assert browser.log() == []


def test_tables_and_pictures_need_no_script(study, tmp_path):
    write_report(study / "results", tmp_path / "report.html", [str(study / "scans")])
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    (tmp_path / "plain.html").write_text(text.replace("&#39;sha256-", "&#39;sha256-no"), encoding="utf-8")
    with chromium(tmp_path / "profile") as browser:
        browser.open(tmp_path / "plain.html")
        assert browser.run(STATE) is None
        assert "Hippocampus" in browser.run("return document.querySelector('table').innerText")
        assert browser.run("return document.querySelector('figure img').naturalWidth") > 600


def test_scans_are_sorted_and_filtered(cohort, tmp_path):
    """All scans of the cohort fail but one, whose table is that of another bundle's task, which has no grade."""
    for number in range(3):
        shutil.copytree(cohort / f"sub-{number:02d}", tmp_path / "results" / f"sub-{number:02d}")
    for path in (tmp_path / "results" / "sub-01").iterdir():
        path.rename(path.with_name(path.name.replace("desc-subcortical", "desc-other")))
    write_report(tmp_path / "results", tmp_path / "report.html")
    names = "return Array.from(document.querySelectorAll('td.name'), (cell) => cell.offsetParent && cell.textContent)"
    with chromium(tmp_path / "profile") as browser:
        browser.open(tmp_path / "report.html")
        assert browser.run(names) == ["sub-00", "sub-02", "sub-01"]
        browser.run("document.querySelector('th.text button').click()")
        assert browser.run(names) == ["sub-00", "sub-01", "sub-02"]
        browser.run("document.querySelector('th.text button').click()")
        assert browser.run(names) == ["sub-02", "sub-01", "sub-00"]
        browser.run(
            "const f = document.getElementById('grades'); f.value = 'fail'; f.dispatchEvent(new Event('input'));"
        )
        assert browser.run(names) == ["sub-02", None, "sub-00"]
        assert browser.run("return document.querySelectorAll('section[hidden]').length") == 1
        assert browser.log() == []


def test_a_page_of_many_scans_opens(request, tmp_path):
    with chromium(tmp_path / "profile") as browser:
        write_report(request.getfixturevalue("many"), tmp_path / "report.html")
        browser.open(tmp_path / "report.html")
        assert browser.run("return document.querySelectorAll('table.scans tbody tr').length") == 200
        browser.run("document.images[199].scrollIntoView()")
        assert browser.wait_for("return document.images[199].naturalWidth > 0", True)
        assert browser.log() == []
