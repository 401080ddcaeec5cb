"""Turn checkpoints of the published MedSegMamba and SegMamba code into state dicts of this package's networks.

    python tools/convert_weights.py published.pth model.pt

The layout is recognized by its tensor names, and the network's arguments are read off the shapes. The checkpoint is
read with ``weights_only=True``, so nothing in it is executed; what is not part of the network is dropped and listed.
The result loads with ``network.load_state_dict(torch.load("model.pt", weights_only=True))``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from reports import run_command

from monai_mamba.errors import WeightsError
from monai_mamba.handlers.weights import read_weights, write_tensors
from monai_mamba.networks import nets

MEDSEGMAMBA_KEYS = (
    (r"Conv1\.", "encoders.0."),
    (r"downconv(\d)\.down\.1\.", r"encoders.\1."),
    (r"gn\.", "expand.0."),
    (r"expand\.(?=weight|bias)", "expand.2."),
    (r"bottleneck\.blocks\.(?!.*\.scans\.)", "blocks."),  # without traversals, parameters in the published code
    (r"pre_head_ln\.", "norm."),
    (r"compress\.conv\.", "compress."),
    (r"Up(\d)\.up\.0\.1\.", lambda m: f"ups.{4 - int(m[1])}.0."),
    (r"Up(\d)\.up\.1\.0\.", lambda m: f"ups.{4 - int(m[1])}.1."),
    (r"Up_conv(\d)\.", lambda m: f"decoders.{4 - int(m[1])}."),
    (r"Conv_1x1\.", "head."),
)
MEDSEGMAMBA_PARTS = (
    (".identity.", ".shortcut."),
    (".ln_1.", ".norm1."),
    (".ln_2.", ".norm2."),
    (".mlp.net.0.", ".mlp.linear1."),
    (".mlp.net.3.", ".mlp.linear2."),
    (".self_attention.conv3d.", ".mixer.conv."),
    (".self_attention.dt_projs_weight", ".mixer.dt_proj_weight"),
    (".self_attention.dt_projs_bias", ".mixer.dt_bias"),
    (".self_attention.A_logs", ".mixer.A_log"),
    (".self_attention.Ds", ".mixer.D"),
    (".self_attention.", ".mixer."),
)
SEGMAMBA_KEYS = (
    (r"vit\.downsample_layers\.0\.0\.", "downsamples.0."),
    (r"vit\.downsample_layers\.", "downsamples."),
    (r"vit\.gscs\.(\d)\.proj\.", r"gated_convs.\1.spatial.0.0."),
    (r"vit\.gscs\.(\d)\.proj2\.", r"gated_convs.\1.spatial.1.0."),
    (r"vit\.gscs\.(\d)\.proj3\.", r"gated_convs.\1.pointwise.0."),
    (r"vit\.gscs\.(\d)\.proj4\.", r"gated_convs.\1.mix.0."),
    (r"vit\.mlps\.(\d)\.fc1\.", r"taps.\1.1."),
    (r"vit\.mlps\.(\d)\.fc2\.", r"taps.\1.3."),
    (r"vit\.stages\.(\d+\.\d+)\.mamba\.", r"mamba_layers.\1.mixer."),
    (r"vit\.stages\.", "mamba_layers."),
    (r"encoder(\d)\.", lambda m: f"encoders.{int(m[1]) - 1}."),
    (r"decoder1\.", "final."),
    (r"decoder(\d)\.", lambda m: f"ups.{5 - int(m[1])}."),
    (r"out\.conv\.conv\.", "head."),
)
# One tensor per scan order (raster, reverse, inter-slice) in the published layout, one tensor for the three here
SEGMAMBA_BRANCHES = {
    "A_log": ("A_log", "A_b_log", "A_s_log"),
    "D": ("D", "D_b", "D_s"),
    "conv.weight": ("conv1d.weight", "conv1d_b.weight", "conv1d_s.weight"),
    "conv.bias": ("conv1d.bias", "conv1d_b.bias", "conv1d_s.bias"),
    "x_proj_weight": ("x_proj.weight", "x_proj_b.weight", "x_proj_s.weight"),
    "dt_proj_weight": ("dt_proj.weight", "dt_proj_b.weight", "dt_proj_s.weight"),
    "dt_bias": ("dt_proj.bias", "dt_proj_b.bias", "dt_proj_s.bias"),
}

State = dict[str, torch.Tensor]


class Converted(NamedTuple):
    """A converted checkpoint: name and arguments of the network, its state dict, and the names that were dropped."""

    network: str
    arguments: dict[str, object]
    state: State
    dropped: list[str]


def _rename(published: State, table: tuple) -> tuple[State, list[str]]:
    """The tensors by the names that a table gives them, and the names that it lacks."""
    state, dropped = {}, []
    for key, value in published.items():
        names = (re.subn(f"^{pattern}", replacement, key) for pattern, replacement in table)
        if name := next((name for name, count in names if count), None):
            state[name] = value
        else:
            dropped.append(key)
    return state, dropped


def _indices(state: State, prefix: str) -> int:
    """Number of entries of the module list ``prefix``."""
    return len({key.split(".")[prefix.count(".") + 1] for key in state if key.startswith(f"{prefix}.")})


def _medsegmamba(published: State) -> Converted:
    renamed, dropped = _rename(published, MEDSEGMAMBA_KEYS)
    state = {}
    for name, value in renamed.items():
        for old, new in MEDSEGMAMBA_PARTS:
            name = name.replace(old, new)
        if name.endswith((".A_log", ".D")):  # one row per direction and channel, direction slowest
            value = value.unflatten(0, (8, -1))
        state[name] = value
    levels = [state[f"encoders.{i}.shortcut.weight"] for i in range(_indices(state, "encoders"))]
    out_channels, final_channels = state["head.weight"].shape[:2]
    inner, width = state["blocks.0.mixer.in_proj.weight"].shape
    arguments = {
        "in_channels": levels[0].shape[1],
        "out_channels": out_channels,
        "channels": [level.shape[0] for level in levels] + [width],
        "depth": _indices(state, "blocks"),
        "d_state": state["blocks.0.mixer.A_log"].shape[-1],
        "expand": inner // width,
        "final_channels": final_channels,
    }
    return Converted("MedSegMamba", arguments, state, dropped)


def _segmamba(published: State) -> Converted:
    state, dropped = _rename(published, SEGMAMBA_KEYS)
    for layer in [key.removesuffix("in_proj.weight") for key in state if key.endswith(".mixer.in_proj.weight")]:
        for name, branches in SEGMAMBA_BRANCHES.items():
            parts = [state.pop(layer + branch) for branch in branches]
            state[layer + name] = torch.cat(parts) if name.startswith("conv.") else torch.stack(parts)
    stages = [state[f"gated_convs.{i}.mix.0.weight"].shape[0] for i in range(4)]
    inner, width = state["mamba_layers.0.0.mixer.in_proj.weight"].shape
    arguments = {
        "in_channels": state["downsamples.0.weight"].shape[1],
        "out_channels": state["head.weight"].shape[0],
        "channels": [*stages, state["encoders.4.layer.conv1.conv.weight"].shape[0]],
        "depths": [_indices(state, f"mamba_layers.{i}") for i in range(4)],
        "d_state": state["mamba_layers.0.0.mixer.A_log"].shape[-1],
        "expand": inner // (2 * width),
    }
    return Converted("SegMamba", arguments, state, dropped)


def convert(published: State) -> Converted:
    """Convert a state dict in a published layout: building the network and loading the result strictly succeeds."""
    if any(key.startswith("bottleneck.blocks.") for key in published):
        read = _medsegmamba
    elif any(key.startswith("vit.gscs.") for key in published):
        read = _segmamba
    else:
        raise WeightsError(
            "The tensor names are those of neither network: expected 'bottleneck.blocks.*' (MedSegMamba) or "
            f"'vit.gscs.*' (SegMamba), found {sorted(published)[:5]}."
        )
    try:
        converted = read(published)
    except (KeyError, RuntimeError) as error:
        raise WeightsError(f"The checkpoint is incomplete or not the published configuration: {error}.") from error
    with torch.device("meta"):
        network = getattr(nets, converted.network)(**converted.arguments)
    try:
        network.load_state_dict(converted.state, assign=True)
    except RuntimeError as error:
        raise WeightsError(f"The tensors do not fit {converted.network}. {error}") from error
    return converted


def convert_file(source: Path, target: Path) -> Converted:
    """Convert the checkpoint file ``source`` and write the state dict to ``target``."""
    published = read_weights(source)
    try:
        converted = convert(published)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from error
    write_tensors(target, {key: value.clone() for key, value in converted.state.items()})
    return converted


def convert_and_tell(options: argparse.Namespace) -> None:
    """Convert a file, and print what came out."""
    converted = convert_file(options.source, options.target)
    print(f"Wrote {options.target}: {len(converted.state)} tensors of {converted.network}")
    print("network:", json.dumps({"_target_": converted.network, **converted.arguments}))
    print(f"dropped {len(converted.dropped)} entries" + "".join(f"\n  {name}" for name in converted.dropped))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", type=Path, help="checkpoint in the published layout (.pt, .pth)")
    parser.add_argument("target", type=Path, help="state dict to write (.pt)")
    return run_command(convert_and_tell, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
