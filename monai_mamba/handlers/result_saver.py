"""The results of a scan as files, each complete or not there."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from ignite.engine import Engine, Events
from monai.data import MetaTensor

from monai_mamba.data.aseg_stats import ICV, aseg_stats
from monai_mamba.data.content import describe_sources
from monai_mamba.data.dicom_seg import make_dicom_seg
from monai_mamba.data.image_file import read_image
from monai_mamba.data.scans import EXTRA_RESULTS, RESULTS
from monai_mamba.errors import InputError, writing
from monai_mamba.files import MISSING, read_whole, table_text, user_path, write_atomically, write_text
from monai_mamba.grids import voxel_volume
from monai_mamba.labels import BRAIN, LabelTable, RegionTable, measure_brain, mgh_color_table
from monai_mamba.picture import draw_labels


class ResultSaver:
    """Write label map, volumes and picture of each scan that an engine has segmented.

    Files are written under a temporary name in their folder and renamed when complete; the label map, which goes first
    when a scan is repeated, comes last, so that one beside table and picture is of the same run.

    * `<output>_volumes.tsv`: `id`, `name`, `voxels`, `mm3` (voxels times voxel volume), `mm3_soft` (from the
      probabilities), `expected_dsc` (0..1, how sure the network is, see `RestoreLabelsd`; `n/a` without a voxel). Where
      the labels are those of the whole brain, `percent_of_brain`, 100 times `mm3` by that of the brain (`BRAIN`), which
      is a row without `id`. With `stats`, `percent_of_icv` and the intracranial volume likewise, as the last row.
      Where a result is doubtful, the last column is `doubts`, the same in each row.
    * `<output>_picture.png`: three views, see `draw_labels`.
    * `<output>_dseg.nii.gz`: label ids on the grid of the scan, with the affine, codes and spacing of its header, and
      what it was made from, see `describe_sources`.
    * `<output>_dseg.mgz`: the same for FreeSurfer, with names and colors; only where the scan is an MGH file.
    * `<output>_aseg.stats`: see `aseg_stats`; only with `stats`.
    * `<output>_dseg.dcm`: see `make_dicom_seg`; only with `dicom_seg`, of DICOM series.

    Args:
        labels: the label table, or its name or path, see `LabelTable.load`.
        close_up: the picture shows the surroundings of the labels instead of the whole image.
        written_ids: for each id of the table the id in the label map, see `LabelTable.ids_in`; None writes the same.
        stats: write FreeSurfer's statistics, too; label maps come with `intracranial_mm3`, see `IntracranialVolumed`.
        dicom_seg: write a DICOM Segmentation, too, which names these files of weights; None writes none.
        settings: what tells the settings of this run from others, see `settings_in_use`.

    Raises:
        InputError: `stats` is asked for, and the labels are not those of the whole brain.
    """

    def __init__(
        self,
        labels: LabelTable | str,
        close_up: bool = False,
        written_ids: Mapping[int, int] | None = None,
        stats: bool = False,
        dicom_seg: Sequence[str | Path] | None = None,
        settings: str | None = None,
    ) -> None:
        self.table = LabelTable.load(labels)
        self.close_up = close_up
        self.written_ids = written_ids
        self.stats = stats
        self.dicom_seg = dicom_seg and [hashlib.sha256(read_whole(user_path(path))).hexdigest() for path in dicom_seg]
        self.settings = settings
        if stats and not measure_brain(dict.fromkeys((entry.id for entry in self.table.structures), 0.0)):
            raise InputError(
                "--stats True needs the volume of the whole brain, and --whole_brain is False. Leave that option out."
            )

    def attach(self, engine: Engine) -> None:
        """Register with an engine."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Have a `ScanEvaluator` save the results of the batch: its items need `output`, its output `pred`."""
        for scan, output in zip(engine.state.batch, engine.state.output, strict=True):
            engine.write(partial(self.save, output["pred"], scan["output"]))

    def save(self, prediction: MetaTensor, output: str) -> None:
        """Write the results of one scan.

        Args:
            prediction: label ids `(1, H, W, D)` with the meta data that `RestoreLabelsd` leaves.
            output: path of the results without their endings.

        Raises:
            InputError: the scan is no longer what it was when its voxels were read.
            OutputError: a file cannot be written.
        """
        checksum = prediction.meta.get("checksum")
        file = source = read_image(prediction.meta["filename_or_obj"], checksum)
        labels = prediction[0].numpy()
        if prediction.meta.get("volume") is not None:  # of a file with several
            source = file.slicer[..., prediction.meta["volume"]]
        counts = np.bincount(labels.ravel(), minlength=max(self.table.ids) + 1)
        texts = {RESULTS["volumes"]: self._volume_table(counts, voxel_volume(source.affine), prediction.meta)}
        if self.stats:
            name = Path(output).name
            texts[EXTRA_RESULTS["stats"]] = aseg_stats(
                name.rpartition("_desc-")[0],
                name + RESULTS["labels"],
                self.table,
                {entry.id: int(counts[entry.id]) for entry in self.table.structures},
                voxel_volume(source.affine),
                prediction.meta["intracranial_mm3"],
            )
        dicom_seg = None
        if self.dicom_seg:
            series, task = prediction.meta["filename_or_obj"], output.split("_desc-")[-1]
            dicom_seg = make_dicom_seg(labels, series, self.table, self.dicom_seg, task)
        with writing(f"{output}*: the results"):
            # Results of an earlier run must not pass for those of this one, should it be stopped between two files.
            for ending in (RESULTS["labels"], *EXTRA_RESULTS.values()):
                Path(output + ending).unlink(missing_ok=True)
            for ending, text in texts.items():
                write_text(output + ending, text)
            picture = partial(draw_labels, source=source, labels=labels, table=self.table, close_up=self.close_up)
            write_atomically(output + RESULTS["picture"], picture)
            written = self._as_written(labels)
            if isinstance(file, nib.MGHImage):
                content = gzip.compress(mgh_label_image(written, file).to_bytes() + self._colors(), 1, mtime=0)
                write_atomically(output + EXTRA_RESULTS["mgz"], partial(Path.write_bytes, data=content))
            if dicom_seg:
                write_atomically(output + EXTRA_RESULTS["dicom_seg"], partial(Path.write_bytes, data=dicom_seg))
            image = label_image(written, file)
            if sources := prediction.meta.get("checksums", checksum):
                image.header["descrip"] = describe_sources(sources, self.settings)
            write_atomically(output + RESULTS["labels"], partial(nib.save, image))

    def volume_table(self, prediction: MetaTensor) -> str:
        """The table of volumes, which the text of `<output>_volumes.tsv` is; the argument is as for `save`."""
        counts = np.bincount(prediction[0].numpy().ravel(), minlength=max(self.table.ids) + 1)
        return self._volume_table(counts, voxel_volume(prediction.affine.numpy()), prediction.meta)

    def _as_written(self, labels: np.ndarray) -> np.ndarray:
        if self.written_ids is None:
            return labels
        lookup = np.zeros(max(self.written_ids) + 1, dtype=np.int32)
        lookup[list(self.written_ids)] = list(self.written_ids.values())
        return lookup[labels]

    def _colors(self) -> bytes:
        written = self.written_ids or {}
        return mgh_color_table({written.get(entry.id, entry.id): entry for entry in self.table.structures})

    def _volume_table(self, counts: np.ndarray, voxel_mm3: float, meta: Mapping[str, Any]) -> str:
        volumes = {entry.id: float(counts[entry.id] * voxel_mm3) for entry in self.table.structures}
        brain = measure_brain(volumes).get(BRAIN)
        wholes = {} if brain is None else {"percent_of_brain": brain}
        if self.stats:
            wholes["percent_of_icv"] = meta["intracranial_mm3"]
        doubts = [meta["doubts"]] if meta.get("doubts") else []

        def shares(mm3: float) -> list[str]:
            return [f"{100 * mm3 / whole:.4f}" if whole > 0 and mm3 >= 0 else MISSING for whole in wholes.values()]

        rows = []
        for entry in self.table.structures:
            mm3, soft, expected = volumes[entry.id], meta["soft_volumes"][entry.id], meta["expected_dsc"][entry.id]
            cells = [entry.id, entry.name, counts[entry.id], f"{mm3:.1f}", f"{soft:.1f}"]
            cells.append(f"{expected:.3f}" if mm3 and np.isfinite(expected) else MISSING)
            rows.append([*cells, *shares(mm3), *doubts])
        for name, whole in zip((BRAIN, ICV), wholes.values(), strict=False):
            mm3 = f"{whole:.1f}" if whole >= 0 else MISSING
            rows.append([MISSING, name, MISSING, mm3, MISSING, MISSING, *shares(whole), *doubts])
        columns = ["id", "name", "voxels", "mm3", "mm3_soft", "expected_dsc", *wholes, *(["doubts"] if doubts else [])]
        return table_text(columns, rows)


class TumorResultSaver(ResultSaver):
    """`ResultSaver` for cases of several modalities: the volumes are those of the regions and of the labels.

    * `<output>_volumes.tsv`: `name`, `labels` (ids that make it up), `voxels`, `mm3` (voxels times voxel volume),
      `modalities` (what was there of the case, such as `FLAIR+T2`) and `doubts` (see `find_doubts`), both the same in
      each row.

    Args:
        label_convention: see `RegionTable`.
        settings: see `ResultSaver`.
    """

    def __init__(self, label_convention: str, settings: str | None = None) -> None:
        super().__init__(label_convention, settings=settings)
        self.regions = RegionTable.load(label_convention)

    def _volume_table(self, counts: np.ndarray, voxel_mm3: float, meta: Mapping[str, Any]) -> str:
        named = [(f"{region.title} ({region.name})", self.regions.ids_of(region)) for region in self.regions.regions]
        named += [(entry.name, (entry.id,)) for entry in self.table.structures]
        rows = []
        for name, ids in named:
            voxels = int(counts[list(ids)].sum())
            cells = [name, "+".join(map(str, ids)), voxels, f"{voxels * voxel_mm3:.1f}"]
            rows.append([*cells, meta["modalities"], meta["doubts"] or MISSING])
        return table_text(["name", "labels", "voxels", "mm3", "modalities", "doubts"], rows)


def label_image(labels: np.ndarray, source: nib.spatialimages.SpatialImage) -> nib.Nifti1Image:
    """Put label ids `(H, W, D)` on the grid of a source image, NIfTI or MGH.

    The geometry of a NIfTI header is copied field by field, so that affine, spacing and codes stay the same to the last
    bit; descriptive fields, which may name a person, are not. An MGH header without orientation gives the codes 2
    (aligned to another file: the scan) and 0.
    """
    kind = nib.Nifti2Image if isinstance(source, nib.Nifti2Image) else nib.Nifti1Image
    image = kind(labels, source.affine)
    if isinstance(source, nib.Nifti1Image):  # NIfTI-2 included
        geometry = ["qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"]
        geometry += ["qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units"]
        for field in geometry:
            image.header[field] = source.header[field]
        image.header["pixdim"][:4] = source.header["pixdim"][:4]
    elif int(source.header["goodRASFlag"]):
        image.set_sform(source.affine, code="scanner")
        image.set_qform(source.affine, code="scanner")
    else:  # the axes are a guess: aligned to the scan's file, and nothing is said about the scanner
        image.set_sform(source.affine, code="aligned")
        image.set_qform(source.affine, code="unknown")
    return image


def mgh_label_image(labels: np.ndarray, source: nib.MGHImage) -> nib.MGHImage:
    """Put label ids `(H, W, D)` on the grid of an MGH image, uint8 as they are, others as int32.

    FreeSurfer's tags, which may name a person, do not come along.
    """
    image = nib.MGHImage(labels if labels.dtype == np.uint8 else labels.astype(np.int32), source.affine, source.header)
    image.set_data_dtype(image.dataobj.dtype)
    image.header["goodRASFlag"] = source.header["goodRASFlag"]  # nibabel sets it where it assumes an orientation
    return image
