"""Overlapping windows vote with their probabilities."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from monai_mamba.errors import InputError, NotFiniteError
from monai_mamba.inferers import SlidingWindowProbabilityInferer
from monai_mamba.networks.nets import MedSegMamba, medsegmamba_small


class PlacedNetwork(torch.nn.Module):
    """Logits that depend on where a voxel lies in its window, so that windows disagree."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 1, H, W, D) -> (B, 2, H, W, D)."""
        ramp = torch.linspace(-3, 3, x.shape[-1]).expand_as(x)
        return torch.cat([x, x * ramp], dim=1)


@pytest.mark.parametrize("batch", [1, 3])
def test_each_window_has_one_vote(batch):
    image = torch.rand(1, 1, 16, 16, 32, generator=torch.Generator().manual_seed(0))
    network = PlacedNetwork()
    result = SlidingWindowProbabilityInferer(16, sw_batch_size=batch, overlap=0.5, amp=False)(image, network)
    starts = (0, 8, 16)
    expected, votes = torch.zeros(1, 2, 16, 16, 32), torch.zeros(32)
    for start in starts:
        part = slice(start, start + 16)
        expected[..., part] += network(image[..., part]).softmax(dim=1)
        votes[part] += 1
    assert result.dtype == torch.float16
    # Half precision: 11 bits for the image, the votes and their sum.
    torch.testing.assert_close(result.float(), expected / votes, atol=2e-3, rtol=0)
    torch.testing.assert_close(result.float().sum(dim=1), torch.ones(1, 16, 16, 32), atol=2e-3, rtol=0)


def test_an_image_smaller_than_the_window_keeps_its_size_and_meta_data():
    affine = torch.diag(torch.tensor([2.0, 3, 4, 1], dtype=torch.float64))
    image = MetaTensor(torch.rand(1, 1, 9, 12, 16), affine=affine, meta={"filename_or_obj": "scan.nii"})
    result = SlidingWindowProbabilityInferer(16, amp=False)(image, PlacedNetwork())
    assert result.shape == (1, 2, 9, 12, 16)
    assert result.dtype == torch.float16
    assert torch.equal(result.affine, affine)
    assert result.meta["filename_or_obj"] == "scan.nii"


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("mirror", [None, [0, 2, 3, 1]])
def test_mixed_precision_changes_little(mirror):
    torch.manual_seed(0)
    conv, small = torch.nn.Conv3d(1, 4, 3, padding=1), medsegmamba_small(1, 4).eval()
    image = torch.rand(1, 1, 16, 16, 16)
    for network, atol in ((conv, 0.01), (small, 0.03)):  # bfloat16 keeps 8 bits of logits of size about 1
        with torch.no_grad():
            full, mixed = (
                SlidingWindowProbabilityInferer(16, amp=amp, mirror=mirror, mirror_shift=1)(image, network)
                for amp in (False, True)
            )
        assert not torch.equal(mixed, full)
        torch.testing.assert_close(mixed.float(), full.float(), atol=atol, rtol=0)


OUT_OF_RANGE = [("overlap", 1), ("overlap", -0.1), ("overlap", "half"), ("overlap", (0.5, 0.5, 1.5))]
OUT_OF_RANGE += [("sw_batch_size", 0), ("sw_batch_size", 1.5), ("sw_batch_size", "two")]


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE)
def test_options_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(InputError, match=f"--{name} is ") as refused:
        SlidingWindowProbabilityInferer(16, **{name: value})
    assert str(value) in str(refused.value)


def test_mirrored_windows_make_the_result_the_same_for_a_mirrored_image():
    torch.manual_seed(0)
    network, image, mirror = torch.nn.Conv3d(1, 3, 3, padding=1), torch.rand(1, 1, 16, 16, 24), [0, 2, 1]
    with torch.no_grad():
        plain = SlidingWindowProbabilityInferer(16, amp=False)
        both = SlidingWindowProbabilityInferer(16, amp=False, mirror=mirror)
        result, mirrored = both(image, network), both(image.flip(2), network)
        torch.testing.assert_close(mirrored.flip(2)[:, mirror].float(), result.float(), atol=2e-3, rtol=0)
        expected = (plain(image, network) + plain(image.flip(2), network).flip(2)[:, mirror]) / 2
        torch.testing.assert_close(result.float(), expected.float(), atol=2e-3, rtol=0)
        assert (plain(image, network).float() - result.float()).abs().max() > 0.01


def test_a_shift_is_a_whole_number():
    with pytest.raises(InputError, match=r"mirror_shift is 0\.5"):
        SlidingWindowProbabilityInferer(16, mirror_shift=0.5)


def test_mirrored_windows_can_be_shifted_there_and_back():
    torch.manual_seed(0)
    image, mirror = torch.rand(1, 1, 16, 16, 16), [0, 2, 1]
    cells = torch.nn.Sequential(torch.nn.Conv3d(1, 3, 2, stride=2), torch.nn.Upsample(scale_factor=2))
    with torch.no_grad():
        result = SlidingWindowProbabilityInferer(16, amp=False, mirror=mirror, mirror_shift=1)(image, cells)
        shifted = cells(image.roll((1, 1, 1), (2, 3, 4)).flip(2)).softmax(1)
        expected = (cells(image).softmax(1) + shifted.flip(2)[:, mirror].roll((-1, -1, -1), (2, 3, 4))) / 2
        torch.testing.assert_close(result.float(), expected, atol=2e-3, rtol=0)
        plain = SlidingWindowProbabilityInferer(16, amp=False, mirror=mirror)(image, cells)
        assert (plain.float() - result.float()).abs().max() > 0.01
        # A network that treats all voxels alike does not notice, except where windows begin.
        same = torch.nn.Conv3d(1, 3, 3, padding=1, padding_mode="circular")
        both = [
            SlidingWindowProbabilityInferer(16, amp=False, mirror=mirror, mirror_shift=n)(image, same) for n in (0, 1)
        ]
        torch.testing.assert_close(both[0], both[1], atol=2e-3, rtol=0)


@pytest.mark.parametrize("mirror", [None, [0, 2, 1]])
def test_a_network_with_slabs_gives_what_its_whole_logits_give(mirror):
    torch.manual_seed(0)
    network = MedSegMamba(out_channels=3, channels=(8, 8, 8), depth=1, d_state=2, stem_stride=2).eval()
    torch.nn.init.normal_(network.head.weight)  # subvoxels start equal
    image = torch.rand(1, 1, 16, 16, 24)
    infer = SlidingWindowProbabilityInferer(16, sw_batch_size=2, amp=False, mirror=mirror, mirror_shift=1)
    with torch.no_grad():
        whole = infer(image, lambda window: network(window))
        torch.testing.assert_close(infer(image, network), whole, atol=1e-3, rtol=0)


def test_what_is_not_finite_in_one_slab_is_found():
    network = MedSegMamba(out_channels=3, channels=(8, 8, 8), depth=0, d_state=2).eval()
    image = torch.rand(1, 1, 16, 16, 24)
    image[..., 9, 9, 22] = torch.inf
    with torch.no_grad(), pytest.raises(NotFiniteError, match="voxels 0-15 x 0-15 x 8-23"):
        SlidingWindowProbabilityInferer(16, amp=False)(image, network)


def test_regions_have_probabilities_of_their_own_and_gaussian_windows_trust_their_middle():
    image = torch.rand(1, 1, 16, 16, 24, generator=torch.Generator().manual_seed(0))
    network = PlacedNetwork()
    first, second = network(image[..., :16]).sigmoid(), network(image[..., 8:]).sigmoid()
    infer = {"roi_size": 16, "overlap": 0.5, "amp": False, "sigmoid": True}
    equal, gaussian = (
        SlidingWindowProbabilityInferer(**infer, mode=mode)(image, network).float() for mode in ("constant", "gaussian")
    )
    torch.testing.assert_close(equal[..., 8], (first[..., 8] + second[..., 0]) / 2, atol=2e-3, rtol=0)
    # The middle of the first window lies at the border of the second, whose weight there is 1/1000.
    middle = (..., slice(6, 10), slice(6, 10), 8)
    torch.testing.assert_close(gaussian[middle], first[middle], atol=5e-3, rtol=0)
    assert (equal[middle] - first[middle]).abs().max() > 0.05
