"""Self-distillation: its terms by hand, where gradients flow, its ramp, and training with it."""

from __future__ import annotations

import math

import pytest
import torch
from ignite.engine import Engine
from monai.losses import DeepSupervisionLoss, DiceCELoss
from torch import nn

from monai_mamba.losses import RegionDiceBCELoss, SelfDistillationLoss


class NoLoss(nn.Module):
    """A segmentation loss of 0, which leaves the other terms."""

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return 0 * logits.sum()


def distillation_only(**arguments):
    return SelfDistillationLoss(NoLoss(), **({"distillation_weight": 1.0, "feature_weight": 1.0} | arguments))


def volume(*channels, size=(1, 1, 1)):
    """Logits or features (1, C, *size), the same in every voxel."""
    return torch.tensor(channels, dtype=torch.float32).reshape(1, -1, 1, 1, 1).expand(1, -1, *size).clone()


NO_TARGET = torch.zeros(1, 1, 2, 2, 2)


def test_softmax_divergence_by_hand():
    teacher, student = volume(0.0, 2 * math.log(3)), volume(0.0, 0.0)  # (1/4, 3/4) and (1/2, 1/2) at temperature 2
    divergence = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    loss = distillation_only(temperature=2.0)([teacher, student], NO_TARGET)
    assert loss.item() == pytest.approx(4 * divergence, rel=1e-5)


def test_region_divergence_by_hand():
    teacher, student = volume(2 * math.log(3), 0.0), volume(0.0, 0.0)
    divergence = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    loss = distillation_only(sigmoid=True, temperature=2.0)([teacher, student], NO_TARGET)
    assert loss.item() == pytest.approx(4 * divergence / 2, rel=1e-5)  # the second region agrees


def test_student_is_compared_with_the_mean_probability_of_its_voxels():
    teacher = torch.zeros(1, 2, 2, 2, 2)
    teacher[0, 1, 0] = 60.0  # probability 1 in half of the voxels, 1/2 in the others
    loss = distillation_only(temperature=1.0)
    assert loss([teacher, volume(0.0, math.log(3))], NO_TARGET).item() == pytest.approx(0, abs=1e-6)
    assert loss([teacher, volume(0.0, 0.0)], NO_TARGET).item() > 0.1


@pytest.mark.parametrize("sigmoid", [False, True])
def test_divergence_is_zero_for_equal_scales_only(sigmoid):
    torch.manual_seed(0)
    teacher = 5 * torch.randn(2, 3, 4, 4, 4)
    loss = distillation_only(sigmoid=sigmoid)
    assert loss([teacher, teacher.clone()], NO_TARGET).item() == pytest.approx(0, abs=1e-6)
    assert loss([teacher, teacher + torch.randn_like(teacher)], NO_TARGET) > 1e-2


def test_divergence_does_not_depend_on_batch_or_window():
    torch.manual_seed(0)
    teacher, student = torch.randn(1, 3, 2, 2, 2), torch.randn(1, 3, 2, 2, 2)
    loss = distillation_only()
    more = [scale.repeat(3, 1, 2, 1, 4) for scale in (teacher, student)]
    torch.testing.assert_close(loss(more, NO_TARGET), loss([teacher, student], NO_TARGET))


def test_feature_term_by_hand():
    finest = volume(1.0, 0.0, size=(2, 2, 2))
    finest[:, :, 0] = volume(0.0, 1.0)[:, :, 0]  # mean (1/2, 1/2)
    logits = [volume(0.0)]
    loss = distillation_only(feature_weight=2.0)((logits, [finest, volume(3.0, 3.0), volume(-1.0, 1.0)]), NO_TARGET)
    assert loss.item() == pytest.approx(2 * (0 + 1) / 2, abs=1e-6)


@pytest.mark.parametrize("sigmoid", [False, True])
def test_no_gradient_reaches_the_teacher(sigmoid):
    torch.manual_seed(0)
    logits = [torch.randn(1, 2, n, n, n, requires_grad=True) for n in (4, 4, 2)]
    features = [torch.randn(1, 3, n, n, n, requires_grad=True) for n in (4, 2)]
    distillation_only(sigmoid=sigmoid)((logits, features), NO_TARGET).backward()
    assert not logits[0].grad.any()  # there is one, from a loss of 0
    assert features[0].grad is None
    assert all(student.grad.any() for student in (*logits[1:], *features[1:]))


def test_without_distillation_it_is_deep_supervision():
    torch.manual_seed(0)
    logits = [torch.randn(1, 3, n, n, n) for n in (8, 8, 4, 2)]
    target = torch.randint(0, 3, (1, 1, 8, 8, 8))
    segmentation = DiceCELoss(to_onehot_y=True, softmax=True)
    plain = SelfDistillationLoss(segmentation, distillation_weight=0, feature_weight=0)
    reference = DeepSupervisionLoss(segmentation, weights=[1, 4 / 7, 2 / 7, 1 / 7])
    torch.testing.assert_close(plain(logits, target), reference(logits, target.float()))
    torch.testing.assert_close(plain(logits[0], target), segmentation(logits[0], target))


def test_divergence_grows_along_the_ramp():
    scales = [volume(0.0, 3.0), volume(0.0, 0.0)]
    loss = distillation_only(ramp=0.4)
    full = loss(scales, NO_TARGET).item()
    shares = []
    engine = Engine(lambda *_: shares.append(loss(scales, NO_TARGET).item() / full))
    loss.attach(engine)
    engine.run([0] * 5, max_epochs=2)
    assert shares == pytest.approx([0, 0.25, 0.5, 0.75, *[1] * 6])


def test_ramp_goes_on_after_a_resume_and_may_be_left_out():
    for ramp, expected in ((1.0, 0.6), (0.0, 1.0)):
        loss = distillation_only(ramp=ramp)
        progress = []
        engine = Engine(lambda *_, loss=loss, progress=progress: progress.append(loss.progress))
        loss.attach(engine)
        engine.load_state_dict({"epoch_length": 2, "max_epochs": 5, "iteration": 6})
        engine.run([0] * 2)
        assert progress[0] == pytest.approx(expected)


def test_half_precision_gives_a_float32_loss_and_finite_gradients():
    logits = [(300 * torch.randn(1, 3, n, n, n)).half().requires_grad_() for n in (4, 4, 2)]
    loss = SelfDistillationLoss(RegionDiceBCELoss(), sigmoid=True)(logits, torch.ones(1, 3, 4, 4, 4))
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(scale.grad.isfinite().all() for scale in logits)


@pytest.mark.parametrize("argument", ["distillation_weight", "feature_weight", "temperature", "ramp"])
def test_numbers_out_of_range_are_refused(argument):
    with pytest.raises(ValueError, match="must be >= 0, temperature > 0 and ramp between 0 and 1"):
        SelfDistillationLoss(NoLoss(), **{argument: -1})
