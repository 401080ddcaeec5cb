"""What is particular to MSDKMamba: its scales, its twins, and training through MONAI."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.inferers import SlidingWindowInferer
from torch.nn import functional

from monai_mamba import MSDKMamba
from monai_mamba.errors import InputError
from monai_mamba.inferers.autocast import AutocastInferer
from monai_mamba.losses import RegionDiceBCELoss, SelfDistillationLoss
from monai_mamba.networks.blocks.kmamba import BidirectionalSpatialMixer, KMambaBlock
from monai_mamba.networks.nets.msd_kmamba import MultiScaleOutput

TINY = {"in_channels": 2, "out_channels": 3, "channels": (8, 8, 16, 16, 16), "depths": (1, 0, 0, 1), "d_state": 2}


def built(**arguments):
    torch.manual_seed(0)
    return MSDKMamba(**(TINY | {"drop_path_rate": 0.0} | arguments))


def test_training_returns_scales_and_features_and_evaluation_the_fused_logits():
    network = built()
    x = torch.randn(2, 2, 16, 32, 16)
    with torch.no_grad():
        output = network.train()(x)
        fused = network.eval()(x)
    assert isinstance(output, MultiScaleOutput)
    sizes = [(16, 32, 16), (8, 16, 8), (4, 8, 4), (2, 4, 2)]
    assert [scale.shape for scale in output.logits] == [(2, 3, *size) for size in [sizes[0], *sizes]]
    assert [scale.shape for scale in output.features] == [(2, 8, *size) for size in sizes]
    torch.testing.assert_close(fused, output.logits[0])


def test_fused_logits_are_the_weighted_mean_of_the_heads():
    network = built().train()
    fused, *heads = network(torch.randn(1, 2, 16, 16, 32)).logits
    weights = torch.tensor([2.0, 1.0, 0.0, -1.0]).softmax(0)
    full = [functional.interpolate(head, size=(16, 16, 32), mode="trilinear") for head in heads]
    torch.testing.assert_close(fused, sum(w * head for w, head in zip(weights, full, strict=True)))


def test_the_loss_reaches_every_parameter():
    network = built().train()
    output = network(torch.randn(1, 2, 16, 32, 16))
    loss = SelfDistillationLoss(RegionDiceBCELoss(), sigmoid=True)
    loss(output, torch.randint(0, 2, (1, 3, 16, 32, 16))).backward()
    assert not {key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()}


def test_blocks_take_the_axes_in_turn_and_drop_ever_more_paths():
    network = MSDKMamba(channels=(8,) * 5, drop_path_rate=0.5)
    blocks = [m for m in network.modules() if isinstance(m, KMambaBlock)]
    walks = [m.orientation for m in network.modules() if isinstance(m, BidirectionalSpatialMixer)]
    assert walks == [0, 3, 2, 0, 3, 2]
    assert [block.drop_path.drop_prob for block in blocks] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize("kan", ["spline", None])
def test_twins_with_other_channel_mixing(kan):
    network, twin = built(), built(kan=kan)
    unlike = set(network.state_dict()) ^ set(twin.state_dict())
    assert unlike
    assert all(".mixing." in key for key in unlike)
    twin(torch.randn(1, 2, 16, 32, 16)).logits[0].square().mean().backward()
    mixing = {key: p for key, p in twin.named_parameters() if ".mixing." in key}
    assert mixing
    assert all(p.grad.any() for p in mixing.values())


def test_one_training_step_and_sliding_windows_through_monai():
    network = built()
    torch.manual_seed(1)
    image = MetaTensor(torch.randn(1, 2, 32, 16, 16))
    label = (image[:, :1] > 0).expand(-1, 3, -1, -1, -1).float()
    loss = SelfDistillationLoss(RegionDiceBCELoss(), sigmoid=True)
    losses = []
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=3,
        train_data_loader=[{"image": image, "label": label}],
        network=network,
        optimizer=torch.optim.AdamW(network.parameters(), lr=1e-2),
        loss_function=loss,
        inferer=AutocastInferer(),
        train_handlers=[loss],
        decollate=False,
    )
    trainer.add_event_handler("ITERATION_COMPLETED", lambda engine: losses.append(engine.state.output["loss"].item()))
    trainer.run()
    assert losses[-1] < losses[0]
    assert loss.progress == 1

    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=[{"image": image, "label": label}],
        network=network,
        inferer=SlidingWindowInferer(roi_size=(16, 16, 32), overlap=0.5),
        decollate=False,
    )
    evaluator.run()
    assert evaluator.state.output["pred"].shape == (1, 3, 32, 16, 16)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="channels must have 5 numbers"):
        built(channels=(8, 8))
    with pytest.raises(ValueError, match="depths must have 4 numbers"):
        built(depths=(1, 1))
    with pytest.raises(ValueError, match='kan must be "rational", "spline" or None, got \'mlp\''):
        built(kan="mlp")
    with pytest.raises(InputError, match=r"got \(16, 16, 16\); pad an axis to 32"):
        built()(torch.zeros(1, 2, 16, 16, 16))
