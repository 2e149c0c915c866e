import gzip
import io
import time
import zipfile
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from loopline.data.sources.base import read_source, stamp
from loopline.data.sources.files import examine, sniff
from loopline.errors import SourceError
from loopline.settings import Settings

PEOPLE = "name,age,city\nAda,36,London\nGrace,85,?\n"
ROWS = [("Ada", "36", "London"), ("Grace", "85", "?")]


@pytest.fixture
def write(tmp_path):
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def read(path: Path | str, root: Path = Path("/"), **how: str) -> pl.DataFrame:
    return read_source({"path": str(path), **how}, root, Settings.read(root, {}))


def test_csv_is_read_as_text_and_a_relative_path_starts_at_the_project(write, tmp_path):
    write("people.csv", PEOPLE)

    frame = read("people.csv", tmp_path)

    assert frame.columns == ["name", "age", "city"]
    assert frame.rows() == ROWS


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_out(write, delimiter):
    path = write("people.csv", PEOPLE.replace(",", delimiter))

    assert read(path).rows() == ROWS
    assert sniff(path).delimiter == delimiter


def test_decimal_commas_do_not_pass_for_delimiters(write):
    path = write("prices.csv", "item;price;old\na;1,50;2,00\nb;3,25;4,10\n")

    assert read(path).row(0) == ("a", "1,50", "2,00")


@pytest.mark.parametrize(
    ("encoding", "found"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("cp1252", "cp1252"),
    ],
)
def test_the_encoding_is_found_out(write, encoding, found):
    text = "name,city\nJosé García,Málaga\nJürgen Müller,Köln\nFrançois,Besançon\n"
    path = write("people.csv", text.encode(encoding))

    assert sniff(path).encoding == found
    assert read(path).rows()[1] == ("Jürgen Müller", "Köln")


def _zip(content: bytes, *names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("suffix", "kind", "pack"),
    [
        ("gz", "gzip", gzip.compress),
        ("zst", "zstd", lambda content: pa.compress(content, "zstd", asbytes=True)),
        ("zip", "zip", lambda content: _zip(content, "inside.csv")),
    ],
)
def test_packed_files_are_read_whatever_their_name(write, suffix, kind, pack):
    for name in (f"people.csv.{suffix}", "people.csv"):
        path = write(name, pack(PEOPLE.encode()))

        assert read(path).rows() == ROWS
        assert sniff(path).compression == kind


def test_quoted_values_keep_their_commas_quotes_and_lines(write):
    path = write("notes.csv", 'a,b\n1,"x, ""y""\nz"\n2,5" pipe\n')

    assert read(path).rows() == [("1", 'x, "y"\nz'), ("2", '5" pipe')]


def test_a_folder_and_a_glob_are_the_union_of_their_files_in_name_order(write, tmp_path):
    write("days/2.csv", "a,b\n3,4\n")
    write("days/1.csv", "b,a\n2,1\n")
    write("days/.hidden", "nothing of ours")
    write("days/_SUCCESS", "")

    for where in ("days", "days/*.csv"):
        frame = read(where, tmp_path)
        assert frame.columns == ["b", "a"]
        assert frame.select("a", "b").rows() == [("1", "2"), ("3", "4")]


def test_parquet_and_json_lines_keep_their_types(write, tmp_path):
    frame = pl.DataFrame({"n": [1, None], "x": [0.5, 1.5], "ok": [True, False], "t": ["a", None]})
    frame.write_parquet(tmp_path / "a.parquet")
    frame.write_ndjson(tmp_path / "a.jsonl")

    assert read(tmp_path / "a.parquet").equals(frame)
    assert read(tmp_path / "a.jsonl").equals(frame)
    assert sniff(tmp_path / "a.jsonl").format == "jsonl"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", "", "empty.csv is empty"),
        ("blank.csv", "\n \n", "blank.csv is empty"),
        ("header.csv", "a,b\n", r"has columns \(a, b\), but no rows"),
        ("short.csv", "a,b,c\n1,2,3\n4,5\n6,7,8\n", r"short.csv:3: .* 2 values.*3 columns"),
        ("long.csv", "a,b\n1,2\n3,4\n5,6,7\n", r"long.csv:4: the line has 3 values"),
        ("later.csv", 'a,b\n1,"x\ny"\n5,6,7\n', r"later.csv:4: the line has 3 values"),
        ("quote.csv", 'a,b\n1,2\n3,"4\n5,6\n', r"quote.csv:3: a quote opens here that is never"),
        ("twice.csv", "a,b,a\n1,2,3\n", "names a more than once"),
        ("bare.csv", "1,2,3\n4,5,6\n", "values, not names"),
        ("bytes.csv", "a,b\né,1\n".encode() + b"x,\xff\n", r"bytes.csv:3: .* 0xff at offset 11"),
        ("torn.csv.gz", gzip.compress(PEOPLE.encode() * 99)[:-9], r"cannot be unpacked \(gzip\)"),
        ("two.zip", _zip(b"a\n1\n", "a.csv", "b.csv"), "must hold one file, .* a.csv, b.csv"),
        ("torn.parquet", b"PAR1" + b"\0" * 40, "is not a Parquet file that can be read"),
        ("fake.parquet", "a,b\n1,2\n", "is not a Parquet file that can be read"),
        ("array.json", '[{"a": 1}]', "one JSON array. Write one object per line"),
        ("bad.jsonl", '{"a": 1}\n{"a": }\n', r"bad.jsonl:2: not a JSON object"),
        ("list.jsonl", '{"a": 1}\n[1]\n', r"list.jsonl:2: not a JSON object"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_named_with_the_place_and_the_reason(
    write, name, content, message
):
    path = write(name, content)

    with pytest.raises(SourceError, match=message):
        read(path)


def test_a_file_that_is_not_there_suggests_the_nearest(write, tmp_path):
    write("flights.csv", PEOPLE)

    with pytest.raises(
        SourceError, match=r"There is no .*flight.csv. Did you mean .*flights.csv\?"
    ):
        read("flight.csv", tmp_path)
    with pytest.raises(SourceError, match=r"no folder .*nowhere either"):
        read("nowhere/flight.csv", tmp_path)
    with pytest.raises(SourceError, match="no files in"):
        read("*.tsv", tmp_path)


def test_what_the_contract_says_of_a_file_is_believed_or_refused_with_the_right_word(write):
    path = write("people.csv", PEOPLE.replace(",", ";"))
    french = write("french.csv", "name,city\nFrançois,Besançon\n".encode("cp1252"))

    with pytest.raises(SourceError, match=r"separated by a semicolon. Write delimiter: ';'"):
        read(path, delimiter="|")
    with pytest.raises(SourceError, match=r"0xe7 at offset 14 is not utf-8.*for example cp1252"):
        read(french, encoding="utf-8")
    with pytest.raises(SourceError, match="'utf-99', which is unknown"):
        read(french, encoding="utf-99")
    assert read(french, encoding="cp1252").row(0) == ("François", "Besançon")


def test_files_of_one_folder_with_other_columns_are_refused(write, tmp_path):
    write("days/1.csv", "a,b\n1,2\n")
    write("days/2.csv", "a,c\n1,2\n")

    with pytest.raises(SourceError, match=r"2.csv does not have the columns .* lacks b and adds c"):
        read("days", tmp_path)


def test_an_archive_that_unpacks_beyond_reason_is_refused(write, monkeypatch):
    monkeypatch.setattr("loopline.data.packed._ALWAYS_FINE", 1 << 16)
    bomb = b"a\n" + b"0" * (1 << 24)

    for name, packed in {"a.csv.gz": gzip.compress(bomb), "a.zip": _zip(bomb, "a.csv")}.items():
        with pytest.raises(SourceError, match="over 200 times its size"):
            read(write(name, packed))


def test_a_value_longer_than_a_block_is_read_whole(write):
    long = "x" * (5 << 20)

    assert read(write("long.csv", f"a,b\n1,{long}\n")).row(0) == ("1", long)


def test_what_means_missing_is_found_where_it_cannot_be_a_value(write):
    german = write("g.csv", "debtor,place,age\nnone,NA,1\nguarantor,US,NA\n-,?,3\n")

    assert sniff(german).missing == ("", "?", "NA")


def test_the_census_is_read_in_seconds_and_its_question_marks_found(write, census_income_csv):
    names = ",".join(f"c{number}" for number in range(42))
    with pytest.raises(SourceError, match="values, not names"):
        read(census_income_csv)
    path = write("census.csv", names.encode() + b"\n" + census_income_csv.read_bytes())

    start = time.process_time()
    frame = read(path)
    seconds = time.process_time() - start

    assert frame.shape == (199_523, 42)
    assert set(frame.dtypes) == {pl.String}
    assert sniff(path).missing == ("", "?")
    assert seconds < 5


def test_a_stamp_changes_with_any_file_and_is_none_for_a_database(write, tmp_path):
    path = write("days/1.csv", PEOPLE)

    before = stamp("days", tmp_path)
    path.write_text(PEOPLE + "Alan,41,Wilmslow\n")

    assert stamp("days", tmp_path) != before
    assert stamp("days", tmp_path) == stamp({"path": "days"}, tmp_path)
    assert stamp("sqlite:///x.db", tmp_path) is None
    with pytest.raises(OSError, match="nowhere"):
        stamp("nowhere.csv", tmp_path)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"ARROW1\x00\x00\xff\xff", "a Feather or Arrow file"),
        (b"\x80\x04\x95\x00\x00\x00", "a pickle"),
        (b"<html><body>Not found</body></html>", "a web page"),
        (b"SQLite format 3\x00\x10", "an SQLite database"),
    ],
)
def test_what_is_brought_by_mistake_is_named_and_what_is_read_too(write, content, kind):
    path = write("data.csv", content)

    with pytest.raises(SourceError, match=rf"data\.csv is {kind}.*as CSV, Parquet or JSON lines"):
        examine(path)
