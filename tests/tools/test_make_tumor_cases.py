"""Synthetic tumor cases: what is in them, and that the bundle trains and evaluates on them."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigWorkflow

from monai_mamba.data.cases import find_labeled_cases
from monai_mamba.data.modalities import MODALITIES
from monai_mamba.data.pairs import split_pairs

REPOSITORY = Path(__file__).resolve().parents[2]
TOOL = REPOSITORY / "tools" / "make_tumor_cases.py"
CONFIGS = REPOSITORY / "bundles" / "brats_multimodal" / "configs"
SPACING = 4.0
NECROSIS, EDEMA, ENHANCING = 1, 2, 3
TINY = {"_target_": "MSDKMamba", "channels": [8] * 5, "depths": [1] * 4, "d_state": 2}


@pytest.fixture(scope="module")
def tool():
    """The tool, imported as its command imports it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TOOL.parent)
        import make_tumor_cases

        yield make_tumor_cases


def call(tool, *arguments: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
        return tool.main()


def save_map(path: Path, ids: np.ndarray) -> None:
    affine = np.diag([-3.0, 3.0, 3.0, 1.0])
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(ids.astype(np.int16), affine), path)


def head(stretch: float = 1.0) -> np.ndarray:
    """FreeSurfer ids of nested ellipsoids at 3 mm: ventricles, white matter, cortex, fluid, skull."""
    index = np.stack(np.meshgrid(*map(np.arange, (50, 60, 46)), indexing="ij"), axis=-1) - [25, 30, 23]
    radius = np.linalg.norm(3 * index / [62 * stretch, 78, 56], axis=-1)
    side = index[..., 0] < 0
    ids = np.select([radius < 0.2, radius < 0.8, radius < 1, radius < 1.05, radius < 1.15], [4, 2, 3, 24, 516])
    return np.where(side & (ids > 0) & (ids < 5), ids + 39, ids)  # 41, 42, 43 on the left of the array


@pytest.fixture(scope="module")
def maps(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    for number in range(2):
        save_map(folder / f"map_{number}.nii.gz", head(1 - 0.1 * number))
    return folder


@pytest.fixture(scope="module")
def dataset(tool, maps, tmp_path_factory) -> Path:
    """Three cases from two maps."""
    folder = tmp_path_factory.mktemp("cases")
    arguments = ["--label_maps", maps, "--cases", 3, "--spacing", SPACING, "--output_dir", folder]
    assert call(tool, *arguments) == 0
    return folder


def read(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def brats_case(folder: Path, name: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    endings = {"flair": "t2f", "t1": "t1n", "t1ce": "t1c", "t2": "t2w"}
    files = {modality: folder / name / f"{name}-{ending}.nii.gz" for modality, ending in endings.items()}
    return {key: read(path) for key, path in files.items()}, read(folder / name / f"{name}-seg.nii.gz")


NAMES = ["BraTS-GLI-00000-000", "BraTS-GLI-00000-001", "BraTS-GLI-00001-000"]


def test_files_are_those_of_brats(tool, dataset):
    assert tool.grid(1.0)[0] == (240, 240, 155)
    endings = ("seg", "t1c", "t1n", "t2f", "t2w")
    paths = sorted(dataset.rglob("*.*"))
    names = [f"{name}/{name}-{ending}.nii.gz" for name in NAMES for ending in endings]
    assert [path.relative_to(dataset).as_posix() for path in paths] == names
    for image in map(nib.load, paths):
        assert image.shape == (60, 60, 39)
        assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
        np.testing.assert_allclose(image.header.get_zooms(), SPACING)
        np.testing.assert_array_equal(image.affine, nib.load(paths[0]).affine)


def test_a_case_looks_like_a_tumor(dataset):
    for name in NAMES:
        volumes, labels = brats_case(dataset, name)
        brain = volumes["t1"] > 0
        for volume in volumes.values():
            np.testing.assert_array_equal(volume > 0, brain)
            assert volume.dtype == np.int16
        assert 0.5e6 < brain.sum() * SPACING**3 < 1.6e6  # mm3, an ellipsoid of 1.1 liters
        assert set(np.unique(labels)) <= {0, NECROSIS, EDEMA, ENHANCING}
        assert not (labels[~brain]).any()
        core = np.isin(labels, (NECROSIS, ENHANCING))
        assert 300 < core.sum() * SPACING**3 < 80_000
        healthy = brain & (labels == 0)
        values = {key: (volume - volume[healthy].mean()) / volume[healthy].std() for key, volume in volumes.items()}
        means = {key: {k: value[labels == k].mean() for k in np.unique(labels)} for key, value in values.items()}
        assert means["flair"][EDEMA] > 1
        if ENHANCING in means["t1ce"]:
            assert means["t1ce"][ENHANCING] > means["t1ce"][EDEMA] + 0.3
        if NECROSIS in means["t1"]:
            assert means["t1"][NECROSIS] < means["t1"][EDEMA]


def test_a_case_depends_on_its_seed_map_and_number_only(tool, maps, dataset, tmp_path):
    arguments = ["--label_maps", maps / "map_0.nii.gz", "--cases", 1, "--spacing", SPACING, "--output_dir"]
    assert call(tool, *arguments, tmp_path / "same") == 0
    assert call(tool, *arguments, tmp_path / "other", "--seed", 1) == 0
    expected, labels = brats_case(dataset, NAMES[0])
    same, same_labels = brats_case(tmp_path / "same", NAMES[0])
    other, other_labels = brats_case(tmp_path / "other", NAMES[0])
    np.testing.assert_array_equal(same_labels, labels)
    for modality in MODALITIES:
        np.testing.assert_array_equal(same[modality], expected[modality])
        assert (other[modality] != expected[modality]).mean() > 0.05
    assert (other_labels != labels).any()


def test_edema_follows_white_matter(tool, maps):
    synthesis = sys.modules["synthesis.tumors"]
    tissue = synthesis.random_brain(
        synthesis.read_anatomy(maps / "map_0.nii.gz"), (60, 60, 39), SPACING, np.random.default_rng(0), (1, 1, 1)
    )
    white = synthesis.INDEX["white_matter"]
    share = []
    for seed in range(4):
        tumor = synthesis.grow_tumor(tissue, SPACING, np.random.default_rng(seed))
        assert not (tumor.core & ~tumor.whole).any()
        assert not (tumor.enhancing & ~tumor.core).any()
        edema = tumor.whole & ~tumor.core
        share += (tumor.tissue[edema] == white).tolist()
        fluid = [synthesis.INDEX[name] for name in synthesis.FLUID]
        assert not np.isin(tumor.tissue[tumor.whole], fluid).any()
    in_brain = (tissue == white).sum() / (tissue > 0).sum()
    assert np.mean(share) > max(0.8, in_brain)


def test_cases_of_one_map_stay_together(dataset):
    cases = find_labeled_cases(str(dataset), "brats2023")
    training, validation = split_pairs(cases, 0.5)
    assert {case["person"] for case in training} ^ {case["person"] for case in validation} == {
        "BraTS-GLI-00000",
        "BraTS-GLI-00001",
    }
    assert len(training) + len(validation) == 3


def test_the_bundle_trains_and_evaluates_on_the_cases(dataset, tmp_path):
    options = {
        "dataset_dir": str(dataset),
        "output_dir": str(tmp_path),
        "label_convention": "brats2023",
        "device": "cpu",
        "num_workers": 0,
        "roi_size": [32, 32, 32],
        "windows_per_case": 1,
        "overlap": 0.0,
        "epochs": 1,
        "iterations_per_epoch": 2,
        "val_interval": 1,
        "network_def": {"_target_": "MissingModalityFill", "network": TINY},
        "train#image_transforms#2#pixdim": [SPACING] * 3,
    }
    for configs, more in ((["train.json"], {}), (["train.json", "evaluate.json"], {"subsets": [list(MODALITIES)]})):
        if more:
            more["weights"] = str(tmp_path / "model.pt")
        files = [str(CONFIGS / name) for name in configs]
        bundle = ConfigWorkflow(files, workflow_type="train", logging_file=False, **options, **more)
        bundle.initialize()
        bundle.run()
    with (tmp_path / "scores.tsv").open(newline="") as file:
        scores = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["subject"], row["region"]) for row in scores] == [(n, r) for n in NAMES for r in ("TC", "WT", "ET")]
    assert all(0 <= float(row["dsc"]) <= 1 for row in scores)


def test_a_real_map_makes_a_brain(tool, shared, tmp_path):
    source = shared / "data" / "synthseg_label_maps" / "training_seg_03.nii.gz"
    if not source.is_file():
        pytest.skip("the label map training_seg_03 is not here")
    arguments = ["--label_maps", source, "--cases", 1, "--spacing", SPACING, "--output_dir", tmp_path]
    assert call(tool, *arguments) == 0
    volumes, labels = brats_case(tmp_path, NAMES[0])
    assert 0.9e6 < (volumes["t1"] > 0).sum() * SPACING**3 < 2.2e6
    assert labels.any()


def test_what_cannot_be_used_is_refused(tool, maps, tmp_path, capsys):
    ids = head()
    save_map(tmp_path / "unknown" / "map.nii.gz", np.where(ids == 3, 999, ids))
    save_map(tmp_path / "skull" / "map.nii.gz", np.where(ids == 516, 516, 0))
    out = tmp_path / "out"
    expected = {
        (tmp_path / "unknown",): "unknown ids: 999",
        (tmp_path / "skull",): "no cerebral white matter",
        (tmp_path / "nothing",): "there is no such folder",
        (maps, "--spacing", 5): "--spacing is 5",
        (maps, "--cases", 0): "--cases 0",
    }
    for arguments, message in expected.items():
        assert call(tool, "--output_dir", out, "--label_maps", *arguments) == 1
        assert message in capsys.readouterr().err
        assert not list(out.rglob("*.nii.gz"))
