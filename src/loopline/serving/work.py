"""One piece of a batch: read, scored and written as one, by whatever thread or machine takes it."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loopline.data.batches import Piece
from loopline.model.signature import Signature, outputs
from loopline.serving.log import HEADER, SEALED, frame
from loopline.serving.output import carried
from loopline.serving.parts import PREDICTION_ID, Encoder, Parts, Receipt
from loopline.serving.rows import plain, without_nan
from loopline.serving.scoring import Recipe, Scored, Scoring

CALLER = "batch"
"""Who asked, as the prediction log has it."""
SHOWN = 3
"""Reasons that are shown of rows without a prediction."""


@dataclass(frozen=True)
class Item:
    """One piece, and its number among all."""

    number: int
    piece: Piece
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Work:
    """Scores pieces and writes their parts, wherever it is opened."""

    recipe: Recipe
    parts: Parts
    run: str
    schema: pa.Schema
    logs: bool

    @contextlib.contextmanager
    def open(self) -> Iterator[Callable[[Item], Receipt]]:
        """Open the model for one thread."""
        with self.recipe.open(reads_all=self.logs) as scoring:
            yield partial(self._do, scoring)

    def _do(self, scoring: Scoring, item: Item) -> Receipt:
        began = time.monotonic()
        piece = item.piece
        part = Encoder(self.parts.target, self.schema)
        rejected: list[dict[str, Any]] = []
        frames: list[bytes] = []
        row = piece.first_row
        for place, batch in enumerate(piece.batches(item.columns)):
            scored = scoring(batch)
            request = f"{self.run}-{item.number}-{place}"
            answer = self._answer(scoring.signature, batch, scored, request)
            part.add(answer)
            for at, reasons in scored.refused:
                rejected.append(_rejected(scoring.signature, piece, row + at, batch, at, reasons))
            if self.logs and answer.num_rows:
                frames.append(frame(self._logged(scoring.signature, scored, request)))
            row += batch.num_rows
        if frames:
            segment = HEADER + b"".join(frames) + frame(SEALED)
            self.parts.write_log(item.number, segment)
        self.parts.write(item.number, part.close(), rejected)
        receipt = Receipt(
            item.number,
            row - piece.first_row,
            len(rejected),
            round(time.monotonic() - began, 3),
            tuple(_told(each) for each in rejected[:SHOWN]),
        )
        self.parts.sign(receipt)
        return receipt

    def _answer(
        self, signature: Signature, batch: pa.RecordBatch, scored: Scored, request: str
    ) -> pa.RecordBatch:
        """Return the batch's rows of OUT."""
        if scored.chosen is not None:
            batch = batch.filter(pa.array(scored.chosen))
        rows = len(scored.scores)
        numbers = pa.array(np.arange(rows)).cast(pa.string())
        said = {
            PREDICTION_ID: pc.binary_join_element_wise(pa.scalar(request), numbers, "-"),
            **({} if scored.labels is None else {"label": scored.labels}),
            **{
                name: pc.if_else(pc.is_nan(values), None, values)
                for name, column in outputs(signature, scored.scores).items()
                if (values := pa.array(np.ascontiguousarray(column))) is not None
            },
            "version": pa.repeat(pa.scalar(self.recipe.version, pa.int64()), rows),
        }
        arrays = []
        for field in self.schema:
            if field.name in said:
                arrays.append(said[field.name])
            else:
                source = (field.metadata or {}).get(b"from", field.name.encode()).decode()
                arrays.append(carried(batch, source, field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _logged(self, signature: Signature, scored: Scored, request: str) -> list[Any]:
        """Return the frame that the server would have logged, but for a latency."""
        kept = [column.name for column in signature.inputs if column.logged]
        full = [scored.read.columns[name].whole() for name in kept]
        if scored.chosen is not None:
            full = [values[scored.chosen] for values in full]
        scores = scored.scores
        said: list[Any] = [] if scored.labels is None else [scored.labels.to_pylist()]
        columns = scores.T if scores.ndim == 2 else [scores]
        said += [without_nan(column.tolist()) for column in columns]
        arrival = int(self.run[:13], 16)
        about = [request, None, arrival, self.recipe.version, False, None, CALLER]
        return ["p", *about, len(scores), [plain(values) for values in full], said]


def _rejected(
    signature: Signature,
    piece: Piece,
    row: int,
    batch: pa.RecordBatch,
    at: int,
    reasons: list[str],
) -> dict[str, Any]:
    """Return what is written of a row that has no prediction."""
    found: dict[str, Any] = {"source": piece.source, "row": row}
    place = -1 if signature.key is None else batch.schema.get_field_index(signature.key)
    if place >= 0:
        key = batch.column(place)[at].as_py()
        found["key"] = key if isinstance(key, str | int | float | None) else str(key)
    return {**found, "reasons": reasons}


def _told(rejected: dict[str, Any]) -> str:
    return f"{rejected['source']}, row {rejected['row']}: {' '.join(rejected['reasons'])}"
