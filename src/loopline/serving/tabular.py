"""Rows as callers write them, however they are laid out, and predictions as they read them.

What a table means is the same in every dialect that has tables: a row is an object of column and
value, or a list in the order of the signature's inputs, and its prediction is a label, unless the
caller asks for probabilities.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from loopline.errors import RequestError
from loopline.model.signature import Signature
from loopline.serving.dialects.base import Call, Inputs, Outputs

Body = TypeVar("Body")

WANTED = ("label", "probability", "all")

# A text is matched as a whole, closed or not, so that nothing is searched twice.
_NAN = re.compile(rb'"(?:[^"\\]|\\.)*+"?|NaN', re.DOTALL)


class Tables:
    """Reads tables for one model version."""

    def __init__(self, signature: Signature) -> None:
        self._inputs = Inputs(signature)
        self.names = self._inputs.names

    def rows(self, form: str, rows: Sequence[Any], options: Any) -> Call:
        """Return a call of objects, or of lists in the signature's order; `form` names them.

        Raises:
            RequestError: they are neither, or a column that the model needs is absent.
        """
        if not rows:
            raise RequestError(f"{form} has no rows.")
        if isinstance(rows[0], list):
            return self.lists(self.names, rows, options)
        for place, row in enumerate(rows):
            if not isinstance(row, dict):
                raise RequestError(
                    f"{form}[{place}] is {row!r:.60}, but a row is an object of column and value, "
                    f"or a list of the values of: {', '.join(self.names)}."
                )
        names = (
            tuple(rows[0]) if len(rows) == 1 else tuple(dict.fromkeys(n for r in rows for n in r))
        )
        layout = self._inputs.layout(names)
        if len(rows) == 1:
            values = layout.pick([*rows[0].values(), None])
            return Call(1, values, layout.unknown, options=options)
        # A column that only some records have is missing in the others, as in a dataframe.
        columns = [[row.get(name) for row in rows] for name in names]
        return Call(len(rows), layout.pick([*columns, None]), layout.unknown, options=options)

    def lists(self, names: Sequence[str], rows: Sequence[Any], options: Any) -> Call:
        """Return a call of lists of the values of `names`.

        Raises:
            RequestError: a list is longer or shorter, or a column that the model needs is absent.
        """
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
            return Call(1, layout.pick([*rows[0], None]), layout.unknown, options=options)
        columns = [list(column) for column in zip(*rows, strict=True)]
        return Call(len(rows), layout.pick([*columns, None]), layout.unknown, options=options)

    def columns(self, form: str, columns: dict[str, list[Any]], options: Any) -> Call:
        """Return a call of a list for each column; `form` names them.

        Raises:
            RequestError: they differ in length, or a column that the model needs is absent.
        """
        lengths = {len(values) for values in columns.values()}
        if not lengths or lengths == {0}:
            raise RequestError(f"{form} has no rows.")
        if len(lengths) != 1:
            found = sorted(lengths)
            raise RequestError(f"{form} has columns of {found} rows; they need the same number.")
        layout = self._inputs.layout(tuple(columns))
        values: Sequence[Any] = layout.pick([*columns.values(), None])
        [rows] = lengths
        if rows == 1:
            values = [None if column is None else column[0] for column in values]
        return Call(rows, values, layout.unknown, options=options)


class Predictions:
    """Writes one model version's predictions as JSON knows them."""

    def __init__(self, signature: Signature) -> None:
        self._is_binary = signature.task == "binary"
        self._labels = as_predicted(signature.classes)

    def of(self, wanted: str, outputs: Outputs) -> list[Any]:
        """Return a prediction for each row, as `wanted` (one of `WANTED`) says.

        A regression's is its number, whatever is wanted.
        """
        if outputs.labels is None:
            return outputs.scores[0]
        labels = [self._labels[label] for label in outputs.labels]
        if wanted == "label":
            return labels
        if self._is_binary:
            probabilities: list[Any] = outputs.scores[0]
        else:
            probabilities = [list(row) for row in zip(*outputs.scores, strict=True)]
        if wanted == "probability":
            return probabilities
        pairs = zip(labels, probabilities, strict=True)
        return [{"label": label, "probability": probability} for label, probability in pairs]


def wanted_output(params: dict[str, Any] | None, name: str = "params") -> str:
    """Return what the caller's `params` say to answer; without a word, labels.

    Raises:
        RequestError: they say something else.
    """
    said = (params or {}).get("output", WANTED[0])
    if said not in WANTED:
        raise RequestError(f"{name}.output is {said!r:.60}; it may be {', '.join(WANTED)}.")
    return str(said)


def as_predicted(classes: Sequence[str]) -> dict[str, Any]:
    """Return each class as the original would have written it: 1 and true, where all read so."""
    try:
        read = {label: msgspec.json.decode(label) for label in classes}
    except msgspec.DecodeError:
        read = {}
    plain = read and all(isinstance(value, int) for value in read.values())
    return read if plain else {label: label for label in classes}


def decoded(decode: Callable[[bytes], Body], body: bytes, what: str) -> Body:
    """Return what a body of JSON says, as `decode` reads it.

    Raises:
        RequestError: it is malformed; `what` is the kind of request that it is not.
    """
    try:
        return decode(without_nan(body))
    except (ValueError, RecursionError) as error:
        raise RequestError(f"This is no {what}: {error!s:.300}.") from None


def without_nan(body: bytes) -> bytes:
    """Return JSON with null for NaN, which pandas and MLflow's client write for what is missing."""
    if b"NaN" not in body:
        return body
    return _NAN.sub(lambda found: b"null" if found[0] == b"NaN" else found[0], body)
