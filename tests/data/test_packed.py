"""Compressed files give their content whole, or a clear word, and never more than is sane."""

import bz2
import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from loopline.data import packed
from loopline.data.packed import unpacked
from loopline.errors import SourceError

CONTENT = b"a,b\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(5000))


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_csv", ".csv"), content)
    return buffer.getvalue()


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstd,
    "zip": lambda content: zipped(rows_csv=content),
}
SUFFIX = {"gzip": ".gz", "zstd": ".zst", "zip": ".zip"}


@pytest.mark.parametrize("kind", PACK)
def test_what_was_packed_comes_out_whole(kind: str) -> None:
    name, content, found = unpacked(Path(f"rows.csv{SUFFIX[kind]}"), PACK[kind](CONTENT))

    assert (name, content, found) == ("rows.csv", CONTENT, kind)


def test_the_content_says_how_it_is_packed_and_not_the_name() -> None:
    assert unpacked(Path("rows.csv"), gzip.compress(CONTENT)) == ("rows.csv", CONTENT, "gzip")
    assert unpacked(Path("rows.csv.gz"), CONTENT) == ("rows.csv.gz", CONTENT, None)
    assert unpacked(Path("rows.csv"), b"") == ("rows.csv", b"", None)
    other = bz2.compress(CONTENT)  # not one of those that are read
    assert unpacked(Path("rows.csv.bz2"), other) == ("rows.csv.bz2", other, None)


def test_several_gzip_members_are_one_file() -> None:
    both = gzip.compress(CONTENT[:1000]) + gzip.compress(CONTENT[1000:])

    assert unpacked(Path("rows.csv.gz"), both)[1] == CONTENT


def test_several_zstd_frames_are_one_file() -> None:
    both = zstd(CONTENT[:1000]) + zstd(CONTENT[1000:])

    assert unpacked(Path("rows.csv.zst"), both)[1] == CONTENT


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("share", [0.999, 0.5, 0.05])
def test_a_file_that_breaks_off_is_refused_and_not_read_in_part(kind: str, share: float) -> None:
    whole = PACK[kind](CONTENT)
    part = whole[: max(10, int(len(whole) * share))]

    with pytest.raises(SourceError, match=rf"rows\.csv cannot be unpacked \({kind}\): "):
        unpacked(Path("rows.csv"), part)


@pytest.mark.parametrize("kind", ["gzip", "zip"])
def test_a_damaged_file_is_refused(kind: str) -> None:
    damaged = bytearray(PACK[kind](CONTENT))
    damaged[len(damaged) // 2] ^= 0xFF

    with pytest.raises(SourceError, match="cannot be unpacked"):
        unpacked(Path("rows.csv"), bytes(damaged))


@pytest.mark.parametrize("kind", ["gzip", "zip"])
def test_any_bit_turned_anywhere_is_refused_or_makes_no_difference(kind: str) -> None:
    whole = PACK[kind](CONTENT[:200])

    for place in range(len(whole) * 8):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        try:
            _, content, found = unpacked(Path("rows.csv"), bytes(damaged))
        except SourceError:
            continue
        assert content == (CONTENT[:200] if found else damaged), place


def test_an_archive_holds_one_file_beside_what_a_mac_adds() -> None:
    mac = zipped(**{"rows.csv": CONTENT, "__MACOSX/._rows.csv": b"x"})

    name, content, _ = unpacked(Path("all.zip"), mac)

    assert (name, content) == ("rows.csv", CONTENT)
    with pytest.raises(SourceError, match=r"must hold one file, and holds a\.csv, b\.csv\."):
        unpacked(Path("all.zip"), zipped(a_csv=b"1", b_csv=b"2"))
    with pytest.raises(SourceError, match=r"must hold one file, and holds nothing\."):
        unpacked(Path("all.zip"), _only_a_folder())


def _only_a_folder() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.mkdir("folder")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", PACK)
def test_what_grows_beyond_reason_is_not_unpacked_to_the_end(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "_ALWAYS_FINE", 1 << 20)
    bomb = PACK[kind](bytes(1 << 28))

    with pytest.raises(SourceError, match=r"unpacks to more than \d+ MiB, over 200 times"):
        unpacked(Path("bomb.csv"), bomb)


def test_a_real_packed_table_is_the_table(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": range(1000), "b": ["x,y", 'q"'] * 500})
    path = tmp_path / "rows.csv"
    frame.write_csv(path)

    for kind, pack in PACK.items():
        _, content, _ = unpacked(Path(f"r.csv{SUFFIX[kind]}"), pack(path.read_bytes()))
        assert pl.read_csv(content).equals(frame)


def test_an_office_document_is_named_as_one() -> None:
    parts = {"xl/workbook.xml": b"<workbook/>", "xl/worksheets/sheet1.xml": b"<sheet/>"}

    with pytest.raises(SourceError, match=r"book\.xlsx is an office document\. Save its table as"):
        unpacked(Path("book.xlsx"), zipped(**parts))
