"""Trainings that leave the finite numbers: where they are said to have done so, and what is left of them."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Events
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer
from torch import nn

from monai_mamba.errors import MonaiMambaError
from monai_mamba.handlers.checkpoint import ResumableCheckpoint
from monai_mamba.handlers.nan_stop import NaNStop


class Root(nn.Module):
    """Square root: NaN below 0, and an infinite gradient at 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sqrt()


class Sometimes(nn.Module):
    """Infinite in one of two runs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.inf if torch.rand(()) < 0.5 else x


def batch(value: float, name: str) -> dict:
    return {"image": torch.full((1, 1, 2, 2, 2), value), "label": torch.zeros(1, 1, 2, 2, 2), "subject": [name]}


def network(*layers: nn.Module) -> nn.Module:
    """Convolutions that keep the values, around some layers."""
    first, last = nn.Conv3d(1, 1, 1), nn.Conv3d(1, 1, 1)
    for conv in (first, last):
        nn.init.ones_(conv.weight)
        nn.init.zeros_(conv.bias)
    return nn.Sequential(first, nn.Sequential(*layers), last)


def trainer_of(net: nn.Module, batches: list[dict], *handlers: object, **options: object) -> SupervisedTrainer:
    return SupervisedTrainer(
        device="cpu",
        train_data_loader=batches,
        network=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=1e-3),
        train_handlers=[NaNStop(), *handlers],
        decollate=False,
        **{"max_epochs": 1, "loss_function": nn.MSELoss(), **options},
    )


def stop_message(net: nn.Module, batches: list[dict], **options: object) -> str:
    """Train until it stops; return the message."""
    with pytest.raises(MonaiMambaError) as caught:
        trainer_of(net, batches, **options).run()
    return str(caught.value)


def test_layer_scan_and_iteration_are_named_and_the_step_is_not_made():
    net = network(nn.Identity(), nn.Identity(), Root())
    seen = []
    net.register_forward_hook(lambda *_: seen.append(net[0].weight.item()))
    message = stop_message(net, [batch(1.0, "sub-1"), batch(-1.0, "sub-2"), batch(1.0, "sub-3")])
    assert "The loss is nan in iteration 2 (epoch 1), scan sub-2" in message
    assert "the output of layer '1.2' (Root) is the first that is not finite" in message
    assert "--learning_rate" in message
    # Two training forwards and one to find the layer; the weight is that of the second.
    assert len(seen) == 3
    assert net[0].weight.item() == seen[1] != seen[0]


@pytest.mark.parametrize("seed", range(6))
def test_the_layer_is_found_although_chance_decides(seed):
    torch.manual_seed(seed)
    batches = [batch(1.0, f"sub-{number}") for number in range(50)]
    assert "the output of layer '1.0' (Sometimes) is the first" in stop_message(network(Sometimes()), batches)


def test_weights_that_a_step_has_ruined_are_named_in_the_next_iteration():
    # The root's gradient at 0 is infinite, while the loss itself is finite.
    message = stop_message(
        network(Root()), [batch(0.0, "sub-1"), batch(1.0, "sub-2")], loss_function=lambda y, _: y.mean()
    )
    assert "in iteration 2 (epoch 1), scan sub-2" in message
    assert "the weights of layer '0' (Conv3d) are not finite since the step before (scan sub-1)" in message


def test_a_checkpoint_is_not_overwritten_by_weights_that_the_last_step_has_ruined(tmp_path):
    path = tmp_path / "checkpoint.pt"
    net = network(Root())
    options = {"max_epochs": 2, "loss_function": lambda y, _: y.mean()}
    trainer = trainer_of(net, [batch(1.0, "sub-1")], ResumableCheckpoint(path, {"network": net}), **options)

    @trainer.on(Events.EPOCH_COMPLETED(once=1))
    def next_epoch_is_bad() -> None:
        with torch.no_grad():
            net[0].bias.copy_(-net[0].weight.flatten())  # the root gets 0

    with pytest.raises(
        MonaiMambaError, match=r"last step of epoch 2 \(iteration 2, scan sub-1\).*layer '0' \(Conv3d\)"
    ):
        trainer.run()
    assert torch.load(path, weights_only=True)["trainer"] == {"epoch": 1, "iteration": 1}
    assert all(value.isfinite().all() for value in torch.load(path, weights_only=True)["network"].values())


def test_an_image_and_a_loss_function_can_be_the_cause_too():
    image = batch(torch.nan, "sub-1")
    image["image"] = MetaTensor(image["image"], meta={"filename_or_obj": ["scan.nii.gz"]})
    del image["subject"]
    assert "scan scan.nii.gz: the image itself holds values that are not finite" in stop_message(network(), [image])
    message = stop_message(network(), [batch(1.0, "sub-1")], loss_function=lambda y, _: (y.mean() * 0).log())
    assert "The loss is -inf in iteration 1" in message
    assert "so it comes from the loss function" in message
