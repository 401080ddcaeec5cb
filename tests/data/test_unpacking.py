"""Compressed content: whole, damaged, cut off, or followed by something else."""

from __future__ import annotations

import gzip
import zlib

import pytest

from monai_mamba.data.unpacking import check_length, first_line, unpack
from monai_mamba.errors import InputError

TEXT = bytes(range(256)) * 40
PACKED = gzip.compress(TEXT)


def test_whole_contents_are_unpacked():
    assert unpack("scan", PACKED) == TEXT
    assert unpack("scan", PACKED + gzip.compress(b"more")) == TEXT + b"more"
    assert unpack("scan", zlib.compress(TEXT), wbits=15) == TEXT


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (PACKED[:-1], "10240 bytes, and then its compressed content breaks off"),
        (PACKED[:-8] + bytes(8), "does not have the checksum that it was written with"),
        (PACKED + b"surplus", "7 surplus bytes follow"),
        (b"no gzip", "compressed content cannot be read"),
    ],
)
def test_damage_is_named(content, found):
    with pytest.raises(InputError, match=f"^scan: the file is .*{found}"):
        unpack("scan", content)


def test_lengths_are_compared():
    check_length("scan", 10, 10)
    check_length("scan", 11, 10, may_be_longer=True)
    for found, what in ((9, "truncated"), (11, "header is wrong")):
        with pytest.raises(InputError, match=rf"{what}.* {found} bytes where its header promises 10"):
            check_length("scan", found, 10)


def test_an_error_without_a_message_is_its_type():
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(KeyboardInterrupt()) == "KeyboardInterrupt"
