"""MLflow's scoring protocol, as the clients of `mlflow models serve` speak it.

Four JSON forms and CSV. A classifier's predictions are its labels, as `predict` gives them; whoever
wants more says `"params": {"output": "probability"}` or `"all"`. Where MLflow answers NaN, which is
no JSON, this answers null; where it refuses rows without names, the signature's order holds.
"""

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from loopline.errors import RequestError
from loopline.model.signature import Signature
from loopline.serving.dialects.base import Call, Content, Inputs, Outputs

__all__ = ["Mlflow"]

_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_WANTED = ("label", "probability", "all")
_ERROR_CODES = {
    400: "INVALID_PARAMETER_VALUE",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
}


class _Split(msgspec.Struct):
    columns: list[Any]
    data: list[list[Any]]


class _Body(msgspec.Struct):
    dataframe_split: _Split | None = None
    dataframe_records: list[dict[str, Any]] | None = None
    instances: list[Any] | None = None
    inputs: dict[str, Any] | list[Any] | None = None
    params: dict[str, Any] | None = None


# A text is matched as a whole, closed or not, so that nothing is searched twice.
_NAN = re.compile(rb'"(?:[^"\\]|\\.)*+"?|NaN', re.DOTALL)
_decode = msgspec.json.Decoder(_Body).decode
_encode = msgspec.json.Encoder().encode


class Mlflow:
    """Reads and writes the protocol for one model version."""

    def __init__(self, signature: Signature, version: int) -> None:
        self._inputs = Inputs(signature)
        self._task = signature.task
        self._classes = signature.classes
        self._labels = _as_predicted(signature.classes)
        self._tail = b'],"model_version":"%d"}' % version

    def read(self, body: bytes, content: Content) -> Call:
        """Return what `body` asks for.

        Raises:
            RequestError: the body is malformed, or a column that the model needs is absent.
        """
        if content.type == "text/csv":
            return self._table(*_csv(body), wanted=_WANTED[0])
        try:
            # MLflow's client writes NaN, which is no JSON, for what is missing in a dataframe.
            request = _decode(_nan_as_null(body) if b"NaN" in body else body)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"This is no scoring request: {error!s:.300}.") from None
        given = [form for form in _FORMS if getattr(request, form) is not None]
        if len(given) != 1:
            raise RequestError(
                f"The body must have exactly one of {', '.join(_FORMS)}, and has "
                f"{' and '.join(given) or 'none of them'}."
            )
        wanted = self._wanted(request.params)
        if request.dataframe_split is not None:
            split = request.dataframe_split
            return self._table([str(name) for name in split.columns], split.data, wanted=wanted)
        rows = request.dataframe_records or request.instances or request.inputs
        if isinstance(rows, dict):
            return self._columns(rows, wanted)
        return self._rows(given[0], rows or [], wanted)

    def answer(self, call: Call, outputs: Outputs, request_id: str) -> bytes:
        """Return `predictions`, the prediction ids and the version."""
        ids = ",".join([f'"{request_id}-{row}"' for row in range(call.rows)])
        return b'{"predictions":%b,"prediction_ids":[%b%b' % (
            _encode(self._predictions(call.options, outputs)),
            ids.encode(),
            self._tail,
        )

    @staticmethod
    def error(status: int, message: str) -> bytes:
        """Return the protocol's error."""
        code = _ERROR_CODES.get(status, "BAD_REQUEST")
        return _encode({"error_code": code, "message": message})

    def _predictions(self, wanted: str, outputs: Outputs) -> list[Any]:
        if outputs.labels is None:
            return outputs.scores[0]
        labels = [self._labels[label] for label in outputs.labels]
        if wanted == "label":
            return labels
        if self._task == "binary":
            probabilities: list[Any] = outputs.scores[0]
        else:
            probabilities = [list(row) for row in zip(*outputs.scores, strict=True)]
        if wanted == "probability":
            return probabilities
        pairs = zip(labels, probabilities, strict=True)
        return [{"label": label, "probability": probability} for label, probability in pairs]

    def _wanted(self, params: dict[str, Any] | None) -> str:
        wanted = (params or {}).get("output", _WANTED[0])
        if wanted not in _WANTED:
            raise RequestError(f"params.output is {wanted!r:.60}; it may be {', '.join(_WANTED)}.")
        return str(wanted)

    def _rows(self, form: str, rows: list[Any], wanted: str) -> Call:
        if not rows:
            raise RequestError(f"{form} has no rows.")
        if isinstance(rows[0], list):
            return self._table(self._inputs.names, rows, wanted=wanted)
        for place, row in enumerate(rows):
            if not isinstance(row, dict):
                raise RequestError(
                    f"{form}[{place}] is {row!r:.60}, but a row is an object of column and value, "
                    f"or a list of the values of: {', '.join(self._inputs.names)}."
                )
        names = (
            tuple(rows[0]) if len(rows) == 1 else tuple(dict.fromkeys(n for r in rows for n in r))
        )
        layout = self._inputs.layout(names)
        if len(rows) == 1:
            values = layout.pick([*rows[0].values(), None])
            return Call(1, values, layout.unknown, options=wanted)
        # A column that only some records have is missing in the others, as in a dataframe.
        columns = [[row.get(name) for row in rows] for name in names]
        return Call(len(rows), layout.pick([*columns, None]), layout.unknown, options=wanted)

    def _table(self, names: Sequence[str], rows: list[list[Any]], *, wanted: str) -> Call:
        layout = self._inputs.layout(tuple(names))
        for place, row in enumerate(rows):
            if not isinstance(row, list) or len(row) != len(names):
                found = len(row) if isinstance(row, list) else f"{row!r:.60}, no list of"
                raise RequestError(
                    f"Row {place} has {found} values, and {len(names)} columns are named."
                )
        if not rows:
            raise RequestError("There are no rows.")
        if len(rows) == 1:
            return Call(1, layout.pick([*rows[0], None]), layout.unknown, options=wanted)
        columns = [list(column) for column in zip(*rows, strict=True)]
        return Call(len(rows), layout.pick([*columns, None]), layout.unknown, options=wanted)

    def _columns(self, columns: dict[str, Any], wanted: str) -> Call:
        lists = {
            name: values if isinstance(values, list) else [values]
            for name, values in columns.items()
        }
        lengths = {len(values) for values in lists.values()}
        if len(lengths) != 1 or lengths == {0}:
            raise RequestError(
                "inputs has "
                + (
                    f"columns of {sorted(lengths)} rows; they need the same number."
                    if lengths - {0}
                    else "no rows."
                )
            )
        rows = [list(row) for row in zip(*lists.values(), strict=True)]
        return self._table(list(lists), rows, wanted=wanted)


def _nan_as_null(body: bytes) -> bytes:
    return _NAN.sub(lambda found: b"null" if found[0] == b"NaN" else found[0], body)


def _as_predicted(classes: Sequence[str]) -> dict[str, Any]:
    """Return each class as the original would have written it: 1 and true, where all read so."""
    try:
        read = {label: msgspec.json.decode(label) for label in classes}
    except msgspec.DecodeError:
        read = {}
    plain = read and all(isinstance(value, int) for value in read.values())
    return read if plain else {label: label for label in classes}


def _csv(body: bytes) -> tuple[list[str], list[list[Any]]]:
    """Return header and rows; an empty field is missing."""
    try:
        lines = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        header, *rows = [line for line in lines if line]
    except UnicodeDecodeError as error:
        raise RequestError(f"The CSV is not UTF-8: {error.reason} at byte {error.start}.") from None
    except csv.Error as error:
        raise RequestError(f"This is no CSV: {error}.") from None
    except ValueError:
        raise RequestError("The CSV is empty: it needs a header line and rows.") from None
    return header, [[None if field == "" else field for field in row] for row in rows]
