"""The recipe that the weights of `subcortical` are trained with, one part changed at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from .study import Network
from .subcortical import ADAMW, SHORT, SubcorticalStudy

SYNTHESIS = "train#random_transforms#0#"


def _variant(**training: object) -> Network:
    return Network({"_target_": "medsegmamba_small"}, training=training)


def _network(**arguments: object) -> Network:
    return Network({"_target_": "medsegmamba_small", **arguments})


class RecipeStudy(SubcorticalStudy):
    """Trains the network of `subcortical` with a short version of the recipe in `train_synthetic.json`, and with one
    part of the recipe changed at a time: another seed; AdamW alone instead of Muon for kernels and projections;
    structures that weigh no more than the rest; no Dice in the loss; the last weights instead of their moving
    average; float32; half of the images or all of them with T1-like contrast (93 % otherwise); a quarter or twice
    the elastic deformation; no skull stripping; windows anywhere in the head instead of mostly on a structure;
    smaller windows; no dropout; half as many channels, or half as many again; and a trunk with 8 channels at full
    resolution on top."""

    kind = "variant"
    networks: ClassVar = {
        "recipe": _variant(),
        "another_seed": _variant(seed=1),
        "adamw": _variant(optimizer=ADAMW),
        "equal_weights": _variant(structure_weight=1.0),
        "no_dice": _variant(**{"loss#lambda_dice": 0.0}),
        "no_average": _variant(**{"ema#momentum": 0.999}),
        "float32": _variant(amp=False),
        "half_t1": _variant(**{SYNTHESIS + "t1_prob": 0.5}),
        "all_t1": _variant(**{SYNTHESIS + "t1_prob": 1.0}),
        "weak_deformation": _variant(**{SYNTHESIS + "elastic": 0.25}),
        "strong_deformation": _variant(**{SYNTHESIS + "elastic": 2.0}),
        "no_stripping": _variant(**{SYNTHESIS + "strip_prob": 0.0}),
        "windows_anywhere": _variant(**{SYNTHESIS + "anywhere_prob": 1.0}),
        "smaller_windows": Network({"_target_": "medsegmamba_small"}, {"roi_size": [32, 32, 32]}),
        "no_dropout": _network(dropout_rate=0.0, drop_path_rate=0.0),
        "smaller_network": _network(channels=(8, 24, 48, 64, 64), final_channels=16),
        "larger_network": _network(channels=(24, 72, 144, 192, 192), final_channels=48),
        "full_resolution": _network(channels=(8, 16, 48, 96, 128, 128), stem_stride=1, final_channels=16),
    }
    short_training: ClassVar[Mapping[str, object]] = SHORT  # with the config's own optimizer
    caveat = "A variant changes only what it is named for. "
