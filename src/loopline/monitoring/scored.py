"""A scored table with its outcomes, as figures: how good one version's predictions in it were.

The table is what `loopline score --keep` wrote, the outcome among what was kept. Its rows are made
to look like those of the log, and counted by what counts the log's outcomes (`realised.count`),
piece by piece wherever the pieces are; the figures come out of the sums.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from loopline.compute.base import Compute
from loopline.contract.schema import Contract
from loopline.data import row_sql
from loopline.data.batches import Incoming, Piece
from loopline.data.conforming import convert
from loopline.errors import SourceError
from loopline.model.signature import Signature, outputs
from loopline.monitoring import hours, outcomes, performance, realised
from loopline.monitoring.hours import Cell, Counts
from loopline.monitoring.labels import TRUTH
from loopline.monitoring.performance import Performance
from loopline.monitoring.reference import Reference, travelling

_VERSION = "version"
_NOW = datetime(1970, 1, 1, tzinfo=UTC)
"""The event of every row: a table is one stretch."""


@dataclass(frozen=True)
class Evaluated:
    """What one version's predictions in a table came to."""

    version: int
    performance: Performance
    others: int
    """Rows that other versions answered."""


def versions(incoming: Incoming) -> list[int]:
    """Return the versions that answered the first rows.

    Raises:
        SourceError: it is no scored table, or has no rows.
    """
    name = incoming.sources[0].name
    _check(name, incoming.sources[0].schema.names, [_VERSION])
    for piece in incoming.pieces([_VERSION]):
        found = _typed(_frame(piece, [_VERSION]), {_VERSION: "integer"})[_VERSION]
        return [int(version) for version in found.drop_nulls().unique().sort().to_list()]
    raise SourceError(f"{name} has no rows.")


def evaluate(
    contract: Contract, reference: Reference, incoming: Incoming, compute: Compute
) -> Evaluated:
    """Judge one version's predictions in a table by the outcomes beside them.

    Raises:
        SourceError: it lacks the answers, the outcome, or any row of this version.
    """
    signature = reference.signature
    source = incoming.sources[0]
    answers = list(outputs(signature, _nothing(signature)))
    _check(source.name, source.schema.names, [_VERSION, *answers])
    carried = _carried(source.schema.names, {"prediction_id", "label", _VERSION, *answers})
    target = contract.problem.target
    truth = [target] if target in carried else list(row_sql.names(target))
    absent = [name for name in truth if name not in carried]
    if absent:
        raise SourceError(
            f"{source.name} has no column {', '.join(absent)}, and the outcome is {target}. Keep "
            f"it when scoring (loopline score --keep {','.join(truth)}), or join it to the table."
        )
    inputs = tuple(each for each in signature.inputs if each.logged and each.name in carried)
    kept = replace(travelling(reference), signature=replace(signature, inputs=inputs))
    names = {each.name: carried[each.name] for each in inputs}
    names |= {name: carried[name] for name in truth}
    work = _Counting(contract, kept, names, tuple(answers))
    cells: dict[Cell, Counts] = {}
    rows = others = 0
    for found, mine, not_mine in compute.map(work, incoming.pieces(work.columns)):
        rows, others = rows + mine, others + not_mine
        hours.gather(cells, found)
    if not cells:
        raise SourceError(
            f"{source.name} has {rows:,} predictions of {signature.project}:{reference.version}, "
            "and none with an outcome."
        )
    known = {(cell.slice, cell.column): counted for cell, counted in cells.items()}
    figures = performance.of_counts(contract, kept, known, rows)
    return Evaluated(reference.version, figures, others)


def _check(place: str, there: list[str], needed: list[str]) -> None:
    absent = [name for name in needed if name not in there]
    if absent:
        raise SourceError(
            f"{place} is no table that `loopline score` wrote for this version: it has no column "
            f"{', '.join(absent)}. It has {', '.join(there[:12])}."
        )


def _carried(there: list[str], own: set[str]) -> dict[str, str]:
    """Return the columns that were carried along, by the name that they had."""
    found = {name: name for name in there if name not in own}
    renamed = {name: f"input_{name}" for name in own if f"input_{name}" in there}
    return {name: where for name, where in found.items() if where not in renamed.values()} | renamed


def _nothing(signature: Signature) -> np.ndarray:
    return np.zeros((0, len(signature.classes)) if signature.task == "multiclass" else 0)


def _frame(piece: Piece, columns: list[str]) -> pl.DataFrame:
    table = pa.Table.from_batches(list(piece.batches(columns))).select(columns)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table makes a frame
    return frame


def _typed(frame: pl.DataFrame, types: Mapping[str, Any]) -> pl.DataFrame:
    return convert(frame, types, [""]).frame


@dataclass(frozen=True)
class _Counting:
    """Counts one version's rows of pieces."""

    contract: Contract
    reference: Reference
    names: Mapping[str, str]
    """Inputs and what the outcome is made of, to the columns that hold them."""
    answers: tuple[str, ...]

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys([_VERSION, *self.answers, *self.names.values()]))

    @contextmanager
    def open(self) -> Iterator[Callable[[Piece], tuple[dict[Cell, Counts], int, int]]]:
        """Return what counts a piece, and says how many rows of it are this version's, or not."""
        yield self._count

    def _count(self, piece: Piece) -> tuple[dict[Cell, Counts], int, int]:
        signature = self.reference.signature
        raw = _frame(piece, self.columns)
        said = _typed(raw, {_VERSION: "integer", **dict.fromkeys(self.answers, "number")})
        is_mine = (said[_VERSION] == self.reference.version).fill_null(value=False)
        raw, said = raw.filter(is_mine), said.filter(is_mine)
        if raw.is_empty():
            return {}, 0, len(is_mine)
        given = raw.select(pl.col(where).alias(name) for name, where in self.names.items())
        truth = outcomes.texts(given, self.contract, signature, piece.source)
        types = {each.name: each.type for each in signature.inputs}
        inputs = convert(given, types, list(signature.missing)).frame if types else pl.DataFrame()
        rows = pl.DataFrame(
            [
                *_scores(said, self.answers, signature),
                pl.repeat(_NOW, len(said), dtype=pl.Datetime("us", "UTC"), eager=True).alias(
                    "event_time"
                ),
                truth.alias(TRUTH),
            ]
        )
        whole = pl.concat([rows, realised.as_stored(inputs, rows.schema)], how="horizontal")
        place = ("", self.reference.version)
        counted = realised.count(
            whole.filter(pl.col(TRUTH).is_not_null()), self.reference, place,
            self.contract.fairness,
        )  # fmt: skip
        return counted, len(said), len(is_mine) - len(said)


def _scores(said: pl.DataFrame, answers: tuple[str, ...], signature: Signature) -> list[pl.Series]:
    """Return the answers as the log has them."""
    if signature.task == "multiclass":
        listed = said.select(pl.concat_list(list(answers)).alias("probabilities"))
        return [listed["probabilities"]]
    return [said[answers[0]].alias("score")]
