"""Tables as columns: an Arrow stream, in and out, and Parquet as MLflow's clients send it.

pyarrow is imported when the first such body comes, and not before: it takes a third of a second and
60 MiB. Both formats can promise far more than they hold, so what a body would become is bounded
before it does: rows are counted, nested types refused, and compressed Arrow is not read.
"""

import struct
from typing import Any

import msgspec

from loopline.errors import MissingExtraError, RequestError
from loopline.extras import require
from loopline.model.signature import Signature
from loopline.serving.dialects.base import JSON, Call, Content, Encoded, Outputs
from loopline.serving.reading import LARGEST_BODY, RefusedError
from loopline.serving.routes import Route
from loopline.serving.tabular import Predictions, Tables

__all__ = ["Columnar"]

_ARROW = "application/vnd.apache.arrow.stream"
_PARQUET = "application/vnd.apache.parquet"
_MOST_ROWS = 1_000_000
_MOST_VALUES = 20_000_000

_encode = msgspec.json.Encoder().encode


class Columnar:
    """Reads and writes tables for one model version."""

    home = None
    routes = (Route("POST", "/invocations", "predict", "Predict", takes=(_ARROW, _PARQUET)),)

    def __init__(self, signature: Signature, version: int) -> None:
        self._tables = Tables(signature)
        self._predictions = Predictions(signature)
        self._version = version
        self._classes = signature.classes if signature.task == "multiclass" else ()

    def read(self, body: bytes, content: Content) -> Call:
        """Return what `body` asks for.

        Raises:
            RequestError: the body is malformed, or a column that the model needs is absent.
            RefusedError: pyarrow is not installed here.
        """
        try:
            arrow = require("pyarrow", extra="arrow")
        except MissingExtraError:
            raise RefusedError(
                415, f"This server has no pyarrow, which reads {content.type}. Send JSON or CSV."
            ) from None
        accepted, _ = content.wants()
        is_arrow = content.type == _ARROW
        form = accepted if accepted in {_ARROW, JSON[1].decode()} else ""
        try:
            table = _arrow_table(arrow, body) if is_arrow else _parquet_table(arrow, body)
            columns = {
                name: _values(arrow, column)
                for name, column in zip(table.column_names, table.columns, strict=True)
            }
        except (arrow.ArrowException, OSError, ValueError, OverflowError) as error:
            raise RequestError(f"This is no {content.type} body: {error!s:.300}.") from None
        if len(columns) < table.num_columns:
            raise RequestError("The table has two columns of one name.")
        usual = _ARROW if is_arrow else JSON[1].decode()
        return self._tables.columns("The table", columns, form or usual)

    def answer(self, call: Call, outputs: Outputs, request_id: str) -> Encoded:
        """Return a table with a row for each row, or MLflow's answer."""
        ids = [f"{request_id}-{row}" for row in range(call.rows)]
        if call.options != _ARROW:
            predictions = self._predictions.of("label", outputs)
            said = {"predictions": predictions, "prediction_ids": ids}
            return Encoded(_encode({**said, "model_version": str(self._version)}))
        import pyarrow as pa

        columns: dict[str, Any] = {"prediction_id": pa.array(ids, pa.string())}
        if outputs.labels is None:
            columns["prediction"] = pa.array(outputs.scores[0], pa.float64())
        else:
            columns["label"] = pa.array(outputs.labels, pa.string())
            names = [f"probability_{name}" for name in self._classes] or ["probability"]
            for name, scores in zip(names, outputs.scores, strict=True):
                columns[name] = pa.array(scores, pa.float64())
        table = pa.table(columns).replace_schema_metadata({"model_version": str(self._version)})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return Encoded(sink.getvalue().to_pybytes(), ((JSON[0], _ARROW.encode()),))

    @staticmethod
    def error(status: int, message: str) -> bytes:
        """Return an error, where this has a path to itself."""
        return _encode({"error": message})


def _arrow_table(arrow: Any, body: bytes) -> Any:
    ipc = require("pyarrow.ipc", extra="arrow")
    for message in ipc.MessageReader.open_stream(body):
        if _is_compressed(bytes(message.metadata), str(message.type)):
            raise ValueError("its buffers are compressed; send them as they are")
    with ipc.open_stream(body) as reader:
        _check_schema(arrow, reader.schema)
        rows, batches = 0, []
        for batch in reader:
            rows += batch.num_rows
            _check_size(rows, batch.num_columns)
            batch.validate(full=True)  # a hostile offset would read what is not the body's
            batches.append(batch)
        return arrow.Table.from_batches(batches, reader.schema)


def _parquet_table(arrow: Any, body: bytes) -> Any:
    parquet = require("pyarrow.parquet", extra="arrow")
    limits = {"thrift_string_size_limit": LARGEST_BODY, "thrift_container_size_limit": 1_000_000}
    file = parquet.ParquetFile(arrow.BufferReader(body), **limits)
    _check_schema(arrow, file.schema_arrow)
    about = file.metadata
    _check_size(about.num_rows, about.num_columns)
    sizes = [about.row_group(at).total_byte_size for at in range(about.num_row_groups)]
    if sum(sizes) > 8 * LARGEST_BODY:
        raise ValueError(f"it unpacks to {sum(sizes)} bytes. Send fewer rows at a time")
    rows, batches = 0, []
    for batch in file.iter_batches(batch_size=65_536, use_threads=False):
        rows += batch.num_rows
        _check_size(rows, batch.num_columns)
        batch.validate(full=True)
        batches.append(batch)
    return arrow.Table.from_batches(batches, file.schema_arrow)


def _check_schema(arrow: Any, schema: Any) -> None:
    types = arrow.types
    for field in schema:
        kind = field.type.value_type if types.is_dictionary(field.type) else field.type
        is_text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
        is_number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
        is_time = types.is_timestamp(kind) or types.is_date(kind)
        if not (is_text or is_number or is_time or types.is_boolean(kind) or types.is_null(kind)):
            raise ValueError(
                f"the column '{field.name:.60}' is {field.type!s:.60}; numbers, truths, texts, "
                "dates and timestamps are read"
            )


def _check_size(rows: int, columns: int) -> None:
    if not 0 <= rows <= _MOST_ROWS or rows * columns > _MOST_VALUES:
        raise ValueError(f"it has {rows} rows of {columns} columns. Send fewer rows at a time")


def _values(arrow: Any, column: Any) -> list[Any]:
    types = arrow.types
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_timestamp(column.type):
        zone = None if column.type.tz is None else "UTC"  # the moment is the same, by any name
        column = column.cast(arrow.timestamp("us", zone), safe=False)
        return [None if moment is None else moment.isoformat() for moment in column.to_pylist()]
    if types.is_date(column.type):
        return [None if day is None else day.isoformat() for day in column.to_pylist()]
    if types.is_decimal(column.type):
        return [None if number is None else str(number) for number in column.to_pylist()]
    if types.is_float16(column.type):
        column = column.cast(arrow.float32())
    values: list[Any] = column.to_pylist()
    return values


def _is_compressed(metadata: bytes, kind: str) -> bool:
    """Read from a message's flatbuffer whether its record batch names a compression.

    pyarrow does not tell, and unpacks before anybody could look at a size.
    """
    if kind not in {"record batch", "dictionary"}:
        return False
    try:
        message = struct.unpack_from("<I", metadata)[0]
        header = _field(metadata, message, 2)
        if header is None:
            return False
        table = header + struct.unpack_from("<I", metadata, header)[0]
        if kind == "dictionary":
            inner = _field(metadata, table, 1)
            if inner is None:
                return False
            table = inner + struct.unpack_from("<I", metadata, inner)[0]
        return _field(metadata, table, 3) is not None
    except struct.error:
        raise ValueError("a message's head ends early") from None


def _field(metadata: bytes, table: int, number: int) -> int | None:
    """Return where a flatbuffer table keeps its field of this number, None where it has none."""
    at = table - struct.unpack_from("<i", metadata, table)[0]
    if at < 0 or 4 + 2 * number >= struct.unpack_from("<H", metadata, at)[0]:
        return None
    offset = struct.unpack_from("<H", metadata, at + 4 + 2 * number)[0]
    return table + offset if offset else None
