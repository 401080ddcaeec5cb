"""Write a bundle as a folder of its own, for the MONAI model zoo, for Hugging Face, or to hand to someone.

    python tools/pack_bundle.py bundles/subcortical --output_dir packed

Whoever has installed the package runs `packed/subcortical` from inside the folder, without this repository.
`docs/sharing.md` says what is different from the bundle that it is made from. A bundle that fails one of the checks in
`release/bundle_files.py` is not packed. The folder appears only complete, and replaces nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import posixpath
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from release.bundle_files import FILE_CHECKS, bundle_files, config_files, find_bundle, quietly, read_metadata, sha256
from reports import run_command

from monai_mamba.errors import InputError, MonaiMambaError, OutputError, writing

ROOT_LINE = re.compile(r'"(?P<key>\w+)": "\$monai_mamba\.bundle_root\(\'(?P<name>\w+)\'(, beside=@bundle_root)?\)"')
LINK = re.compile(r"!?\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
OWN_LICENSE = "Apache-2.0"  # of the configurations and documents of every bundle
CARD = """\
---
license: {license}
library_name: monai
tags:
- monai
- medical
- image-segmentation
---
"""


def pack(bundle: Path, output_dir: Path, url_prefix: str | None = None) -> Path:
    """Write the packed form of a bundle into a new folder with its name in `output_dir`, and return that.

    Bundles that its configs ask for lie beside it. Weights are packed, or lie at `URL_PREFIX/models/model.pt`.
    """
    bundle = find_bundle(bundle)
    if url_prefix is not None and not re.match(r"(https?|file)://", url_prefix):
        raise InputError(f"--url_prefix {url_prefix}: expected a URL such as https://host/folder.")
    stages = _stages(bundle)
    for part in (bundle, *map(find_bundle, stages)):
        for check in FILE_CHECKS.values():
            try:
                with quietly():
                    check(part)
            except MonaiMambaError as error:
                raise InputError(f"{part} is not packed: {error}") from error
    target = output_dir / bundle.name
    if target.exists():
        raise OutputError(f"{target}: already exists and is not replaced. Remove it, or set another --output_dir.")
    with writing(f"{target}: the bundle"):
        output_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output_dir, prefix=".tmp.") as folder:
            packed, names = Path(folder, bundle.name), [stage.name for stage in stages]
            for part in (bundle, *stages):
                _write(part, packed if part is bundle else packed / part.name, names)
            _write_card(bundle, packed, names)
            if url_prefix is not None:
                _move_weights_out(packed, url_prefix.rstrip("/"))
            os.replace(packed, target)
    return target


def _stages(bundle: Path) -> list[Path]:
    """Other bundles that the configs of a bundle ask for."""
    texts = [config.read_text(encoding="utf-8") for config in config_files(bundle)]
    lines = [line for text in texts for line in ROOT_LINE.finditer(text)]
    return [bundle.parent / name for name in sorted({line["name"] for line in lines if line["key"] != "bundle_root"})]


def _write(bundle: Path, folder: Path, stages: Sequence[str]) -> None:
    """Copy a bundle into a folder, with configs and documents for that place."""
    for file in bundle_files(bundle):
        path = file.relative_to(bundle)
        copy = folder / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.parent == Path("configs") and path.suffix == ".json":
            copy.write_text(_with_own_root(file), encoding="utf-8")
        elif path.parent == Path("docs") and path.suffix == ".md":
            copy.write_text(_document(file, bundle.name, "docs", stages), encoding="utf-8")
        else:
            shutil.copyfile(file, copy)


def _with_own_root(config: Path) -> str:
    def replace(line: re.Match) -> str:
        root = "." if line["key"] == "bundle_root" else f"$@bundle_root + '/{line['name']}'"
        return f'"{line["key"]}": "{root}"'

    text = ROOT_LINE.sub(replace, config.read_text(encoding="utf-8"))
    if "monai_mamba.bundle_root(" in text:
        raise InputError(
            f"{config}: asks for a bundle in a way that cannot be packed; "
            'expected entries like "bundle_root": "$monai_mamba.bundle_root(\'name\')".'
        )
    return text


def _document(file: Path, name: str, folder: str, stages: Sequence[str]) -> str:
    """Text of a file of `docs`, with commands and links as they are in `folder` ("docs" or ".") of the packed bundle.

    A link out of the bundle becomes its text. Commands that need the repository's tools stay as they are.
    """

    def relink(link: re.Match) -> str:
        if re.match(r"\w+:|#", link["target"]):
            return link[0]
        path = posixpath.normpath(posixpath.join(name, "docs", link["target"]))
        first, _, rest = path.partition("/")
        if first != name and first not in stages:
            return link["text"]
        inside = rest if first == name else path
        return link[0].replace(f"({link['target']})", f"({posixpath.relpath(inside, folder)})")

    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    for position, line in enumerate(lines):
        if "tools/" not in line:
            line = line.replace(f"bundles/{name}/", "")
            for stage in stages:
                line = line.replace(f"bundles/{stage}/", f"{stage}/")
            lines[position] = line
    return LINK.sub(relink, "".join(lines))


def _write_card(bundle: Path, folder: Path, stages: Sequence[str]) -> None:
    """Write the model card: the bundle's README, headed by what Hugging Face reads."""
    licenses = {entry["license"] for entry in read_metadata(bundle)["weights"].values()} or {OWN_LICENSE}
    license_id = licenses.pop().lower().replace(" ", "-") if len(licenses) == 1 else "other"
    text = _document(bundle / "docs" / "README.md", bundle.name, ".", stages)
    (folder / "README.md").write_text(CARD.format(license=license_id) + text, encoding="utf-8")


def _move_weights_out(folder: Path, url_prefix: str) -> None:
    """Replace the weights of a packed bundle by entries of `large_files.yml`, in the form of the model zoo."""
    entries = []
    for file in [file for file in bundle_files(folder) if file.parent.name == "models"]:
        path = file.relative_to(folder).as_posix()
        values = {"path": path, "url": f"{url_prefix}/{path}", "hash_val": sha256(file), "hash_type": "sha256"}
        # A JSON string is a YAML string, whatever stands in it
        entries.append("  - " + "    ".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items()))
        file.unlink()
    if entries:
        (folder / "large_files.yml").write_text("large_files:\n" + "".join(entries), encoding="utf-8")


def pack_all(options: argparse.Namespace) -> None:
    """Pack the bundles of the command line, see `pack`."""
    for bundle in options.bundles:
        print(f"Wrote {pack(bundle, options.output_dir, options.url_prefix)}.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Pack the bundles of the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundles", nargs="+", type=Path, help="folders of bundles")
    parser.add_argument("--output_dir", type=Path, required=True, help="where the packed folders go")
    parser.add_argument("--url_prefix", help="address under which models/model.pt can be downloaded (one bundle only)")
    options = parser.parse_args(arguments)
    if options.url_prefix and len(options.bundles) > 1:
        parser.error("--url_prefix belongs to one bundle; pack one at a time")
    return run_command(pack_all, options)


if __name__ == "__main__":
    sys.exit(main())
