"""Which files a bundle consists of, and the checks of a bundle that only read files."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from monai.bundle import ConfigParser, verify_metadata
from packaging.utils import canonicalize_name
from packaging.version import Version

import monai_mamba
from monai_mamba.errors import InputError
from monai_mamba.files import files_below
from monai_mamba.handlers.weights import read_weights

SCHEMA = Path(__file__).with_name("bundle_schema.json")
CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"
CONTENT = ("LICENSE", "README.md", "large_files.yml", "configs", "docs", "models", "sample_data")
NEEDED = ("LICENSE", "configs/inference.json", "configs/logging.conf", "docs/README.md", "docs/data_license.txt")
PRIVATE = re.compile(r"(^|/)(\.|__pycache__/|eval/)")  # hidden files, caches, results
LARGEST_FILE = 25_000_000  # bytes; the model zoo takes no larger ones into git


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without what MONAI logs, prints and warns of while it checks a bundle."""
    before, quiet = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def find_bundle(folder: Path) -> Path:
    """The absolute path of a bundle's folder."""
    if not (folder / "configs" / "metadata.json").is_file():
        raise InputError(f"{folder}: no configs/metadata.json; expected the folder of a MONAI bundle.")
    return folder.resolve()


def bundle_files(bundle: Path) -> list[Path]:
    """Files that belong to a bundle, sorted; results, data sets and hidden files in its folder do not.

    A folder that is a bundle itself (the first stage of a packed bundle) belongs to it.
    """
    parts = [bundle / name for name in CONTENT]
    parts += [config.parents[1] for config in bundle.glob("*/configs/metadata.json")]
    files = [file for part in parts for file in ([part] if part.is_file() else files_below(part))]
    return sorted({file for file in files if not PRIVATE.search(file.relative_to(bundle).as_posix())})


def config_files(bundle: Path) -> list[Path]:
    """The JSON files of a bundle's `configs`, sorted."""
    return [file for file in bundle_files(bundle) if file.parent == bundle / "configs" and file.suffix == ".json"]


def read_json(path: Path) -> dict:
    """Read a JSON file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # MONAI warns of duplicate keys
            return ConfigParser.load_config_file(path)
    except (OSError, ValueError, UserWarning) as error:
        raise InputError(f"{path}: {error}. Expected a JSON file without duplicate keys.") from error


def read_metadata(bundle: Path) -> dict:
    """Read `configs/metadata.json` of a bundle, see `read_json`."""
    return read_json(bundle / "configs" / "metadata.json")


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_files(bundle: Path) -> str:
    """Documents are there, code is not, and no file is too large for git."""
    if missing := [name for name in NEEDED if not (bundle / name).is_file() or not (bundle / name).stat().st_size]:
        raise InputError(f"{', '.join(missing)} missing or empty; every bundle has them.")
    if code := [path for path in bundle.rglob("*.py") if not PRIVATE.search(path.relative_to(bundle).as_posix())]:
        raise InputError(f"{code[0]}: a bundle holds no Python; move what its configs need into the package.")
    files = bundle_files(bundle)
    if large := [file for file in files if file.stat().st_size > LARGEST_FILE]:
        raise InputError(f"{large[0]} has {large[0].stat().st_size:,} bytes, at most {LARGEST_FILE:,} may go into git.")
    return f"{len(files)} files, {sum(file.stat().st_size for file in files) / 1e6:.1f} MB"


def check_configs(bundle: Path) -> str:
    """Each config is JSON without duplicate keys."""
    configs = config_files(bundle)
    for config in configs:
        read_json(config)
    return f"{len(configs)} files"


def check_metadata(bundle: Path) -> str:
    """The metadata have the form that MONAI and this project expect."""
    try:
        # The schema is there, so MONAI does not download the one that the metadata name.
        verify_metadata(meta_file=str(bundle / "configs" / "metadata.json"), filepath=str(SCHEMA))
    except ValueError as error:
        raise InputError(f"configs/metadata.json: {str(error).partition(chr(10))[0]}; see {SCHEMA.name}.") from error
    return f"as in {SCHEMA.name}"


def check_versions(bundle: Path) -> str:
    """The version has its entry in the changelog, and the packages are those that the tests are run with."""
    metadata = read_metadata(bundle)
    version, changelog = metadata["version"], metadata["changelog"]
    if version not in changelog:
        raise InputError(f"version {version} has no entry in changelog; describe there what is new.")
    newest = max(changelog, key=Version)
    if Version(newest) > Version(version):
        raise InputError(f"version is {version}, but the changelog goes up to {newest}; raise version.")
    required = metadata["required_packages_version"]
    expected = {"monai-mamba": monai_mamba.__version__}
    for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines():
        name, found, pinned = line.partition("==")
        if found:
            expected[canonicalize_name(name)] = pinned.strip()
    named = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
    for name, found in ({name: metadata[key] for name, key in named.items()} | required).items():
        if found != expected.get(canonicalize_name(name)):
            raise InputError(
                f"{name} {found}, expected {expected.get(canonicalize_name(name), 'a version')} "
                f"({'the version of the package' if name == 'monai-mamba' else 'constraints.txt'})."
            )
    return f"{version}, {len(required) + len(named)} packages"


def check_weights(bundle: Path) -> str:
    """Each weights file is named by the metadata with its SHA-256, and holds nothing but tensors."""
    named = read_metadata(bundle)["weights"]
    large_files = bundle / "large_files.yml"
    elsewhere = large_files.read_text(encoding="utf-8") if large_files.is_file() else ""
    found = {file.relative_to(bundle).as_posix() for file in bundle_files(bundle) if file.parent == bundle / "models"}
    if unknown := sorted(found - set(named)):
        raise InputError(f"{unknown[0]} is not in the metadata; describe its origin in 'weights'.")
    for name, entry in named.items():
        if name not in found:
            if name in elsewhere and entry["sha256"] in elsewhere:
                continue
            raise InputError(f"{name} is in the metadata but not in the bundle; restore it.")
        if sha256(bundle / name) != entry["sha256"]:
            raise InputError(
                f"{name}: SHA-256 is {sha256(bundle / name)}, expected {entry['sha256']}; "
                "restore the file, or describe the new one."
            )
        read_weights(bundle / name)
    if not named:
        return "none, as the metadata say"
    return f"{len(found)} here" + (f", {len(named) - len(found)} in large_files.yml" if len(found) < len(named) else "")


def check_data(bundle: Path) -> str:
    """The license of each file of the sample data is stated."""
    text = (bundle / "docs" / "data_license.txt").read_text(encoding="utf-8")
    samples = [file for file in bundle_files(bundle) if file.is_relative_to(bundle / "sample_data")]
    for file in samples:
        path = file.relative_to(bundle)
        named = [path.as_posix(), *(folder.as_posix() for folder in path.parents if len(folder.parts) > 1)]
        if not any(name in text for name in named):
            raise InputError(f"docs/data_license.txt does not name {path.as_posix()}; state its source and license.")
    return f"{len(samples)} files of sample data, each with a license" if samples else "no sample data"


FILE_CHECKS: dict[str, Callable[[Path], str]] = {
    "files": check_files,
    "configs": check_configs,
    "metadata": check_metadata,
    "versions": check_versions,
    "weights": check_weights,
    "data": check_data,
}
