"""Compressed files, unpacked in memory and never beyond reason."""

import gzip
import io
import zipfile
import zlib
from pathlib import Path
from typing import Protocol

from loopline.errors import SourceError


class Stream(Protocol):
    """What content is read from."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end."""


_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}
_SUFFIXES = (".gz", ".zst", ".zip")
_ALWAYS_FINE = 1 << 30
_RATIO = 200  # a CSV of zeros packs 1 to 1,000; real ones 1 to 5 or 30


def unpacked(file: Path, packed: bytes) -> tuple[str, bytes, str | None]:
    """Return the name without the packing's suffix, the content, and how it was packed.

    Raises:
        SourceError: it cannot be unpacked, or is far larger than such a file has reason to be.
    """
    compression = next((kind for magic, kind in _MAGIC.items() if packed.startswith(magic)), None)
    name = file.name.removesuffix(file.suffix) if file.suffix in _SUFFIXES else file.name
    if compression is None:
        return file.name, packed, None
    most = max(_ALWAYS_FINE, _RATIO * len(packed))
    try:
        if compression == "zip":
            return *_from_zip(file, packed, most), compression
        gzipped = compression == "gzip"
        stream = gzip.GzipFile(fileobj=io.BytesIO(packed)) if gzipped else _zstd(packed)
        content = _bounded(file, stream, most)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, ValueError) as error:
        raise SourceError(f"{file} cannot be unpacked ({compression}): {error}.") from error
    return name, content, compression


def _zstd(packed: bytes) -> Stream:
    import pyarrow as pa

    stream: Stream = pa.CompressedInputStream(pa.py_buffer(packed), "zstd")
    return stream


def _from_zip(file: Path, packed: bytes, most: int) -> tuple[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        members = [
            member
            for member in archive.infolist()
            if not member.is_dir() and not member.filename.startswith("__MACOSX/")
        ]
        if any(member.filename.startswith(("xl/", "word/", "ppt/")) for member in members):
            raise SourceError(f"{file} is an office document. Save its table as CSV (UTF-8).")
        if len(members) != 1:
            names = ", ".join(member.filename for member in members[:5]) or "nothing"
            raise SourceError(f"{file} must hold one file, and holds {names}.")
        with archive.open(members[0]) as stream:
            return members[0].filename, _bounded(file, stream, most)


def _bounded(file: Path, stream: Stream, most: int) -> bytes:
    content = bytearray()
    while chunk := stream.read(1 << 22):
        content += chunk
        if len(content) > most:
            raise SourceError(
                f"{file} unpacks to more than {most >> 20} MiB, over {_RATIO} times its size. "
                "Unpack it yourself if you trust it."
            )
    return bytes(content)
