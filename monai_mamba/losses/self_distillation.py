"""Deep supervision in which the best scale of a network also teaches the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ignite.engine import Engine, Events
from monai.losses import DeepSupervisionLoss
from torch import nn
from torch.nn import functional


class SelfDistillationLoss(nn.Module):
    """Segmentation loss at every scale, divergence of every scale from the finest, and likeness of their features.

    L = loss(z_0) + sum_i w_i loss(z_i) + a T^2 mean_i KL(p_0 || p_i) + b mean_i (1 - cos(f_i, f_0)), where z_0 are the
    logits of the teacher, p the probabilities at temperature T, and f the features. The weights w_i halve from one
    student to the next and sum up to 1. No gradient reaches the teacher through the last two terms. They are computed
    on the student's grid: the teacher's probabilities and features are averaged over each of its voxels, the labels
    sampled there. KL sums over classes, or averages over regions, and is a mean over voxels. Sources: temperature and
    its factor, Hinton et al., arXiv 1503.02531; scales that learn from each other, Dual Self-Distillation (Banerjee et
    al., arXiv 2306.03271).

    The loss is also a handler: put it into the handlers of the trainer, and a grows linearly from 0 over the first
    ``ramp`` of all iterations; a resumed training goes on where it was. Without that, a is ``distillation_weight``
    throughout.

    Args:
        loss: segmentation loss of logits ``(B, K, h, w, d)`` and a target of that size.
        sigmoid: the channels are regions, each with a probability of its own; False takes a softmax over classes.
        distillation_weight: a at the end of the ramp, >= 0.
        temperature: T > 0; more makes the probabilities softer.
        feature_weight: b >= 0.
        ramp: part of the training over which a grows, 0 to 1.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        loss: nn.Module,
        sigmoid: bool = False,
        distillation_weight: float = 0.5,
        temperature: float = 3.0,
        feature_weight: float = 0.1,
        ramp: float = 0.2,
    ) -> None:
        super().__init__()
        if min(distillation_weight, feature_weight) < 0 or temperature <= 0 or not 0 <= ramp <= 1:
            raise ValueError(
                "distillation_weight and feature_weight must be >= 0, temperature > 0 and ramp between 0 and 1, got "
                f"{distillation_weight}, {feature_weight}, {temperature} and {ramp}."
            )
        self.supervision = DeepSupervisionLoss(loss)
        self.sigmoid = sigmoid
        self.distillation_weight = distillation_weight
        self.temperature = temperature
        self.feature_weight = feature_weight
        self.ramp = ramp
        self.progress = 1.0  # along the ramp

    def attach(self, engine: Engine) -> None:
        """Follow the iterations of a MONAI trainer."""
        engine.add_event_handler(Events.ITERATION_STARTED, self._advance)

    def _advance(self, engine: Engine) -> None:
        state = engine.state
        steps = self.ramp * state.max_epochs * state.epoch_length
        self.progress = min(1.0, (state.iteration - 1) / steps) if steps > 0 else 1.0

    def forward(
        self,
        output: torch.Tensor | Sequence[torch.Tensor] | tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]],
        target: torch.Tensor,
    ) -> torch.Tensor:
        """Loss of a batch, computed in float32 whatever the precision of the network.

        Args:
            output: what a network returns: logits ``(B, K, h, w, d)`` of several scales, the teacher's first; or a pair
                of them and of features ``(B, F, h, w, d)`` of several scales with the same F, the finest first; or one
                tensor of logits, for which only ``loss`` is computed.
            target: labels ``(B, 1, H, W, D)`` or regions ``(B, K, H, W, D)``.

        Returns:
            Scalar.
        """
        logits, features = output, []
        if isinstance(output, torch.Tensor):
            logits = [output]
        elif not isinstance(output[0], torch.Tensor):
            logits, features = output
        target = target.float()  # integers cannot be sampled at other scales
        teacher, *students = (scale.float() for scale in logits)
        total = self.supervision.get_loss(teacher, target)
        if students:
            halves = [0.5**i for i in range(len(students))]
            for half, student in zip(halves, students, strict=True):
                total = total + half / sum(halves) * self.supervision.get_loss(student, target)
            divergence = sum(self._divergence(teacher.detach(), student) for student in students) / len(students)
            share = self.distillation_weight * self.progress * self.temperature**2
            total = total + share * divergence
        if len(features) > 1:
            finest, *coarser = (scale.float() for scale in features)
            distance = sum(_cosine_distance(finest.detach(), scale) for scale in coarser) / len(coarser)
            total = total + self.feature_weight * distance
        return total

    def _divergence(self, teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
        """KL(teacher || student) at the temperature, mean over voxels."""
        teacher, student = teacher / self.temperature, student / self.temperature
        if self.sigmoid:
            p = _average_to(teacher.sigmoid(), student)
            inside = functional.kl_div(functional.logsigmoid(student), p, reduction="mean")
            return inside + functional.kl_div(functional.logsigmoid(-student), 1 - p, reduction="mean")
        p = _average_to(teacher.softmax(dim=1), student)
        return functional.kl_div(student.log_softmax(dim=1), p, reduction="none").sum(dim=1).mean()


def _average_to(fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
    """Mean of the fine voxels in each coarse one."""
    return fine if fine.shape[2:] == coarse.shape[2:] else functional.adaptive_avg_pool3d(fine, coarse.shape[2:])


def _cosine_distance(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    return 1 - functional.cosine_similarity(_average_to(teacher, student), student, dim=1).mean()
