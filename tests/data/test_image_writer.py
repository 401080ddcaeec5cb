"""An image that cannot be written whole leaves nothing of it, and an earlier one as it was."""

import nibabel as nib
import numpy as np
import pytest
from monai.data import MetaTensor
from monai.transforms import SaveImage

from monai_mamba.data.image_writer import AtomicNibabelWriter


def save(folder, value):
    image = MetaTensor(np.full((1, 4, 5, 6), value, np.uint8), meta={"filename_or_obj": "head.nii.gz"})
    writer = SaveImage(folder, "dseg", writer=AtomicNibabelWriter, separate_folder=False, print_log=False)
    writer(image)


def test_a_failed_write_keeps_the_earlier_image(tmp_path, monkeypatch):
    save(tmp_path, 1)
    whole = nib.save

    def fill_the_disk(image, path):
        whole(image, path)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nib, "save", fill_the_disk)
    with pytest.raises(RuntimeError, match="No space left on device"):
        save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["head_dseg.nii.gz"]
    assert np.all(nib.load(tmp_path / "head_dseg.nii.gz").get_fdata() == 1)
