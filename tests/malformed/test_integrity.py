"""Files whose content is not what was written: found by checksum and length, whoever reads them."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import hippocampus_phantom
import nibabel as nib
import numpy as np
import pytest
import torch
from head_phantom import IntensityNetwork, save_label_maps
from monai.bundle import ConfigParser
from test_malformed import SHAPE, failure, head, noise, options, results, run
from tumor_phantom import make_tumor
from tumor_phantom import save as save_tumor

from monai_mamba import files
from monai_mamba.data.image_file import read_image
from monai_mamba.errors import InputError, MonaiMambaError
from monai_mamba.labels import LabelTable
from monai_mamba.report.images import embed_scan
from monai_mamba.report.results import ScanResult, Source

__all__ = ["options"]  # a fixture
TABLE = LabelTable.load("subcortical")
BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
CHECKSUM, LENGTH = -7, -3  # bytes at the end of a gzip stream


def flipped(path: Path, position: int) -> Path:
    """One bit of the file is another."""
    content = bytearray(path.read_bytes())
    content[position] ^= 0x40
    path.write_bytes(content)
    return path


def longer(path: Path, surplus: bytes) -> Path:
    path.write_bytes(path.read_bytes() + surplus)
    return path


def stored(path: Path) -> Path:
    """A gzip file that stores the voxels as they are, so that a flipped bit is another voxel and nothing else."""
    path.write_bytes(gzip.compress(nib.Nifti1Image(noise(*SHAPE), np.eye(4)).to_bytes(), 0))
    return path


def with_more_voxels(path: Path) -> Path:
    path.write_bytes(gzip.compress(nib.Nifti1Image(noise(*SHAPE), np.eye(4)).to_bytes() + bytes(400)))
    return path


DAMAGED: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    "one bit of the gzip checksum is wrong": (
        "s.nii.gz",
        lambda path: flipped(head(path), CHECKSUM),
        "incorrect data check",
    ),
    "one bit of the gzip length is wrong": (
        "s.nii.gz",
        lambda path: flipped(head(path), LENGTH),
        "incorrect length check",
    ),
    "one bit of a voxel is wrong, compressed": (
        "s.nii.gz",
        lambda path: flipped(stored(path), 3000),
        "does not have the checksum that it was written with",
    ),
    "one bit of the checksum of an .mgz is wrong": (
        "s.mgz",
        lambda path: flipped(head(path), CHECKSUM),
        "incorrect data check",
    ),
    "bytes after the compressed content": (
        "s.nii.gz",
        lambda path: longer(head(path), b"more"),
        "4 surplus bytes follow its compressed content",
    ),
    "bytes after the compressed content of an .mgz": (
        "s.mgz",
        lambda path: longer(head(path), b"more"),
        "4 surplus bytes",
    ),
    "more voxels than the header says, compressed": ("s.nii.gz", with_more_voxels, "bytes where its header promises"),
    "more voxels than the header says": (
        "s.nii",
        lambda path: longer(head(path), bytes(99)),
        "bytes where its header promises",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_scan_is_refused(case, tmp_path, options):
    name, make, message = DAMAGED[case]
    error = failure(make(tmp_path / name), options)
    assert isinstance(error, InputError)
    assert str(error).startswith(str(tmp_path / name))
    assert message in str(error)
    assert results(tmp_path) == []


def in_two_streams(path: Path) -> Path:
    content = gzip.decompress(head(path).read_bytes())
    path.write_bytes(gzip.compress(content[:999]) + gzip.compress(content[999:]))
    return path


def with_footer(path: Path) -> Path:
    """FreeSurfer writes the command lines that made a file behind its voxels."""
    path.write_bytes(gzip.compress(gzip.decompress(head(path).read_bytes()) + b"\0" * 20 + b"mri_convert a b"))
    return path


WHOLE: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "gzip streams one after the other, as bgzip writes them": ("s.nii.gz", in_two_streams),
    "an .mgz with the footer of FreeSurfer": ("s.mgz", with_footer),
}


@pytest.mark.parametrize("case", WHOLE)
def test_a_whole_file_is_used(case, tmp_path, options):
    name, make = WHOLE[case]
    run(make(tmp_path / name), options)
    assert len(results(tmp_path)) == (4 if name.endswith(".mgz") else 3)  # FreeSurfer's files give one of its own


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path, sizes = head(tmp_path / "s.nii"), []

    def fstat(file: int) -> os.stat_result:
        if sizes:  # the second look, after the content was read
            longer(path, b"more")
        sizes.append(os.stat(file).st_size)
        return os.stat(file)

    monkeypatch.setattr(files.os, "fstat", fstat)
    with pytest.raises(InputError, match=r"s\.nii: the file changed while it was read"):
        read_image(path)
    assert sizes[1] > sizes[0]


class ReplacingNetwork(IntensityNetwork):
    """While it computes, the scan is replaced by another one of the same size and grid."""

    scan: Path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As `IntensityNetwork`."""
        nib.save(nib.Nifti1Image(noise(*SHAPE), nib.load(self.scan).affine), self.scan)
        return super().forward(x)


def test_a_scan_that_changes_between_reading_and_writing_is_refused(tmp_path, options):
    ReplacingNetwork.scan = head(tmp_path / "s.nii")
    options["network_def"] = {"_target_": "test_integrity.ReplacingNetwork"}
    error = failure(ReplacingNetwork.scan, options)
    assert "s.nii: the file has changed since its voxels were read" in str(error)
    assert results(tmp_path) == []


READERS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "subcortical training, the scan": ("subcortical", ("train.json",), "image"),
    "subcortical training, the label map": ("subcortical", ("train.json",), "label"),
    "hippocampal training, the label map": ("hippocampal_subfields", ("train.json",), "label"),
    "hippocampal training on heads, the label map": (
        "hippocampal_subfields",
        ("train.json", "fs60_train.json"),
        "label",
    ),
    "brain tumor training, a modality": ("brats_multimodal", ("train.json",), "image"),
    "brain tumor training, the label map": ("brats_multimodal", ("train.json",), "label"),
    "subcortical training, the label map of a synthetic window": ("subcortical", ("train.json",), "label_map"),
    "hippocampal segmentation, the label map of the head": ("hippocampal_subfields", ("inference.json",), "aseg"),
}


def inputs(folder: Path, bundle: str, configs: tuple[str, ...], damaged: str) -> tuple[dict[str, object], Path]:
    """One good case for a config, and the path of one of its files."""
    if damaged == "label_map":
        save_label_maps(folder, 1)
        case: dict = {"label_map": str(folder / "map_0.nii.gz")}
    elif bundle == "brats_multimodal":
        volumes, labels = make_tumor()
        case = {"image": {name: save_tumor(folder / f"a_{name}.nii.gz", volumes[name]) for name in volumes}}
        case["label"] = save_tumor(folder / "a_seg.nii.gz", labels)
    else:
        hippocampus_phantom.save_head(folder / "image.nii.gz", (64, 60, 50), np.eye(3))
        case = {"image": str(folder / "image.nii.gz"), "label": str(folder / "aseg.nii.gz")}
        if damaged == "aseg":
            case["aseg"] = case.pop("label")
        elif bundle == "hippocampal_subfields":  # trained with the parts of a hippocampus
            image = nib.load(case["label"])
            parts = {17: 1203, 53: 2226} if "fs60_train.json" in configs else {17: 1, 53: 2}
            ids = np.select([np.asarray(image.dataobj) == label for label in parts], list(parts.values()))
            nib.save(nib.Nifti1Image(ids.astype(np.int16), image.affine), case["label"])
    path = case[damaged]
    return case, Path(path["t2"] if isinstance(path, dict) else path)


def preprocessing(bundle: str, configs: tuple[str, ...], name: str, folder: Path) -> Callable[[dict], object]:
    """The transforms of a real config that read a case."""
    parser = ConfigParser()
    parser.read_config([str(BUNDLES / bundle / "configs" / name) for name in configs])
    parser["dataset_dir"] = str(folder)
    if configs == ("inference.json",):
        return parser.get_parsed_content("preprocessing")
    synthetic = "$@train#synthetic#transforms[:5]"  # up to the one that makes an image
    transforms = synthetic if name == "label_map" else "%train#deterministic_transforms"
    parser["reading"] = {"_target_": "Compose", "transforms": transforms}
    return parser.get_parsed_content("reading")


@pytest.mark.parametrize("case", READERS)
def test_every_reader_refuses_a_damaged_file(case, tmp_path):
    bundle, configs, damaged = READERS[case]
    entries, path = inputs(tmp_path, bundle, configs, damaged)
    flipped(path, CHECKSUM)
    with pytest.raises(RuntimeError) as caught:
        preprocessing(bundle, configs, damaged, tmp_path)(entries)
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, MonaiMambaError):
        error = error.__cause__
    assert str(error).startswith(f"{path}: the file is damaged")


def test_the_report_refuses_a_damaged_label_map(tmp_path):
    scan = str(stored(tmp_path / "s.nii.gz"))
    flipped(stored(tmp_path / "s_desc-subcortical_dseg.nii.gz"), 3000)
    result = ScanResult("s", scan.replace(".nii.gz", "_desc-subcortical"), "subcortical", (), False, TABLE)
    with pytest.raises(InputError, match="does not have the checksum"):
        embed_scan(result, Source(scan))
