"""One record a line, as SageMaker sends batches and files are written: CSV and JSON lines.

The answer has one line for each record, in its order, so that batch transform can join the two;
only a CSV with a header, as MLflow's clients send it, is answered as they expect. A CSV's first
line is a header when it names the model's columns; `text/csv; header=absent` says that it does not.
What comes back is chosen by `Accept`, which may end in `; output=probability` or `all`.
"""

import csv
import io
from collections.abc import Sequence
from typing import Any

import msgspec

from loopline.data.columns import SPACE
from loopline.errors import RequestError
from loopline.model.signature import Signature
from loopline.serving.dialects.base import JSON, Call, Content, Encoded, Outputs
from loopline.serving.routes import Route
from loopline.serving.tabular import Predictions, Tables, wanted_output, without_nan

__all__ = ["Lines"]

_CSV = "text/csv"
_JSON_LINES = (
    "application/jsonlines", "application/x-jsonlines", "application/jsonl", "application/x-ndjson",
)  # fmt: skip

_encode = msgspec.json.Encoder().encode
_decode_lines = msgspec.json.Decoder(dict[str, Any] | list[Any]).decode_lines


class _Options(msgspec.Struct, frozen=True):
    wanted: str
    form: str
    """The media type of the answer."""


class Lines:
    """Reads and writes records for one model version."""

    home = None
    routes = (Route("POST", "/invocations", "predict", "Predict", takes=(_CSV, *_JSON_LINES)),)

    def __init__(self, signature: Signature, version: int) -> None:
        self._tables = Tables(signature)
        self._predictions = Predictions(signature)
        self._needed = {column.name for column in signature.inputs if column.required}
        self._version = b'],"model_version":"%d"}' % version
        self._classes = list(signature.classes) if signature.task == "multiclass" else []

    def read(self, body: bytes, content: Content) -> Call:
        """Return what `body` asks for.

        Raises:
            RequestError: the body is malformed, or a column that the model needs is absent.
        """
        accepted, parameters = content.wants()
        if content.type == _CSV:
            rows = _csv(body)
            has_header = self._is_header(rows[0], content.has_header)
            usual = "application/json" if has_header else _CSV
            form = accepted if accepted in {_CSV, *_JSON_LINES, "application/json"} else usual
            names: Sequence[str] = self._tables.names
            if has_header:
                names, rows = [str(name) for name in rows[0]], rows[1:]
            values = [[None if field == "" else field for field in row] for row in rows]
            call = self._tables.lists(names, values, _options(form, parameters))
        else:
            form = accepted if accepted in {_CSV, "application/json"} else content.type
            call = self._tables.rows("The body", _records(body), _options(form, parameters))
        return msgspec.structs.replace(call, client_id=content.client_id)

    def answer(self, call: Call, outputs: Outputs, request_id: str) -> Encoded:
        """Return a line for each record, or MLflow's answer."""
        wanted, form = call.options.wanted, call.options.form
        if form == "application/json":
            predictions = _encode(self._predictions.of(wanted, outputs))
            ids = ",".join([f'"{request_id}-{row}"' for row in range(call.rows)]).encode()
            return Encoded(
                b'{"predictions":%b,"prediction_ids":[%b%b' % (predictions, ids, self._version)
            )
        if form == _CSV:
            return Encoded(self._fields(wanted, outputs), ((JSON[0], b"text/csv; charset=utf-8"),))
        lines = self._objects(outputs, request_id)
        return Encoded(b"\n".join([*lines, b""]), ((JSON[0], form.encode()),))

    @staticmethod
    def error(status: int, message: str) -> bytes:
        """Return an error, where this has a path to itself."""
        return _encode({"error": message})

    def _is_header(self, first: Sequence[str], said: bool | None) -> bool:
        if said is not None:
            return said
        known = {field.strip(SPACE) for field in first}.intersection(self._tables.names)
        if self._needed <= known or 2 * len(known) >= len(first):
            return True
        # A wrong header is better named than read as a row.
        return len(first) != len(self._tables.names)

    def _fields(self, wanted: str, outputs: Outputs) -> bytes:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        numbers = ([_plain(number) for number in row] for row in zip(*outputs.scores, strict=True))
        labels = outputs.labels
        if labels is None or wanted == "probability":
            writer.writerows(numbers)
        elif wanted == "label":
            writer.writerows([label] for label in labels)
        else:
            writer.writerows([label, *row] for label, row in zip(labels, numbers, strict=True))
        return text.getvalue().encode()

    def _objects(self, outputs: Outputs, request_id: str) -> list[bytes]:
        """Return an object for each record: everything that is known of it."""
        found: list[dict[str, Any]] = []
        labels = self._predictions.of("label", outputs)
        for place, row in enumerate(zip(*outputs.scores, strict=True)):
            name = f"{request_id}-{place}"
            if outputs.labels is None:
                found.append({"prediction": row[0], "prediction_id": name})
                continue
            probability = dict(zip(self._classes, row, strict=True)) if self._classes else row[0]
            found.append(
                {"label": labels[place], "probability": probability, "prediction_id": name}
            )
        return [_encode(each) for each in found]


def _options(form: str, parameters: dict[str, str]) -> _Options:
    chosen = {"output": parameters["output"]} if "output" in parameters else None
    return _Options(wanted_output(chosen, "Accept's parameters"), form)


def _plain(number: float | None) -> str:
    return "" if number is None else repr(number)


def _records(body: bytes) -> list[Any]:
    """Return the lines of JSON; empty ones are passed over."""
    try:
        lines = [line for line in without_nan(body).splitlines() if line.strip()]
        return _decode_lines(b"\n".join(lines))
    except (ValueError, RecursionError) as error:
        raise RequestError(f"These are no JSON lines: {error!s:.300}.") from None


def _csv(body: bytes) -> list[list[Any]]:
    """Return the lines, at least one; empty ones are passed over."""
    try:
        lines = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        rows = [line for line in lines if line]
    except UnicodeDecodeError as error:
        raise RequestError(f"The CSV is not UTF-8: {error.reason} at byte {error.start}.") from None
    except csv.Error as error:
        raise RequestError(f"This is no CSV: {error}.") from None
    if not rows:
        raise RequestError("The CSV is empty: it needs rows.")
    return rows
