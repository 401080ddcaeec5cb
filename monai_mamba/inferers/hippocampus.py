"""Two networks in sequence: one finds the hippocampi of a head, the other divides them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from scipy import ndimage

from monai_mamba.errors import InputError, NotFiniteError
from monai_mamba.grids import Grid, add_box, cut_box, one_affine, voxel_map
from monai_mamba.labels import LabelTable
from monai_mamba.transforms.hippocampus_box import centered_box, find_hippocampus, scale_to_surroundings

SIDES = ("Left", "Right")
# Of sub-0001: 0.77 in its own label map, 0.57 if that is moved by 4 mm, 0.13 by 6 mm up, 0.03 in those of two others.
LEAST_SEEN = 0.2


class HippocampusInferer(Inferer):
    """Probabilities of the parts of both hippocampi, on the grid of a conformed head.

    With `per_side`, the second network sees one hippocampus at a time, the right one mirrored so that it looks like a
    left one, with intensities scaled by its surroundings: the same network serves heads and crops of one hippocampus.
    Otherwise it sees one box that holds both, with the intensities of the head (MedSegMamba, arXiv 2409.08307).

    With `fill`, the first network (or the label map that is given) says what is hippocampus and the second which part
    of it, so that the parts add up to that hippocampus, labels and probabilities alike. Otherwise the second draws the
    outline, too.

    Args:
        first_network: the network of the subcortical bundle; not used where a label map is given.
        first_inferer: runs it over the head and returns probabilities `(1, C, h, w, d)` with the affine of their box.
        first_labels: its classes, with `Left-Hippocampus` and `Right-Hippocampus`.
        second_inferer: runs the network over a box and returns probabilities.
        labels: classes of the result. With `per_side`, the network's channels are the background and then the parts of
            one side in the order in which this table has them.
        roi_size: size of a box in voxels.
        per_side: see above.
        fill: see above; needs `per_side`.

    Raises:
        InputError: `fill` without `per_side`.
    """

    def __init__(
        self,
        first_network: torch.nn.Module,
        first_inferer: Callable[..., torch.Tensor],
        first_labels: LabelTable,
        second_inferer: Callable[..., torch.Tensor],
        labels: LabelTable,
        roi_size: Sequence[int],
        per_side: bool = True,
        fill: bool = True,
    ) -> None:
        super().__init__()
        if fill and not per_side:
            raise InputError("--fill True divides each hippocampus by itself; this label scheme needs --fill False.")
        self.first_network = first_network
        self.first_inferer = first_inferer
        self.first_labels = first_labels
        self.second_inferer = second_inferer
        self.roi_size = tuple(roi_size)
        self.per_side = per_side
        self.fill = fill
        self.classes = len(labels)
        self.hippocampi = {
            side: next(entry.id for entry in first_labels if entry.name == f"{side}-Hippocampus") for side in SIDES
        }
        self.channels = {side: [entry.index for entry in labels if entry.name.startswith(f"{side}-")] for side in SIDES}

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], aseg: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return probabilities `(1, K, H, W, D)`, float16, 0..1, with the meta data of `inputs`.

        They sum to 1, but for a smaller background in what `fill` has as hippocampus.

        Args:
            inputs: `MetaTensor` image `(1, 1, H, W, D)` on the 1 mm LIA grid, 0..1, with the meta data of its file.
            network: maps boxes `(1, 1, *roi_size)` to logits.
            aseg: label map `(1, 1, H, W, D)` in FreeSurfer ids on the same grid; None looks for the hippocampi with
                the first network.

        Raises:
            InputError: a hippocampus is missing, implausibly small, larger than the box, or cut by the image's border;
                or the two are exchanged, or the network sees it elsewhere than the label map.
            NotFiniteError: see `SlidingWindowProbabilityInferer`.
        """
        source, affine = Grid.of(inputs.meta), one_affine(inputs.affine)
        image = inputs.as_tensor()
        with _named(source.name, "search for the hippocampi"):
            ids, outlines = self._locate(inputs, aseg)
        inner = {side: find_hippocampus(ids, label, affine, side, source) for side, label in self.hippocampi.items()}
        result = torch.zeros((1, self.classes, *image.shape[2:]), dtype=torch.float16, device=image.device)
        if self.per_side:
            left, right = (inner[side][0] for side in SIDES)
            middle = (left.start + right.stop) // 2
            if left.start + left.stop <= right.start + right.stop:
                raise InputError(
                    f"{source.name}: the left hippocampus lies to the right of the right one. Check the orientation in "
                    "the header of the scan and, if one was given, of the label map."
                )
            for side in SIDES:
                box = centered_box([inner[side]], self.roi_size, affine, source)
                cut = scale_to_surroundings(cut_box(image, box), image[0, 0], inner[side])
                with _named(source.name, f"box of the {side.lower()} hippocampus"):
                    # Mirrored, a right hippocampus looks like a left one.
                    parts = self.second_inferer(cut.flip(2) if side == "Right" else cut, network)[0, 1:]
                parts = parts.flip(1) if side == "Right" else parts
                outline = cut_box(outlines[side], box)
                if aseg is not None:
                    _refuse_other_head(parts, outline, f"{source.name}: the {side.lower()} hippocampus")
                if self.fill:
                    parts = fill_outline(parts, outline)
                # A box may reach the other hippocampus; the first axis runs from right to left.
                edge = min(max(middle - box[0].start, 0), parts.shape[1])
                parts[:, slice(edge) if side == "Left" else slice(edge, None)] = 0
                for channel, part in zip(self.channels[side], parts, strict=True):
                    add_box(result[0, channel], part, box)
        else:
            box = centered_box(list(inner.values()), self.roi_size, affine, source)
            with _named(source.name, "box of the hippocampi"):
                add_box(result, self.second_inferer(cut_box(image, box), network), box)
        result[:, 0] = (1 - result[:, 1:].sum(dim=1)).clamp_(min=0)
        if self.fill:
            # The labels add up, too: a hippocampus is ahead of each other structure, not of all of them together.
            found = torch.from_numpy(np.isin(ids, list(self.hippocampi.values()))).to(image.device)
            behind = 0.99 * result[:, 1:].amax(dim=1)
            result[:, 0] = torch.where(found, torch.minimum(result[:, 0], behind), result[:, 0])
        return MetaTensor(result).copy_meta_from(inputs)

    def _locate(self, image: MetaTensor, aseg: torch.Tensor | None) -> tuple[np.ndarray, dict[str, torch.Tensor]]:
        """FreeSurfer ids `(H, W, D)` and, for each side, the probability `(H, W, D)` of its hippocampus."""
        if aseg is not None:
            ids = torch.as_tensor(aseg)[0, 0]
            return ids.cpu().numpy(), {side: (ids == label).half() for side, label in self.hippocampi.items()}
        found = self.first_inferer(image, self.first_network)
        first = voxel_map(one_affine(found.affine), one_affine(image.affine))[:3, 3].astype(int)
        box = tuple(slice(start, start + size) for start, size in zip(first, found.shape[2:], strict=True))
        table = np.array(self.first_labels.ids, dtype=np.uint16)
        ids = np.zeros(image.shape[2:], dtype=np.uint16)
        ids[box] = table[found[0].argmax(dim=0).cpu().numpy()]
        outlines = {}
        for side, label in self.hippocampi.items():
            outlines[side] = found.as_tensor().new_zeros(ids.shape)
            outlines[side][box] = found.as_tensor()[0, int(np.flatnonzero(table == label)[0])]
        return ids, outlines


@contextmanager
def _named(name: str, part: str) -> Iterator[None]:
    """Say in which part of the work on a file an inferer has failed; it may know the file, not the part."""
    try:
        yield
    except NotFiniteError as error:
        raise NotFiniteError(f"{name}, {part}: {str(error).removeprefix(f'{name}: ')}") from error


def _refuse_other_head(parts: torch.Tensor, outline: torch.Tensor, whole: str) -> None:
    """Refuse a label map in which a hippocampus lies where the network sees none: it is that of another head.

    Arguments are those of `fill_outline`; `whole` is for the message.
    """
    given = outline > 0.5
    share = float((parts.float().sum(dim=0) > 0.5)[given].float().mean())
    if share < LEAST_SEEN:
        raise InputError(
            f"{whole} of the label map given with --aseg is confirmed by the network in {share:.0%} of its voxels; "
            f"expected at least {LEAST_SEEN:.0%}. Give the label map of this scan, or leave the option out."
        )


def fill_outline(parts: torch.Tensor, outline: torch.Tensor) -> torch.Tensor:
    """Divide a structure as a network does that knows its parts but draws another border around it.

    Args:
        parts: the network's probabilities `(parts, H, W, D)`.
        outline: probability of the structure `(H, W, D)`.

    Returns:
        Probabilities `(parts, H, W, D)` whose sum is `outline`. Where the network does not see the structure, its parts
        are those of the nearest voxel where it does. 0 if it sees it nowhere.
    """
    whole = parts.float().sum(dim=0)
    seen = whole > 0.5
    if not seen.any():
        return torch.zeros_like(parts)
    nearest = ndimage.distance_transform_edt(~seen.cpu().numpy(), return_distances=False, return_indices=True)
    share = parts.float() / whole.clamp(min=1e-6)
    return share[(slice(None), *torch.from_numpy(nearest).long().to(parts.device))] * outline
