"""Arrow streams and Parquet: as JSON would have been answered, and bounded before they unfold."""

import io
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest

from loopline.serving.dialects import columnar

ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
PARQUET = {"content-type": "application/vnd.apache.parquet"}


def stream(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=3)
    return sink.getvalue()


def parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pa.parquet.write_table(table, sink, **options)
    return sink.getvalue()


def table_of(trained: Any, rows: int) -> pa.Table:
    return pl.DataFrame(trained.records[:rows]).to_arrow()


@pytest.mark.parametrize("rows", [1, 9])
def test_an_arrow_stream_is_answered_with_one(serve: Any, late: Any, rows: int) -> None:
    answer = serve(late).post("/invocations", stream(table_of(late, rows)), **ARROW)

    assert answer.headers["content-type"] == ARROW["content-type"]
    found = pa.ipc.open_stream(answer.body).read_all()
    scores = late.original.scores(late.columns)[:rows]
    assert found["probability"].to_pylist() == pytest.approx(scores.tolist(), abs=1e-12)
    assert found["label"].to_pylist() == ["true" if s >= 0.23 else "false" for s in scores]
    ids = [f"{answer.headers['x-request-id']}-{row}" for row in range(rows)]
    assert found["prediction_id"].to_pylist() == ids
    assert found.schema.metadata == {b"model_version": b"3"}


def test_an_arrow_stream_has_a_column_for_each_class(serve: Any, origin: Any) -> None:
    answer = serve(origin).post("/invocations", stream(table_of(origin, 4)), **ARROW)

    found = pa.ipc.open_stream(answer.body).read_all()
    names = ["probability_EWR", "probability_JFK", "probability_LGA"]
    assert found.column_names == ["prediction_id", "label", *names]
    numbers = np.array([found[name].to_pylist() for name in names]).T
    np.testing.assert_allclose(numbers, origin.original.scores(origin.columns)[:4], atol=1e-12)


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_parquet_is_answered_as_mlflow_does(serve: Any, late: Any, compression: str) -> None:
    client = serve(late)
    expected = client.post("/invocations", {"dataframe_records": late.records[:9]}).json

    answer = client.post(
        "/invocations", parquet(table_of(late, 9), compression=compression), **PARQUET
    )

    assert answer.json["predictions"] == expected["predictions"]


def test_accept_turns_an_arrow_table_into_json_and_parquet_into_arrow(
    serve: Any, adding: Any
) -> None:
    client, table = serve(adding), pa.table({"a": [1.0, 3.0], "b": [2.0, 4.0]})

    said = client.post("/invocations", stream(table), **ARROW, accept="application/json")
    turned = client.post("/invocations", parquet(table), **PARQUET, accept=ARROW["content-type"])

    assert said.json["predictions"] == [3.0, 7.0]
    assert pa.ipc.open_stream(turned.body).read_all()["prediction"].to_pylist() == [3.0, 7.0]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, 3], pa.uint8()),
        pa.array([1, 3], pa.float16()),
        pa.array([1, 3], pa.int64()),
        pa.array([Decimal("1.0"), Decimal("3.0")]),
        pa.array(["1", "3.0"]),
        pa.array(["1", "3"], pa.large_string()),
        pa.array(["1", "3"]).dictionary_encode(),
    ],
)
def test_a_number_may_have_any_type_that_holds_it(
    serve: Any, adding: Any, values: pa.Array
) -> None:
    table = pa.table({"a": values, "b": [2.0, 4.0]})

    answer = serve(adding).post("/invocations", stream(table), **ARROW, accept="application/json")

    assert answer.json["predictions"] == [3.0, 7.0]


def test_moments_mean_what_their_texts_mean(serve: Any, late: Any) -> None:
    client, row = serve(late), late.records[0]
    moment = datetime.fromisoformat(row["scheduled"])
    plain = client.post("/invocations", {"instances": [row], "params": {"output": "all"}})
    kinds = [
        pa.array([moment], pa.timestamp("ns", "America/New_York")),
        pa.array([moment.astimezone(UTC).replace(tzinfo=None)], pa.timestamp("s")),
    ]
    for kind in kinds:
        table = table_of(late, 1)
        table = table.set_column(table.column_names.index("scheduled"), "scheduled", kind)
        answer = client.post("/invocations", stream(table), **ARROW)
        found = pa.ipc.open_stream(answer.body).read_all()["probability"].to_pylist()
        assert found == [plain.json["predictions"][0]["probability"]]
    assert columnar._values(pa, pa.chunked_array([pa.array([date(2013, 4, 1), None])])) == [
        "2013-04-01",
        None,
    ]


def test_what_would_unfold_too_far_is_refused_first(
    serve: Any, adding: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(adding)
    monkeypatch.setattr(columnar, "_MOST_ROWS", 10)
    long = pa.table({"a": [1.0] * 11, "b": [2.0] * 11})
    nothing = pa.table({"a": pa.nulls(11), "b": pa.nulls(11)})

    for body, kind in (
        (stream(long), ARROW),
        (stream(nothing), ARROW),
        (parquet(long), PARQUET),
    ):
        answer = client.post("/invocations", body, **kind)
        assert answer.status == 400
        assert "Send fewer rows at a time" in answer.json["error"]


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_arrow_is_refused_unread(serve: Any, adding: Any, compression: str) -> None:
    texts = pa.array(["1", "1", "3"]).dictionary_encode()
    for table in (pa.table({"a": [1.0] * 3, "b": [2.0] * 3}), pa.table({"a": texts, "b": texts})):
        body = stream(table, compression=compression)
        answer = serve(adding).post("/invocations", body, **ARROW)
        assert answer.status == 400
        assert "its buffers are compressed" in answer.json["error"]


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_every_message_says_whether_it_is_compressed(compression: str | None) -> None:
    texts = pa.array(["1", "1", "3"]).dictionary_encode()
    body = stream(pa.table({"a": [1.0] * 3, "b": texts}), compression=compression)

    kinds = {}
    for message in pa.ipc.MessageReader.open_stream(body):
        kind = str(message.type)
        kinds[kind] = columnar._is_compressed(bytes(message.metadata), kind)

    expected = compression is not None
    assert kinds == {"schema": False, "dictionary": expected, "record batch": expected}


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1.0]]),
        pa.array([{"x": 1}]),
        pa.array([b"1"]),
        pa.array([1], pa.duration("s")),
        pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), pa.array([1.0])),
    ],
)
def test_types_that_are_no_value_are_refused(serve: Any, adding: Any, column: Any) -> None:
    table = pa.table({"a": column, "b": [2.0]})

    answer = serve(adding).post("/invocations", stream(table), **ARROW)

    assert answer.status == 400
    assert "the column 'a' is" in answer.json["error"]


@pytest.mark.parametrize("kind", [ARROW, PARQUET])
@pytest.mark.parametrize("body", [b"", b"\0" * 64, b"PAR1" * 9, b"\xff" * 300])
def test_what_is_no_table_gets_a_400(serve: Any, adding: Any, kind: Any, body: bytes) -> None:
    answer = serve(adding).post("/invocations", body, **kind)

    assert answer.status == 400


def test_two_columns_of_one_name_are_refused(serve: Any, adding: Any) -> None:
    table = pa.table([pa.array([1.0]), pa.array([2.0]), pa.array([3.0])], names=["a", "b", "a"])

    answer = serve(adding).post("/invocations", stream(table), **ARROW)

    assert (answer.status, answer.json["error"]) == (400, "The table has two columns of one name.")


def test_without_pyarrow_it_is_said_that_tables_are_not_read(
    serve: Any, adding: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)

    answer = serve(adding).post("/invocations", b"x", **ARROW)

    assert answer.status == 415
    assert "This server has no pyarrow" in answer.json["message"]
