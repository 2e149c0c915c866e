"""The usual tensors of a request, read at once: into a plan's matrix, and as the log keeps them.

`serving/rows.py` says what values mean; the compiled reader takes what is plain by the same rules
and leaves the rest to it. A value each in Python was two thirds of what a hundred rows took.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from loopline.data.columns import NAT, Columns, missing_numbers
from loopline.data.row_steps import evaluate
from loopline.kernels.tensors import PARTS, Column, TensorReader
from loopline.model.signature import Feature, Signature
from loopline.serving.rows import Rows, codes_of, columns_of

_TAKEN = {"number": {"number", "integer", "boolean"}, "category": {"category"}}
"""Kinds of features, and the types of the inputs that they are as they stand."""


class Tensors:
    """Reads bodies for one model version that has a plan; belongs to one event loop."""

    def __init__(self, signature: Signature) -> None:
        """Prepare for the version's inputs.

        Raises:
            LookupError: it cannot be done here: nothing is compiled, or a feature is of no use.
        """
        places = {column.name: place for place, column in enumerate(signature.inputs)}
        plain = {f.name: f for f in signature.features if f.steps is None}
        for name, feature in plain.items():
            if signature.inputs[places[name]].type not in _TAKEN[feature.kind]:
                raise LookupError(f"{name} is no {feature.kind} as it is sent")
        columns = [
            Column(c.name, c.type, c.required, c.logged, codes_of(plain.get(c.name)))
            for c in signature.inputs
        ]
        features = [_taken(feature, signature, places) for feature in signature.features]
        self._types = [column.type for column in signature.inputs]
        self._reader = TensorReader(
            columns, features, signature.missing, sorted(missing_numbers(signature.missing))
        )
        computed = [(at, f) for at, f in enumerate(signature.features) if features[at][0] < 0]
        self._computed: list[tuple[int, Feature, Mapping[str | None, float] | None]] = [
            (at, f, _coded(f) if f.kind == "category" else None) for at, f in computed
        ]
        self._sources = sorted({(n, places[n]) for _, f in computed for n in columns_of(f.steps)})

    def read(self, body: bytes) -> tuple[Rows, str | None] | None:
        """Return the rows of a body and the id that it gives, or None where it is no usual one.

        The rows' matrix is valid until the next body is read.
        """
        reader = self._reader
        count = reader.read(body)
        if count == 0:
            return None
        matrix = reader.row if count == 1 else reader.matrix(count)
        if self._computed:
            self._compute(body, count, matrix)
        return Rows(count, matrix, {}, msgspec.Raw(reader.logged())), reader.client_id(body)

    def _compute(self, body: bytes, count: int, matrix: np.ndarray) -> None:
        """Work out the features that are made by row SQL."""
        columns: Columns = {name: self._column(body, count, at) for name, at in self._sources}
        for place, feature, codes in self._computed:
            made: Any = evaluate(feature.steps, columns, count)
            matrix[:, place] = (
                made if codes is None else [codes.get(value, 0.0) for value in made.tolist()]
            )

    def _column(self, body: bytes, count: int, place: int) -> np.ndarray:
        kind = self._types[place]
        values = self._reader.values[place * count : (place + 1) * count]
        if kind == "time":
            moments = values["number"].copy().view(np.int64)
            moments[values["length"] < 0] = NAT
            return moments.view("datetime64[us]")
        if kind not in {"category", "text"}:
            return values["number"].copy()
        texts = np.empty(count, dtype=object)
        texts[:] = [
            None if length < 0 else self._reader.text(body, start, length)
            for _, start, length in values.tolist()
        ]
        return texts


def _taken(
    feature: Feature, signature: Signature, places: Mapping[str, int]
) -> tuple[int, str | None]:
    """Return the input that a feature is taken from and which part of it; else -1."""
    if feature.steps is None:
        return places[feature.name], None
    if len(feature.steps) == 2 and feature.kind == "number":
        [[first, _, *name], [then, _, *part]] = feature.steps
        if (first, then) == ("column", "part") and part[0] in PARTS:
            place = places[name[0]]
            if signature.inputs[place].type == "time":
                return place, part[0]
    return -1, None


def _coded(feature: Feature) -> dict[str | None, float]:
    codes: dict[str | None, float] = {None: np.nan}
    return codes | codes_of(feature)
