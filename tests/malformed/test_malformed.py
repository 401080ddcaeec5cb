"""One generator for each bad input; each gets one clear error and leaves no result."""

from __future__ import annotations

import gzip
import logging
import os
import signal
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import forked
import nibabel as nib
import numpy as np
import pytest
import torch
from head_phantom import IntensityNetwork, centered_affine, make_head, save_head
from monai.bundle import ConfigWorkflow

from monai_mamba.errors import DeviceError, InputError, MonaiMambaError, OutputError, WeightsError, as_before

CONFIG = Path(__file__).resolve().parents[2] / "bundles" / "subcortical" / "configs" / "inference.json"
SHAPE = (24, 26, 22)
GENERATOR = np.random.default_rng(0)


def head(path: Path) -> Path:
    save_head(path, SHAPE, np.eye(3))
    return path


def volume(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(data, np.eye(4) if affine is None else affine), path)
    return path


def noise(*shape: int) -> np.ndarray:
    return GENERATOR.uniform(1, 100, shape).astype(np.float32)


def cut(path: Path, keep: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    return path


def text(path: Path) -> Path:
    path.write_text("This is not an image.\n" * 40)
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


def flip_bytes(path: Path) -> Path:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(255 - value for value in content[middle : middle + 64])
    path.write_bytes(content)
    return path


def colors(path: Path) -> Path:
    return volume(path, np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]))


def not_finite(path: Path, share: float) -> Path:
    data = noise(*SHAPE)
    data.ravel()[: int(share * data.size)] = np.nan
    data.ravel()[-1] = np.inf
    return volume(path, data)


def singular(path: Path) -> Path:
    image = nib.Nifti1Image(noise(*SHAPE), np.eye(4))
    image.header["srow_x"], image.header["srow_y"] = (1, 0, 0, 0), (1, 0, 0, 0)
    image.header["sform_code"], image.header["qform_code"] = 1, 0
    with path.open("wb") as file:  # as it is: nibabel's own save would write the affine that it was made with
        image.header.set_data_offset(352)
        image.header.write_to(file)
        file.write(b"\0" * 4 + image.get_fdata().astype(np.float32).tobytes(order="F"))
    return path


def gzip_without_suffix(path: Path) -> Path:
    packed = head(path.with_name("packed.nii.gz"))
    packed.rename(path)
    return path


def suffix_without_gzip(path: Path) -> Path:
    plain = head(path.with_name("plain.nii"))
    plain.rename(path)
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def broken_link(path: Path) -> Path:
    path.symlink_to("absent.nii.gz")
    return path


BAD: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    "missing": ("scan.nii.gz", lambda path: path, "no such file"),
    "empty": ("scan.nii.gz", empty, r"empty \(0 bytes\)"),
    "truncated": ("scan.nii", lambda path: cut(head(path), 0.6), "truncated or damaged"),
    "truncated gzip": ("scan.nii.gz", lambda path: cut(head(path), 0.6), r"truncated or damaged: [1-9]\d* bytes"),
    "truncated header": ("scan.nii", lambda path: cut(head(path), 0.002), "not a readable NIfTI or MGH image"),
    "truncated mgz": ("scan.mgz", lambda path: cut(head(path), 0.6), "file ended before"),
    "damaged gzip": ("scan.nii.gz", lambda path: flip_bytes(volume(path, noise(*SHAPE))), "the file is damaged"),
    "text": ("scan.nii", text, "not a readable NIfTI or MGH image"),
    "text as gzip": ("scan.nii.gz", text, "not a readable NIfTI or MGH image"),
    "gzip without suffix": ("scan.nii", gzip_without_suffix, r"compressed: give it a name that ends in \.nii\.gz"),
    "suffix without gzip": ("scan.nii.gz", suffix_without_gzip, r"not compressed: .* a name that ends in \.nii"),
    "pointer of Git LFS": (
        "scan.nii.gz",
        lambda path: written(path, b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123\n"),
        "a pointer of Git LFS or git-annex",
    ),
    "pointer of git-annex": (
        "scan.nrrd",
        lambda path: written(path, b"/annex/objects/MD5E-s123--4d7a.nrrd\n"),
        "a pointer of Git LFS or git-annex",
    ),
    "broken link": ("scan.nii.gz", broken_link, "a link to absent.nii.gz, which does not exist"),
    "voxels of 1 m": (
        "scan.nii",
        lambda path: volume(path, noise(*SHAPE), np.diag([1e3, 1e3, 1e3, 1])),
        "a head needs 5 to",
    ),
    "voxels of 1 um": (
        "scan.nii",
        lambda path: volume(path, noise(*SHAPE), np.diag([1e-3] * 3 + [1])),
        "a head needs 5 to",
    ),
    "other suffix": ("scan.dcm", text, "dcm2niix"),
    "compressed DICOM": ("scan.dcm.gz", text, r"a compressed file that is not read .* Unpack it first"),
    "archive": ("scan.nii.zip", text, "a compressed file that is not read"),
    "series": ("scan.nii.gz", lambda path: volume(path, noise(*SHAPE, 3)), "a series of 3 volumes"),
    "series whose first axis are channels": (
        "scan.nii.gz",
        lambda path: volume(path, noise(1, *SHAPE)),
        "without the axis of length 1",
    ),
    "2-D": ("scan.nii.gz", lambda path: volume(path, noise(64, 64)), "a 2-D image"),
    "one slice": ("scan.nii.gz", lambda path: volume(path, noise(64, 64, 1)), "a 2-D image"),
    "colors": ("scan.nii.gz", colors, "one real number per voxel"),
    "complex": ("scan.nii.gz", lambda path: volume(path, noise(*SHAPE) * 1j), "one real number per voxel"),
    "all zero": ("scan.nii.gz", lambda path: volume(path, np.zeros(SHAPE, np.uint8)), "every voxel is 0"),
    "constant": ("scan.nii.gz", lambda path: volume(path, np.full(SHAPE, 7, np.uint8)), "every voxel is 7"),
    "many NaN": ("scan.nii.gz", lambda path: not_finite(path, 0.2), r"20.0% of the voxels are NaN"),
    "too large for float32": (
        "scan.nii.gz",
        lambda path: volume(path, noise(*SHAPE).astype(np.float64) * 1e300),
        r"infinite or above 1e\+30",
    ),
    "too large for sums in float32": (
        "scan.nii.gz",
        lambda path: volume(path, noise(*SHAPE) * np.float32(1e34)),
        r"infinite or above 1e\+30",
    ),
    "singular affine": ("scan.nii", singular, "singular"),
}


@pytest.fixture
def options(tmp_path) -> dict[str, object]:
    weights = tmp_path / "weights.pt"
    torch.save(IntensityNetwork().state_dict(), weights)
    return {
        "output_dir": str(tmp_path / "out"),
        "weights": str(weights),
        "device": "cpu",
        "progress": False,
        "network_def": {"_target_": "head_phantom.IntensityNetwork"},
        "mirror": False,
        "roi_size": [48, 48, 48],
    }


def run(scan: Path, options: dict[str, object]) -> None:
    hook = sys.excepthook
    workflow = ConfigWorkflow(str(CONFIG), workflow_type="infer", logging_file=False, input=str(scan), **options)
    workflow.initialize()
    try:
        workflow.run()
    finally:
        sys.excepthook = hook


def failure(scan: Path, options: dict[str, object]) -> MonaiMambaError:
    """The package's own error at the root of what a run raises."""
    with pytest.raises(RuntimeError) as caught:
        run(scan, options)
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, MonaiMambaError):
        error = error.__cause__ or error.__context__
    assert error is not None, caught.value
    return error


def results(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.parametrize("case", BAD)
def test_a_bad_image_is_refused(case, tmp_path, options):
    name, make, message = BAD[case]
    scan = make(tmp_path / name)
    error = failure(scan, options)
    assert name in str(error)
    with pytest.raises(MonaiMambaError, match=message):
        raise error
    assert results(tmp_path) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: not_finite(path, 0.004), "NaN, infinite or above 1e+30; they are set to 0"),
        (lambda path: volume(path, noise(*SHAPE, 1)), "smaller than a head"),
    ],
    ids=["few NaN", "small field of view, fourth axis of length 1"],
)
def test_what_can_be_repaired_is_processed_with_a_warning(make, message, tmp_path, options, caplog):
    scan = make(tmp_path / "scan.nii.gz")
    with caplog.at_level(logging.WARNING, "monai_mamba"):
        run(scan, options)
    assert message in caplog.text
    assert nib.load(tmp_path / "out" / "scan_desc-subcortical_dseg.nii.gz").shape == SHAPE


def unusual(kind: str, path: Path) -> None:
    affine = centered_affine(SHAPE, np.eye(3))
    data, _ = make_head(SHAPE, affine)
    if kind == "big-endian":
        image = nib.Nifti1Image(data.astype(">i2"), affine, nib.Nifti1Header(endianness=">"))
    elif kind == "scaled":
        image = nib.Nifti1Image(data, affine)
        image.set_data_dtype(np.int16)
        image.header.set_slope_inter(0.05, 12)
    elif kind == "negative":
        image = nib.Nifti1Image(data - 1024, affine)
    elif kind == "NIfTI-2":
        image = nib.Nifti2Image(data.astype(np.uint16), affine)
    elif kind == "extension":
        image = nib.Nifti1Image(data, affine)
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"some text"))
    elif kind in ("slope 0", "slope NaN"):
        image = nib.Nifti1Image(data, affine)
    else:
        image = nib.Nifti1Image(data.astype(kind), affine, dtype=kind)
    nib.save(image, path)
    if kind.startswith("slope"):
        content = bytearray(gzip.decompress(path.read_bytes()))
        struct.pack_into("<f", content, 112, float(kind.split()[1]))  # scl_slope; 0 and NaN mean that there is none
        path.write_bytes(gzip.compress(content))


@pytest.mark.parametrize(
    "kind",
    ["int64", "uint16", "float64", "big-endian", "scaled", "slope 0", "slope NaN", "negative", "NIfTI-2", "extension"],
)
def test_unusual_images_give_the_same_labels(kind, tmp_path, options):
    scan = tmp_path / "a scan.nii.gz"
    unusual(kind, scan)
    run(scan, options)
    result = nib.load(tmp_path / "out" / "a scan_desc-subcortical_dseg.nii.gz")
    expected = make_head(SHAPE, result.affine)[1]
    expected[0, 0, 0] = result.dataobj[0, 0, 0]  # the air of the phantom, whose gray value depends on the scale
    np.testing.assert_array_equal(np.asanyarray(result.dataobj), expected)


def test_a_header_without_orientation_is_read_as_analyze(tmp_path, options, caplog):
    nib.save(nib.Nifti1Image(noise(*SHAPE), None), tmp_path / "scan.nii.gz")
    image = nib.load(tmp_path / "scan.nii.gz")
    assert int(image.header["qform_code"]) == int(image.header["sform_code"]) == 0
    assert nib.aff2axcodes(image.affine) == ("L", "A", "S")
    with caplog.at_level(logging.WARNING, "monai_mamba"):
        run(tmp_path / "scan.nii.gz", options)
    assert "voxels run from right to left" in caplog.text
    result = nib.load(tmp_path / "out" / "scan_desc-subcortical_dseg.nii.gz")
    np.testing.assert_array_equal(result.affine, image.affine)
    assert int(result.header["qform_code"]) == int(result.header["sform_code"]) == 0


def test_an_empty_folder_and_a_pattern_without_match(tmp_path, options):
    (tmp_path / "in").mkdir()
    for source, message in [(tmp_path / "in", "no image in this folder"), (tmp_path / "x*.nii", "No image matches")]:
        error = failure(source, options)
        assert isinstance(error, InputError)
        assert message in str(error)


def test_an_output_folder_that_cannot_be_written(tmp_path, options):
    (tmp_path / "file").touch()
    options["output_dir"] = str(tmp_path / "file" / "out")
    error = failure(head(tmp_path / "scan.nii.gz"), options)
    assert isinstance(error, OutputError)
    assert "--output_dir" in str(error)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a file system that nobody may write to")
def test_a_read_only_file_system(tmp_path, options):
    options["output_dir"] = "/proc/results"
    error = failure(head(tmp_path / "scan.nii.gz"), options)
    assert isinstance(error, OutputError)
    assert "/proc/results" in str(error)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu:x"])
def test_an_unknown_device(tmp_path, options, device):
    options["device"] = device
    error = failure(head(tmp_path / "scan.nii.gz"), options)
    assert isinstance(error, DeviceError)
    assert f"'{device}'" in str(error)
    assert "cpu" in str(error)


def test_missing_weights(tmp_path, options):
    options["weights"] = str(tmp_path / "none.pt")
    error = failure(head(tmp_path / "scan.nii.gz"), options)
    assert isinstance(error, WeightsError)
    assert "there is no weights file" in str(error)


def test_out_of_memory_says_what_to_lower(tmp_path, options):
    options["network_def"] = {"_target_": "head_phantom.HungryNetwork"}
    error = failure(head(tmp_path / "scan.nii.gz"), options)
    assert isinstance(error, DeviceError)
    assert "--sw_batch_size" in str(error)
    assert results(tmp_path) == []


EARLIER = ("volumes.tsv", "picture.png")  # of the results of a scan, before the label map


def test_a_write_that_breaks_off_leaves_no_half_file(tmp_path, options, monkeypatch):
    """No label map is there, nor a part of one, and the next run does the scan again."""
    scan = head(tmp_path / "scan.nii.gz")

    def broken_off(image: nib.Nifti1Image, path: Path) -> None:
        Path(path).write_bytes(gzip.compress(b"half a file")[:10])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, as_before():
        patched.setattr(nib, "save", broken_off)
        with pytest.raises(KeyboardInterrupt):
            run(scan, options)
    assert {path.name for path in results(tmp_path)} == {f"scan_desc-subcortical_{name}" for name in EARLIER}
    run(scan, options)
    assert len(results(tmp_path)) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_while_it_writes_leaves_whole_files(number, tmp_path, options, monkeypatch):
    """What is being written is written to its end, and the next run has nothing to do."""
    scan, save = head(tmp_path / "scan.nii.gz"), nib.save

    def interrupted(image: nib.Nifti1Image, path: Path) -> None:
        signal.raise_signal(number)
        save(image, path)

    handling = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    before = signal.signal(number, handling)  # a run in the background ignores one of them
    with monkeypatch.context() as patched, as_before():
        patched.setattr(nib, "save", interrupted)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run(scan, options)
        for thread in threading.enumerate():
            if thread is not threading.main_thread():
                thread.join(60)  # as the end of a process does
    signal.signal(number, before)
    assert len(results(tmp_path)) == 3
    written = (tmp_path / "out" / "scan_desc-subcortical_dseg.nii.gz").stat().st_mtime_ns
    run(scan, options)
    assert (tmp_path / "out" / "scan_desc-subcortical_dseg.nii.gz").stat().st_mtime_ns == written


def test_the_command_ends_with_one_sentence(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(CONFIG)]
    command += ["--input", str(text(tmp_path / "scan.nii")), "--output_dir", str(tmp_path / "out")]
    command += ["--weights", str(empty(tmp_path / "weights.pt")), "--device", "cpu"]
    ended = forked.run(command, cwd=tmp_path, env=environment)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith(
        f"Error: {tmp_path / 'scan.nii'}: not a readable NIfTI or MGH image"
    )
    assert results(tmp_path) == []
