"""What is installed, and whether it is complete."""

from __future__ import annotations

import platform
import re
from importlib import metadata

import torch

from monai_mamba.bundle import PACKAGE, bundle_metadata, shipped_bundles
from monai_mamba.errors import WeightsError
from monai_mamba.handlers import check_weights
from monai_mamba.ops import explain
from monai_mamba.version import __version__


def print_info() -> None:
    """Print versions, devices with what computes the selective scan there, and the bundles with their weights.

    Raises:
        WeightsError: weights of a bundle are missing, or are not those that its metadata name.
    """
    print(f"monai-mamba {__version__} in {PACKAGE}")
    print(f"Python {platform.python_version()} on {platform.platform()}")
    print(", ".join(f"{name} {version}" for name, version in _versions().items()))
    for device in ("cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))):
        print(f"\nSelective scan on {device}: {explain(device)}")
    problems = []
    for bundle in shipped_bundles().values():
        about = bundle_metadata(bundle)
        print(f"\nBundle {bundle.name} {about['version']} in {bundle}")
        for name, entry in about["weights"].items():
            try:
                check_weights(bundle / name, bundle)
                print(f"- {name}: ok, SHA-256 {entry['sha256']}")
            except WeightsError as error:
                problems.append(str(error))
                print(f"- {name}: {error}")
    if problems:
        raise WeightsError(f"{len(problems)} weights files of the bundles are not what they should be, see above.")


def _versions() -> dict[str, str]:
    """Version of each package that this one requires or can use, by name."""
    versions = {}
    for requirement in metadata.requires("monai-mamba") or ():
        name = re.match(r"[\w.-]+", requirement)[0]
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
