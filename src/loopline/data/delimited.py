"""CSV as text: which encoding and delimiter a file has, and a clear word where it breaks.

Read by pyarrow, since polars fills up a line that is too short without saying so.
"""

import codecs
import csv
import io
import re
from pathlib import Path

import polars as pl

from loopline.data.columns import parse_number
from loopline.errors import SourceError

_DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
_SAMPLE = 1 << 16
_CHUNK = 1 << 24
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Where the bytes are not UTF-8: the usual ones, so that a short text is not taken for a rare one.
_LEGACY = [
    "cp1252",
    "cp1250",
    "cp1251",
    "cp1253",
    "cp1254",
    "shift_jis",
    "gb18030",
    "euc_kr",
    "big5",
]

# Letters of cp1250, in words, where cp1252 has a sign or a letter that western languages lack:
# nearly all others could be either, and guessing by their frequency reads French as Czech.
_CENTRAL = re.compile(
    rb"[A-Za-z\xc0-\xff][\x9a\x9d\x9e\x9f\xb3\xb9\xbe\xbf](?=[a-z\xe0-\xff])"
    rb"|[\x8a\x8e\xa3\xaf](?=[a-z\xe0-\xff]{2})"
    rb"|[A-Za-z\xc0-\xff]\xf5(?!e)"  # Hungarian; Portuguese has it before an e
)


def decoded(file: Path, content: bytes, encoding: str | None) -> tuple[bytes, str]:
    """Return `content` as UTF-8, and its encoding, found out when it is not given.

    Raises:
        SourceError: some byte is not in that encoding; the message gives its offset.
    """
    encoding = encoding or encoding_of(file, content)
    try:
        codec = codecs.lookup(encoding).name
    except LookupError as error:
        raise SourceError(
            f"data.source.encoding is '{encoding}', which is unknown. Usual: utf-8, cp1252, utf-16."
        ) from error
    bad = _first_bad(content, codec)
    if bad is not None:
        raise SourceError(_undecodable(file, content, bad, encoding))
    plain = content.isascii() or codec == "utf-8"
    return (content if plain else content.decode(codec).encode()), encoding


def delimiter_of(file: Path, content: bytes, given: str | None) -> str:
    """Return what separates the values of `content`, which is UTF-8.

    Raises:
        SourceError: another delimiter is given than the lines have.
    """
    sample = content[:_SAMPLE].decode(errors="ignore")
    lines = sample.splitlines(keepends=True)
    if len(content) > _SAMPLE and len(lines) > 1:
        lines.pop()
    text = "".join(lines)
    widths = {sign: _width(text, sign) for sign in _DELIMITERS}
    best = max(widths, key=lambda sign: widths[sign])  # of equals the first: the comma
    if given is not None and _width(text, given) <= 1 < widths[best]:
        raise SourceError(
            f"{file}: data.source.delimiter is {given!r}, but its lines are separated by "
            f"{_DELIMITERS[best]}. Write delimiter: {best!r}, or leave it out."
        )
    return given or best


def read_text(file: Path, content: bytes, delimiter: str) -> pl.DataFrame:
    """Return `content`, which is UTF-8, with every value as text.

    Raises:
        SourceError: a line has more or fewer values than the header, a quote is never closed, or
            the header is none.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    names = header(file, content, delimiter)
    if b"\n" not in content:
        content += b"\n"  # without it Arrow takes a header alone for a value without an end
    convert = arrow_csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
    )
    parse = arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    table = None
    for block in (1 << 22, len(content) + 1):  # a value longer than a block needs a longer one
        options = arrow_csv.ReadOptions(
            column_names=names, skip_rows_after_names=1, block_size=min(block, (1 << 31) - 1)
        )
        try:
            table = arrow_csv.read_csv(pa.BufferReader(content), options, parse, convert)
            break
        except pa.ArrowInvalid as error:
            if "straddling" not in str(error) or block > len(content):
                raise SourceError(_broken(file, content, delimiter, error)) from error
    frame = pl.DataFrame(table)
    _check_last_quote(file, content, frame)
    return frame


def encoding_of(file: Path, content: bytes) -> str:
    """Return the encoding that `content` has.

    Raises:
        SourceError: it is no text.
    """
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            return encoding
    head = content[:4096]
    if b"\x00" in head:  # UTF-16 without its mark: every other byte of plain text is zero
        even, odd = head[::2].count(0), head[1::2].count(0)
        if min(even, odd) > max(even, odd) // 20:
            raise SourceError(
                f"{file} is no text: it has zero bytes. Bring CSV, Parquet or JSON lines."
            )
        return "utf-16-le" if odd > even else "utf-16-be"
    bad = _first_bad(content, "utf-8")
    if bad is None:
        return "utf-8"
    if not content[:bad].isascii():  # UTF-8 so far, so this byte is a fault and no other encoding
        raise SourceError(_undecodable(file, content, bad, "utf-8"))
    from charset_normalizer import from_bytes

    near = content[max(0, bad - _SAMPLE) : bad + _SAMPLE]
    found = from_bytes(near, cp_isolation=_LEGACY).best()
    # Where several read these bytes alike, the commonest is meant.
    same = [] if found is None else found.could_be_from_charset
    encoding = found.encoding if found is not None and "cp1252" not in same else "cp1252"
    if encoding in {"cp1250", "cp1252"}:
        encoding = "cp1250" if _CENTRAL.search(near) else "cp1252"
    return "latin-1" if _first_bad(content, encoding) is not None else encoding


def _first_bad(content: bytes, encoding: str) -> int | None:
    """Return the offset of the first byte that `encoding` does not have."""
    if content.isascii() and not encoding.startswith(("utf-16", "utf-32")):
        return None
    decoder = codecs.getincrementaldecoder(encoding)()
    for start in range(0, len(content), _CHUNK):
        chunk = content[start : start + _CHUNK]
        held = len(decoder.getstate()[0])
        try:
            decoder.decode(chunk, final=start + _CHUNK >= len(content))
        except UnicodeDecodeError as error:
            return start - held + error.start
    return None


def _undecodable(file: Path, content: bytes, bad: int, encoding: str) -> str:
    line = content.count(b"\n", 0, bad) + 1
    return (
        f"{file}:{line}: the byte 0x{content[bad]:02x} at offset {bad} is not {encoding}. "
        "Mend it, or write the file's own encoding: data.source.encoding, for example cp1252."
    )


def _width(text: str, delimiter: str) -> int:
    """Return how many values the header has, or 0 where most lines have another number."""
    try:
        widths = [len(row) for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    except (csv.Error, TypeError):
        return 0
    return widths[0] if widths and 2 * widths.count(widths[0]) >= len(widths) else 0


def header(file: Path, content: bytes, delimiter: str) -> list[str]:
    """Return the names in the first line of `content`, which is UTF-8.

    Raises:
        SourceError: it has none, or one twice.
    """
    lines = io.TextIOWrapper(io.BytesIO(content), "utf-8", newline="")
    try:
        first = next(row for row in csv.reader(lines, delimiter=delimiter) if row)
    except (StopIteration, csv.Error, TypeError) as error:
        raise SourceError(
            f"{file}:1: no header can be read: {str(error) or 'nothing there'}."
        ) from error
    names = [name.strip() for name in first]
    named = [name or f"column_{place}" for place, name in enumerate(names, start=1)]
    twice = sorted({name for name in named if named.count(name) > 1})
    numbers = [name for name in names if parse_number(name) is not None]
    if len(numbers) == len(names) or (numbers and twice):
        raise SourceError(
            f"{file}:1: the first line is {', '.join(names[:5])}: values, not names. Put a line "
            "with the columns' names above it."
        )
    if twice:
        raise SourceError(
            f"{file}:1: the header names {', '.join(twice)} more than once. Give each column a "
            "name of its own."
        )
    return named


def _broken(file: Path, content: bytes, delimiter: str, error: Exception) -> str:
    lines = io.TextIOWrapper(io.BytesIO(content), "utf-8", newline="")
    rows = csv.reader(lines, delimiter=delimiter)
    try:
        width = len(next(rows))
        for row in rows:
            if row and len(row) != width:
                return (
                    f"{file}:{rows.line_num}: the line has {len(row)} values, and the header "
                    f"{width} columns: {delimiter.join(row)[:60]!r}. Mend it, or quote the value "
                    f"that holds {_DELIMITERS.get(delimiter, delimiter)}."
                )
    except csv.Error:
        pass  # a value longer than Python's reader takes; Arrow's own words must do
    return f"{file} cannot be read as CSV: {error}"


def _check_last_quote(file: Path, content: bytes, frame: pl.DataFrame) -> None:
    """Refuse a quote that never closes: it swallows the rest of the file into one value."""
    last = frame.row(-1) if frame.height else ()
    swallowed = max((value for value in last if value is not None), key=len, default="")
    if "\n" in swallowed and not content.rstrip().endswith(b'"'):
        line = content.rstrip().count(b"\n") + 2 - swallowed.rstrip().count("\n") - 1
        raise SourceError(f"{file}:{line}: a quote opens here that is never closed.")
