"""Weights are checked before they are used."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine

from monai_mamba.errors import OutputError, WeightsError
from monai_mamba.handlers import WeightsLoader, check_weights, save_weights


def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs limits as Linux has them")
def test_no_space_for_weights_or_a_checkpoint_leaves_those_before(tmp_path):
    """A limit on the size of files stands for the full disk."""
    import resource

    save_weights(tmp_path / "model.pt", network())
    before = (tmp_path / "model.pt").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"model\.pt cannot be written \(.*--output_dir"):
            save_weights(tmp_path / "model.pt", network())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == {tmp_path / "model.pt": before}


@pytest.fixture
def bundle(tmp_path) -> Path:
    path = tmp_path / "models" / "model.pt"
    path.parent.mkdir()
    torch.save(network().state_dict(), path)
    known = {"models/model.pt": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}}
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text(json.dumps({"weights": known}))
    return tmp_path


def load(path: Path, bundle: Path, target: torch.nn.Module | None = None) -> torch.nn.Module:
    target = target or network()
    loader = WeightsLoader(str(path), target, str(bundle))
    engine = Engine(lambda engine, batch: None)
    loader.attach(engine)
    engine.run([0])
    return target


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"model": state, "optimizer": {"lr": 0.1}}])
def test_a_state_dict_and_a_checkpoint_load(bundle, tmp_path, wrap):
    source = network()
    torch.save(wrap(source.state_dict()), tmp_path / "other.pt")
    loaded = load(tmp_path / "other.pt", bundle)
    for name, value in source.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_the_weights_of_the_bundle_must_have_the_known_hash(bundle):
    path = bundle / "models" / "model.pt"
    check_weights(path, bundle)
    torch.save(network().state_dict(), path)
    with pytest.raises(WeightsError, match=r"SHA-256 is [0-9a-f]{64}, expected"):
        check_weights(path, bundle)
    path.rename(bundle / "mine.pt")
    check_weights(bundle / "mine.pt", bundle)
    with pytest.raises(WeightsError, match="no weights file"):
        check_weights(path, bundle)


@pytest.mark.parametrize("text", ["hello", "subject\tfold\nsub-1\t0\n"])
def test_a_text_is_refused(bundle, tmp_path, text):
    (tmp_path / "other.pt").write_text(text)
    with pytest.raises(WeightsError, match=r"other\.pt: not a file of plain tensors"):
        load(tmp_path / "other.pt", bundle)


class Payload:
    """Pickled code that a weights file must not be able to run."""

    def __reduce__(self):
        return exec, ("raise AssertionError('code of a weights file was run')",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": Payload()}, "not a file of plain tensors"),
        ([1, 2], "found something else"),
        ({"0.weight": "text"}, "found something else"),
        (torch.nn.Linear(3, 4).state_dict(), "misses 0.weight"),
        ({**network().state_dict(), "extra": torch.zeros(1)}, "unknown extra"),
        (
            {**network().state_dict(), "1.weight": torch.zeros(9, 4)},
            r"1.weight is \(9, 4\) where the network has \(2, 4\)",
        ),
    ],
    ids=["code", "list", "text", "other network", "extra key", "other shape"],
)
def test_what_is_no_state_dict_of_this_network_is_refused(bundle, tmp_path, content, message):
    torch.save(content, tmp_path / "other.pt")
    target = network()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(WeightsError, match=message):
        load(tmp_path / "other.pt", bundle, target)
    assert all(torch.equal(before[name], value) for name, value in target.state_dict().items())


def test_a_file_without_checksums_is_refused(bundle, tmp_path):
    torch.save(network().state_dict(), tmp_path / "other.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(WeightsError, match=r"other\.pt: written as by PyTorch before 1\.6, without checksums"):
        load(tmp_path / "other.pt", bundle)


def test_a_damaged_file_is_refused(bundle, tmp_path):
    (tmp_path / "other.pt").write_bytes((bundle / "models" / "model.pt").read_bytes()[:500])
    with pytest.raises(WeightsError, match="truncated or damaged"):
        load(tmp_path / "other.pt", bundle)


def test_the_home_folder_may_be_abbreviated(bundle, monkeypatch):
    monkeypatch.setenv("HOME", str(bundle))
    monkeypatch.setenv("USERPROFILE", str(bundle))
    expected = torch.load(bundle / "models" / "model.pt", weights_only=True)
    loaded = load(Path("~/models/model.pt"), bundle).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())
