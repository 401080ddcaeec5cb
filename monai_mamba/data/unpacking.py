"""The content of files without its compression, and whether it has the length that a header promises."""

from __future__ import annotations

import zlib
from pathlib import Path

from monai_mamba.errors import InputError

GZIP = b"\x1f\x8b"  # how such files begin
POINTERS = (b"version https://git-lfs", b"/annex/objects/")
POINTER_BYTES = max(map(len, POINTERS))
POINTER_FOUND = "a pointer of Git LFS or git-annex, not the file itself. Fetch that first (git lfs pull, datalad get)."


def unpack(path: str | Path, content: bytes, wbits: int = 31) -> bytes:
    """Decompress all of a content and verify its checksums; there may be several streams one after the other.

    Args:
        path: file name for the message.
        content: compressed bytes.
        wbits: as in `zlib.decompressobj`: 31 is gzip, 15 zlib.

    Raises:
        InputError: the content is damaged, breaks off, or is followed by something else.
    """
    parts = []
    while content:
        if parts and not (wbits == 31 and content.startswith(GZIP)):
            raise InputError(
                f"{path}: the file is damaged: {len(content)} surplus bytes follow its compressed content. Copy it "
                "again from its source."
            )
        stream = zlib.decompressobj(wbits)  # compares the checksum at the end of the stream
        try:
            parts.append(stream.decompress(content))
        except zlib.error as error:
            raise InputError(
                f"{path}: the file is damaged; its compressed content cannot be read, or does not have the checksum "
                f"that it was written with ({first_line(error)}). Copy it again from its source."
            ) from error
        if not stream.eof:
            raise InputError(
                f"{path}: the file is truncated or damaged: {sum(map(len, parts))} bytes, and then its compressed "
                "content breaks off. Copy it again from its source."
            )
        content = stream.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


def check_length(path: str | Path, found: int, expected: int, may_be_longer: bool = False) -> None:
    """Compare the length of a content with the one that its header promises, both in bytes.

    Raises:
        InputError: it is shorter; or longer, unless that is allowed.
    """
    if found < expected:
        raise InputError(
            f"{path}: the file is truncated or damaged: {found} bytes where its header promises {expected}. Copy it "
            "again from its source."
        )
    if found > expected and not may_be_longer:
        raise InputError(
            f"{path}: the file is damaged or its header is wrong: {found} bytes where its header promises {expected}. "
            "Copy it again from its source, or convert the scan again."
        )


def first_line(error: BaseException) -> str:
    """The first line of a message, or what kind of error it is."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
