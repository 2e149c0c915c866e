"""What people bring, as pieces: the same every time, and never the whole at once."""

import gzip
import json
import zipfile
from datetime import date
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from loopline.data import batches, streams
from loopline.data.batches import open_incoming
from loopline.data.profiling import profile_all
from loopline.data.sources.base import read_source
from loopline.errors import SourceError
from loopline.settings import Settings

FRAME = pl.DataFrame(
    {"a": [str(n) for n in range(1000)], "b": ["x,\ny" if n % 2 else "" for n in range(1000)]}
)


def opened(place: object, root: Path) -> batches.Incoming:
    return open_incoming(place, root, Settings.read(root, {}))


def rows(incoming: batches.Incoming, columns: list[str]) -> list[dict[str, object]]:
    return [
        row
        for piece in incoming.pieces(columns)
        for batch in piece.batches(columns)
        for row in batch.to_pylist()
    ]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.csv.zst", "t.zip", "t.tsv"])
def test_csv_is_read_in_blocks_however_it_is_packed(tmp_path, monkeypatch, name):
    text = FRAME.write_csv(separator="\t" if "tsv" in name else ",").rstrip("\n").encode()
    place = tmp_path / name
    if name.endswith(".gz"):
        place.write_bytes(gzip.compress(text))
    elif name.endswith(".zst"):
        with pa.output_stream(place, compression="zstd") as stream:
            stream.write(text)
    elif name.endswith(".zip"):
        with zipfile.ZipFile(place, "w") as archive:
            archive.writestr("inside.csv", text)
    else:
        place.write_bytes(text)
    monkeypatch.setattr(streams, "_BLOCK", 700)
    monkeypatch.setattr(batches, "PIECE_ROWS", 256)

    found = opened(name, tmp_path)

    pieces = list(found.pieces(["b", "a"]))
    assert len(pieces) > 3
    assert max(piece.rows for piece in pieces) <= 256
    assert [piece.first_row for piece in pieces[:2]] == [0, pieces[0].rows]
    # Nothing between two delimiters is a missing value, as in a caller's CSV.
    assert rows(found, ["a", "b"]) == [
        {"a": row["a"], "b": row["b"] or None} for row in FRAME.iter_rows(named=True)
    ]


def test_the_same_source_is_the_same_pieces_and_another_when_it_changed(tmp_path):
    FRAME.write_parquet(tmp_path / "t.parquet", row_group_size=300)
    first, again = opened("t.parquet", tmp_path), opened("t.parquet", tmp_path)

    assert list(first.pieces(["a"])) == list(again.pieces(["a"]))
    assert (first.rows, first.stamp) == (1000, again.stamp)

    FRAME[:10].write_parquet(tmp_path / "t.parquet")
    assert opened("t.parquet", tmp_path).stamp != first.stamp


def test_row_groups_are_gathered_and_read_where_they_are_wanted(tmp_path, monkeypatch):
    FRAME.write_parquet(tmp_path / "t.parquet", row_group_size=100)
    monkeypatch.setattr(batches, "PIECE_ROWS", 250)
    monkeypatch.setattr(batches, "BATCH_ROWS", 64)

    found = opened("t.parquet", tmp_path)

    pieces = list(found.pieces(["a"]))
    assert [piece.rows for piece in pieces] == [200] * 5
    assert [piece.held for piece in pieces] == [()] * 5
    assert max(batch.num_rows for batch in pieces[3].batches(["a"])) <= 64
    assert [row["a"] for row in rows(found, ["a"])] == FRAME["a"].to_list()


def test_a_row_group_of_any_size_is_cut_as_it_is_read(tmp_path, monkeypatch):
    FRAME.write_parquet(tmp_path / "t.parquet")
    monkeypatch.setattr(batches, "_LARGE_GROUP", 500)
    monkeypatch.setattr(batches, "PIECE_ROWS", 250)
    monkeypatch.setattr(batches, "BATCH_ROWS", 64)

    found = opened("t.parquet", tmp_path)

    assert max(piece.rows for piece in found.pieces(["a"])) <= 250
    assert [row["a"] for row in rows(found, ["a"])] == FRAME["a"].to_list()


def test_json_lines_may_lack_a_value_and_hold_several_kinds(tmp_path):
    lines = [{"a": 1, "b": "x"}, {"b": 2}, {"a": 2.5, "b": [1]}]
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(line) for line in lines))

    found = rows(opened("t.jsonl", tmp_path), ["a", "b"])

    assert found == [{"a": 1.0, "b": '"x"'}, {"a": None, "b": "2"}, {"a": 2.5, "b": "[1]"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.jsonl", b'{"a": 1}\n{"a": \n', r"t\.jsonl:2: not a JSON object"),
        ("t.jsonl", b'[{"a": 1}]', "one JSON array"),
        ("t.csv", b"a,b\n1,2\n3\n", r"t\.csv: after row 0: .*Expected 2 columns, got 1"),
        ("t.csv", b"a,b\n1,2\n" * 60 + b'"' + b"x,y\n" * 900, "a quote that opens"),
        ("t.csv.gz", gzip.compress(b"a,b\n1,2\n" * 900)[:-12], "cannot be unpacked"),
        ("t.parquet", b"PAR1 and nothing else", "cannot be read as Parquet"),
        ("t.csv", b"", "is empty"),
    ],
    ids=["line", "array", "width", "quote", "cut", "parquet", "empty"],
)
def test_what_cannot_be_read_is_said_with_its_place(tmp_path, monkeypatch, name, content, message):
    (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(streams, "_BLOCK", 1000)

    with pytest.raises(SourceError, match=message):
        rows(opened(name, tmp_path), ["a", "b"])


def test_another_encoding_is_found_in_the_beginning_or_asked_for(tmp_path, monkeypatch):
    (tmp_path / "early.csv").write_bytes("a,b\nMünchen,é\n".encode("cp1252"))
    monkeypatch.setattr(streams, "_HEAD", 100)
    late = "a,b\n" + "x,y\n" * 100 + "München,é\n"
    (tmp_path / "late.csv").write_bytes(late.encode("cp1252"))

    assert rows(opened("early.csv", tmp_path), ["a"]) == [{"a": "München"}]
    with pytest.raises(SourceError, match="--encoding cp1252"):
        rows(opened("late.csv", tmp_path), ["a"])
    said = opened({"path": "late.csv", "encoding": "cp1252"}, tmp_path)
    assert rows(said, ["a"])[-1] == {"a": "München"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", ""])
def test_text_of_two_or_four_bytes_a_sign_is_read_in_parts(tmp_path, encoding, end):
    # More than the beginning that is looked at, which is cut between no two bytes of a sign.
    lines = "\n".join(f"Müller 🚀\t{number}" for number in range(50_000))
    (tmp_path / "excel.txt").write_bytes(f"Name\tÖre\n{lines}{end}".encode(encoding))

    found = rows(opened("excel.txt", tmp_path), ["Name", "Öre"])

    assert len(found) == 50_000
    assert found[-1] == {"Name": "Müller 🚀", "Öre": "49999"}


def test_a_folder_and_a_glob_are_their_files_by_name(tmp_path):
    for name in ("b.parquet", "a.parquet", "_SUCCESS", ".hidden"):
        pq.write_table(pa.table({"a": [name]}), tmp_path / name)

    assert [row["a"] for row in rows(opened(".", tmp_path), ["a"])] == ["a.parquet", "b.parquet"]
    assert rows(opened("b*", tmp_path), ["a"]) == [{"a": "b.parquet"}]
    with pytest.raises(SourceError, match="There is no"):
        opened("c.parquet", tmp_path)


# Delta tables, by their files


def test_what_a_delta_table_keeps_in_names_has_its_type_and_older_files_lack_nothing(tmp_path):
    frame = pl.DataFrame(
        {
            "id": range(8),
            "day": [date(2024, 1, 1 + n % 3) for n in range(8)],
            "n": pl.Series([1, 2, None] * 2 + [1, 2], dtype=pl.Int32),
            "flag": [True, False] * 4,
            "name": ["a b", "c/d=e", "ä %", None] * 2,
        }
    )
    kept = ["day", "n", "flag", "name"]
    write_deltalake(tmp_path / "t", frame, partition_by=kept)
    more = frame.with_columns(id=pl.col("id") + 8, late=pl.lit("x"))
    write_deltalake(tmp_path / "t", more, mode="append", schema_mode="merge")

    incoming = opened("t", tmp_path)
    names = incoming.sources[0].schema.names
    found = [
        pl.from_arrow(pa.Table.from_batches([batch]))
        for piece in incoming.pieces(names)
        for batch in piece.batches(names, ["name", "late"])
    ]

    there = pl.concat([part.with_columns(pl.col("name", "late").cast(pl.String)) for part in found])
    assert there.sort("id").equals(pl.read_delta(str(tmp_path / "t")).select(names).sort("id"))
    assert profile_all(["t"], tmp_path)[0].profile.columns["late"].missing == 8


@pytest.mark.parametrize(
    ("reader", "configuration", "said"),
    [
        ((3, ["deletionVectors"]), {}, r"apply \(purge\)\), and set delta\.enableDeletionVectors"),
        ((2, None), {"delta.columnMapping.mode": "name"}, "its columns under other names"),
    ],
)
def test_a_delta_table_that_would_be_read_wrongly_is_refused(tmp_path, reader, configuration, said):
    write_deltalake(tmp_path / "t", pl.DataFrame({"a": [1, 2, 3]}))
    log = tmp_path / "t" / "_delta_log" / f"{0:020}.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    for action in actions:
        if "protocol" in action:
            version, features = reader
            protocol = {"minReaderVersion": version, "minWriterVersion": 5}
            if features is not None:
                protocol |= {"minWriterVersion": 7, "readerFeatures": features,
                             "writerFeatures": features}  # fmt: skip
            action["protocol"] = protocol
        elif "metaData" in action:
            action["metaData"]["configuration"] = configuration
            schema = json.loads(action["metaData"]["schemaString"])
            mapped = {"delta.columnMapping.id": 1, "delta.columnMapping.physicalName": "a"}
            schema["fields"][0] |= {"name": "renamed", "metadata": mapped if configuration else {}}
            action["metaData"]["schemaString"] = json.dumps(schema)
    log.write_text("\n".join(map(json.dumps, actions)))

    with pytest.raises(SourceError, match=said):
        opened("t", tmp_path)
    with pytest.raises(SourceError, match=said):
        read_source("t", tmp_path, Settings.read(tmp_path, {}))
