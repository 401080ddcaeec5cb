"""MONAI configs find the networks by their short names, and the package takes no name away from MONAI."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from collections import defaultdict

import monai.bundle
import pytest
from monai.bundle import ConfigParser
from monai.bundle.config_item import ComponentLocator

import monai_mamba
from monai_mamba.networks import nets

NETWORKS = {
    "MedSegMamba": {"channels": [8, 8, 16], "depth": 1},
    "SegMambaBot": {"channels": [8, 8, 16], "depth": 1},
    "TABSurfer": {"channels": [8, 16], "depth": 1, "num_heads": 2, "img_size": 4},
    "SegMamba": {"channels": [8, 8, 8, 8, 8], "depths": [1, 1, 1, 1]},
    "MSDKMamba": {"channels": [8, 8, 8, 8, 8], "depths": [1, 1, 1, 1]},
    "SegMaFormer": {"channels": [6, 6, 6, 6]},
    "medsegmamba_small": {},
    "msd_kmamba_large": {"channels": [8, 8, 8, 8, 8]},
    "msd_kmamba_small": {},
    "segmamba_bot_small": {},
    "segmamba_small": {},
    "tabsurfer_small": {},
}
RESOLVE = """
import json, sys
import torch
from monai.bundle import ConfigParser
parser = ConfigParser(json.loads(sys.argv[1]))
for key in json.loads(sys.argv[2]):
    print(type(parser.get_parsed_content(key)).__name__)
from monai_mamba.ops import selective_scan
one = torch.ones(1, 1, 1)
selective_scan(one, one, one[0], one, one)
assert "torch._dynamo" not in sys.modules, "importing torch.compile takes a second"
"""


def resolve(config, keys, folder):
    """Types that a fresh interpreter, which has imported nothing of ours, instantiates from a config."""
    command = [sys.executable, "-W", "ignore", "-c", RESOLVE, json.dumps(config), json.dumps(keys)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_short_names_resolve_once_the_package_is_imported(tmp_path):
    config = {"imports": ["$import monai_mamba"]}
    config |= {name: {"_target_": name, **arguments} for name, arguments in NETWORKS.items()}
    found = resolve(config, list(NETWORKS), tmp_path)
    presets = ["MedSegMamba", "MSDKMamba", "MSDKMamba", "SegMambaBot", "SegMamba", "TABSurfer"]
    assert found == [*list(NETWORKS)[:6], *presets]
    assert set(nets.__all__) - set(NETWORKS) == {"MissingModalityFill"}  # which needs a network


def test_dotted_names_resolve():
    for name, path in (("MedSegMamba", "monai_mamba"), ("SegMamba", "monai_mamba.networks.nets.segmamba")):
        parser = ConfigParser({"network": {"_target_": f"{path}.{name}", **NETWORKS[name]}})
        assert type(parser.get_parsed_content("network")).__name__ == name


def test_monai_still_searches_every_module_whose_name_starts_with_monai():
    assert monai.bundle.config_item.ComponentLocator.MOD_START == "monai"
    modules = ComponentLocator().get_component_module_name("SegMamba")
    assert modules == "monai_mamba.networks.nets.segmamba"


@pytest.fixture(scope="module")
def owners():
    """Modules that define each top-level class or function: of MONAI and of this package."""
    for module in pkgutil.walk_packages(monai_mamba.__path__, "monai_mamba."):
        if module.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name != "triton":  # comes with PyTorch's CUDA builds only
                raise
    found = {"monai": defaultdict(set), "monai_mamba": defaultdict(set)}
    for module_name, module in list(sys.modules.items()):
        package = module_name.partition(".")[0]
        if package in found and inspect.ismodule(module) and not module_name.endswith("__main__"):
            for name, member in inspect.getmembers(module, lambda m: inspect.isclass(m) or inspect.isfunction(m)):
                if member.__module__ == module_name:
                    found[package][name].add(module_name)
    return found


def test_no_name_of_the_package_hides_one_of_monai(owners):
    assert len(owners["monai"]) > 1000
    assert {"MedSegMamba", "SegMamba", "SegMambaBot", "TABSurfer"} <= set(owners["monai_mamba"])
    collisions = {name: modules for name, modules in owners["monai_mamba"].items() if name in owners["monai"]}
    assert not collisions


def test_public_names_of_the_package_are_unambiguous(owners):
    components = {  # no config names a function of the backends in ops
        name: {module for module in modules if not module.startswith("monai_mamba.ops.")}
        for name, modules in owners["monai_mamba"].items()
        if not name.startswith("_")
    }
    assert not {name: modules for name, modules in components.items() if len(modules) > 1}
