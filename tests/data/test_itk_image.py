"""NRRD and MetaImage files: read as the same volume in NIfTI is, or refused by name."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import itk
import nibabel as nib
import numpy as np
import pytest
from monai.transforms import LoadImage

from monai_mamba.data import VerifyingNibabelReader, find_cases, find_scans
from monai_mamba.data.image_file import read_image
from monai_mamba.data.pairs import check_same_grid
from monai_mamba.errors import InputError

VOXELS = np.random.default_rng(0).integers(0, 900, (12, 10, 9)).astype(np.int16)
AFFINE = nib.affines.from_matvec(np.diag([1.0, 1.5, 2.0]), [-5, 6, 7])
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
TURNS = [
    np.stack([order, signs], axis=1)
    for order, signs in itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
]


def save(path: Path, voxels: np.ndarray = VOXELS, affine: np.ndarray = AFFINE, compressed: bool = False) -> Path:
    """Write a file through ITK."""
    image, lps = itk.image_from_array(np.ascontiguousarray(voxels.T)), RAS_TO_LPS @ affine
    sizes = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(sizes.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(lps[:3, :3] / sizes)))
    itk.imwrite(image, str(path), compression=compressed)
    return path


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd"])
@pytest.mark.parametrize("compressed", [False, True])
def test_right_and_left_stay_in_all_48_orientations(name, compressed, tmp_path):
    for turn in TURNS:
        voxels = nib.apply_orientation(VOXELS, turn)
        affine = AFFINE @ nib.orientations.inv_ornt_aff(turn, VOXELS.shape)
        image = read_image(save(tmp_path / name, voxels, affine, compressed))
        np.testing.assert_array_equal(np.asarray(image.dataobj), voxels)
        np.testing.assert_allclose(image.affine, affine, atol=1e-6)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int32", "uint32", "float32", "float64"])
@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_types_of_voxels(name, kind, tmp_path):
    image = read_image(save(tmp_path / name, (VOXELS % 200).astype(kind)))
    assert image.get_data_dtype() == kind
    np.testing.assert_array_equal(np.asarray(image.dataobj), VOXELS % 200)


def nrrd(*changes: tuple[str, str], content: bytes = VOXELS.tobytes(order="F")) -> Callable[[Path], Path]:
    """A NRRD file whose header has other lines."""
    header = (
        "NRRD0005\n# a comment\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 12 10 9\n"
        "space directions: (1,0,0) (0,1.5,0) (0,0,2)\nendian: little\nencoding: raw\nspace origin: (5,-6,7)\n\n"
    )

    def make(path: Path) -> Path:
        text = header
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path.write_bytes(text.encode() + content)
        return path

    return make


def meta(*changes: tuple[bytes, bytes], content: bytes = VOXELS.tobytes(order="F")) -> Callable[[Path], Path]:
    """A MetaImage file whose header has other lines."""

    def make(path: Path) -> Path:
        header = save(path).read_bytes()[: -len(content)]
        for old, new in changes:
            assert old in header
            header = header.replace(old, new)
        path.write_bytes(header + content)
        return path

    return make


SWAPPED = VOXELS.astype(">i2").tobytes(order="F")
USED: dict[str, tuple[str, Callable[[Path], Path], np.ndarray]] = {
    "NRRD in RAS": ("a.nrrd", nrrd(("left-posterior", "right-anterior")), np.eye(4)),
    "NRRD in LAS": ("a.nrrd", nrrd(("left-posterior-superior", "LAS")), np.diag([-1.0, 1, 1, 1])),
    "NRRD of big-endian numbers": ("a.nrrd", nrrd(("little", "big"), content=SWAPPED), RAS_TO_LPS),
    "MetaImage of big-endian numbers": ("a.mha", meta((b"MSB = False", b"MSB = True"), content=SWAPPED), np.eye(4)),
    "NRRD of 8-bit numbers with a sign": (
        "a.nrrd",
        nrrd(("short", "signed char"), content=(VOXELS % 100).astype("i1").tobytes(order="F")),
        RAS_TO_LPS,
    ),
}


@pytest.mark.parametrize("case", USED)
def test_used(case, tmp_path):
    name, make, turn = USED[case]
    image = read_image(make(tmp_path / name))
    header = AFFINE if name == "a.mha" else nib.affines.from_matvec(np.diag([1, 1.5, 2]), [5, -6, 7])
    np.testing.assert_allclose(image.affine, turn @ header)
    np.testing.assert_array_equal(np.asarray(image.dataobj), VOXELS % 100 if "8-bit" in case else VOXELS)


def changed(name: str, change: Callable[[bytes], bytes], compressed: bool = True) -> Callable[[Path], Path]:
    """A whole file, of which another one, in which its voxels are, is changed."""

    def make(path: Path) -> Path:
        save(path, compressed=compressed)
        data = path.with_name(name)
        data.write_bytes(change(data.read_bytes()))
        return path

    return make


def flipped(content: bytes) -> bytes:
    return content[:-900] + bytes(255 - value for value in content[-900:-890]) + content[-890:]


REFUSED: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    "NRRD truncated": ("a.nrrd", changed("a.nrrd", lambda content: content[:-9], False), "truncated or damaged"),
    "NRRD, compressed, truncated": ("a.nrrd", changed("a.nrrd", lambda content: content[:-4]), "truncated or damaged"),
    "NRRD, compressed, damaged": ("a.nrrd", changed("a.nrrd", flipped), "the file is damaged"),
    "NRRD, surplus bytes": ("a.nrrd", changed("a.nrrd", lambda content: content + b"x", False), "2161 bytes where"),
    "NRRD without its data file": (
        "a.nhdr",
        lambda path: unlinked(save(path), "a.raw"),
        "its voxels are in a.raw, which",
    ),
    "MetaImage without its data file": (
        "a.mhd",
        lambda path: unlinked(save(path), "a.raw"),
        "its voxels are in a.raw, which does not exist",
    ),
    "NRRD, damaged data file": ("a.nhdr", changed("a.raw.gz", flipped), "the file is damaged"),
    "MetaImage truncated": ("a.mha", changed("a.mha", lambda content: content[:-9], False), "truncated or damaged"),
    "MetaImage, compressed, truncated": ("a.mha", changed("a.mha", lambda content: content[:-4]), "breaks off"),
    "MetaImage, compressed, damaged": ("a.mha", changed("a.mha", flipped), "the file is damaged"),
    "MetaImage, surplus bytes": ("a.mha", changed("a.mha", lambda content: content + b"x", False), "2161 bytes where"),
    "MetaImage, damaged data file": ("a.mhd", changed("a.zraw", flipped), "the file is damaged"),
    "text as NRRD": ("a.nrrd", lambda path: written(path, b"no image\n" * 99), "not a readable NRRD or MetaImage file"),
    "text as MetaImage": ("a.mha", lambda path: written(path, b"no image\n" * 99), "not a readable NRRD or MetaImage"),
    "empty NRRD": ("a.nrrd", lambda path: written(path, b""), "the file is empty (0 bytes)"),
    "NRRD without space": (
        "a.nrrd",
        nrrd(("space: left-posterior-superior\n", ""), ("space directions", "# "), ("space origin", "# ")),
        "the header does not say which side is left ('space: missing')",
    ),
    "NRRD in the space of the scanner": (
        "a.nrrd",
        nrrd(("left-posterior-superior", "scanner-xyz")),
        "the header does not say which side is left ('space: scanner-xyz')",
    ),
    "MetaImage without directions": (
        "a.mha",
        meta((b"TransformMatrix", b"Comment")),
        "the header does not say which side is left ('TransformMatrix: missing')",
    ),
    "NRRD, numbers as text": ("a.nrrd", nrrd(("raw", "ascii")), "voxels with 'encoding: ascii'"),
    "NRRD, voxels behind something else": ("a.nrrd", nrrd(("type:", "byte skip: 7\ntype:")), "voxels with 'byte skip'"),
    "NRRD, voxels in several files": ("a.nhdr", nrrd(("\n\n", "\ndata file: LIST\n\n")), "lie in several files"),
    "NRRD of vectors": (
        "a.nrrd",
        nrrd(
            ("dimension: 3", "dimension: 4"),
            ("sizes: 12 10 9", "kinds: vector domain domain domain\nsizes: 3 4 10 9"),
            ("(1,0,0)", "none (1,0,0)"),
        ),
        "3 values a voxel; expected one real number",
    ),
    "NRRD of one slice": ("a.nrrd", lambda path: save(path, VOXELS[..., :1]), "a 2-D image or a thin slab"),
    "NRRD of voxels of 1 m": ("a.nrrd", nrrd(("(1,0,0)", "(1000,0,0)")), "a head needs 5 to 600 mm"),
    "NRRD whose axes lie on each other": ("a.nrrd", nrrd(("(0,1.5,0)", "(1,0,0)")), "singular or not finite"),
    "NRRD in cm": (
        "a.nrrd",
        nrrd(("\n\n", '\nspace units: "cm" "cm" "cm"\n\n')),
        "the header has lengths in cm; expected mm",
    ),
    "NRRD with an axis without direction": ("a.nrrd", nrrd(("(1,0,0)", "none")), "no size of the voxels along an axis"),
    "MetaImage in micrometers": (
        "a.mha",
        meta((b"NDims", b"DistanceUnits = um\nNDims")),
        "the header has lengths in um; expected mm",
    ),
    "MetaImage without sizes": ("a.mha", meta((b"ElementSpacing", b"Comment")), "no size of the voxels along an axis"),
    "MetaImage of voxels of -1 mm": (
        "a.mha",
        meta((b"ElementSpacing = 1 1.5", b"ElementSpacing = -1 1.5")),
        "voxels of -1 x 1.5 x 2 mm; expected sizes above 0",
    ),
    "MetaImage of voxels of 0 mm": (
        "a.mha",
        meta((b"ElementSpacing = 1 1.5", b"ElementSpacing = 0 1.5")),
        "singular or not finite",
    ),
    "MetaImage whose directions have the length 2": (
        "a.mha",
        meta((b"TransformMatrix = -1", b"TransformMatrix = -2")),
        "directions of the length 2, 1, 1; expected 1",
    ),
    "Analyze": ("a.hdr", lambda path: analyze(path), "Analyze files do not say which side is left"),
}


def unlinked(path: Path, name: str) -> Path:
    path.with_name(name).unlink()
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def analyze(path: Path) -> Path:
    nib.save(nib.AnalyzeImage(VOXELS, np.eye(4)), path.with_suffix(".img"))
    return path


def find_and_load(path: Path) -> None:
    (item,) = find_scans(str(path), str(path.parent / "out"), "subcortical")
    LoadImage(reader=VerifyingNibabelReader)(item["image"])


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case, tmp_path):
    name, make, message = REFUSED[case]
    path = make(tmp_path / name)
    with pytest.raises(InputError) as caught:
        find_and_load(path)
    assert str(caught.value).startswith(str(tmp_path / "a."))
    assert message in str(caught.value)


def test_folders_and_tumor_cases_may_hold_them(tmp_path):
    for name in ("in/sub-1.nrrd", "in/sub-2.mha", "case/c_flair.nrrd", "case/c_t1.mha"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save(tmp_path / name)
    nib.save(nib.Nifti1Image(VOXELS, AFFINE), tmp_path / "case" / "c_t2.nii.gz")
    items = find_scans(str(tmp_path / "in"), str(tmp_path / "out"), "x")
    assert [Path(item["output"]).name for item in items] == ["sub-1_desc-x", "sub-2_desc-x"]
    (item,) = find_cases(str(tmp_path / "case"), str(tmp_path / "out"), "tumor")
    assert item["present"] == "flair+t1+t2"
    check_same_grid(item["image"]["flair"], item["image"]["t2"])


def test_itk_is_not_imported_for_nifti(tmp_path, monkeypatch):
    nib.save(nib.Nifti1Image(VOXELS, AFFINE), tmp_path / "a.nii.gz")
    monkeypatch.setitem(sys.modules, "itk", None)  # an import would fail
    assert find_scans(str(tmp_path), str(tmp_path / "out"), "x")
    LoadImage(reader=VerifyingNibabelReader)(tmp_path / "a.nii.gz")
    with pytest.raises(ImportError):
        read_image(nrrd()(tmp_path / "a.nrrd"))
