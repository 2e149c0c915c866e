"""All predictions and all outcomes of a project brought together, wherever that runs.

An outcome names a prediction, or a key that predictions share, so rows come together twice. First
ids: an outcome of an id learns the key of its prediction. Then every prediction and what can be its
outcome are in one place, under the key or, without one, the id. There the labels are worked out and
the rows counted by what a process alone does it with (`labels.of`, `realised.count_all`): outcomes
come before predictions, which are counted as they come, so memory goes by a place's outcomes.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import polars as pl
import pyarrow as pa

from loopline.compute.base import Compute, Stage
from loopline.contract.schema import Contract
from loopline.data.batches import Piece, open_delta
from loopline.monitoring import hours, labels, realised
from loopline.monitoring.fold import table
from loopline.monitoring.hours import Cell, Counts
from loopline.monitoring.labels import NAMES
from loopline.monitoring.reference import Reference, travelling
from loopline.store.tables import Tables

_PLACE, _SIDE = "~place", "~side"
_TOLD, _ANSWERED = 0, 1
"""Sides: an outcome, which comes first, or a prediction."""
_OWN = ("observed_at", "segment", "offset", "row")
"""Columns of outcomes alone, as they travel: an input may be called the same."""
_LEFT_OUT = frozenset({"client_id", "latency_us", "caller", "review", "reasons", "shadow"})
"""Columns of predictions that no figure of outcomes needs."""
_MOMENT = pl.Datetime("us", "UTC")

Kind = Literal["ids", "answers", "of ids", "of keys"]
"""What is made of a piece: predictions' ids and keys, predictions, outcomes of ids, or of keys."""


@dataclass(frozen=True)
class Joined:
    """What all outcomes come to."""

    cells: dict[Cell, Counts]
    first: int | None
    """The oldest plausible event of a prediction, in microseconds since 1970."""
    corrected: int
    """Ids and keys whose outcome was not always the same."""
    unknown: int
    """Ids and keys with an outcome that no prediction has."""


@dataclass(frozen=True)
class _Found:
    """What one place comes to."""

    cells: dict[Cell, Counts]
    corrected: int
    unknown: int


def count(
    compute: Compute,
    contract: Contract,
    reference: Callable[[int], Reference],
    tables: Tables,
    versions: tuple[int, int],
) -> Joined:
    """Join and count all of a project; `versions` are those of its predictions and outcomes.

    Raises:
        UnknownVersionError, BundleRefusedError: a version that answered cannot be opened.
    """
    project = contract.project
    answers = open_delta(_place(tables, table(project)), versions[0])
    told = open_delta(_place(tables, labels.table(project)), versions[1])
    rows = tables.scan(table(project), versions[0])
    about = rows.select(
        pl.col("version").unique().implode(),
        pl.col("event_time").filter("plausible").dt.epoch("us").min().alias("first"),
    ).collect(engine="streaming")
    known = {
        int(version): travelling(reference(int(version)))
        for version in about["version"].item().to_list()
    }
    types = {name: kind for name, kind in rows.collect_schema().items() if name not in _LEFT_OUT}
    ids = _schema({})
    whole = _schema(types)
    answered, said = ([*each.pieces([])] for each in (answers, told))
    more: list[tuple[Kind, Piece]] = [("answers", piece) for piece in answered]
    more += [("of keys", piece) for piece in said]
    items: list[tuple[Kind, Piece]] = [("ids", piece) for piece in answered]
    items += [("of ids", piece) for piece in said]
    stages = [
        Stage(ids, "prediction_id", (_SIDE,), _Routing(whole)),
        Stage(
            whole,
            _PLACE,
            (_SIDE,),
            _Counting(types, known, contract),
            (_Reading(types, whole), more),
        ),
    ]
    cells: dict[Cell, Counts] = {}
    corrected = unknown = 0
    for found in compute.gather(_Reading({}, ids), items, stages):
        hours.gather(cells, found.cells)
        corrected, unknown = corrected + found.corrected, unknown + found.unknown
    return Joined(cells, about["first"].item(), corrected, unknown)


def _place(tables: Tables, key: str) -> str:
    """Return where a table lies, as a path where it is one."""
    url = urlsplit(tables.url)
    return str(Path(unquote(url.path)) / key) if url.scheme == "file" else f"{tables.url}/{key}"


def _schema(types: Mapping[str, pl.DataType]) -> pa.Schema:
    """Return the schema in which rows travel: times as microseconds, without large types."""
    own = {"prediction_id": pl.String(), "key": pl.String(), "label": pl.String(),
           "arrival": _MOMENT, "~observed_at": _MOMENT, "~segment": pl.String(),
           "~offset": pl.Int64(), "~row": pl.Int64(), _PLACE: pl.String(),
           _SIDE: pl.Int8()}  # fmt: skip
    arrow: dict[type[pl.DataType], pa.DataType] = {
        pl.String: pa.string(), pl.Int64: pa.int64(), pl.Int8: pa.int8(), pl.Float64: pa.float64(),
        pl.Boolean: pa.bool_(), pl.Datetime: pa.int64(), pl.List: pa.list_(pa.float64()),
    }  # fmt: skip
    return pa.schema([(name, arrow[type(kind)]) for name, kind in ({**types, **own}).items()])


def _sent(frame: pl.DataFrame, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield rows as they travel; a column that they lack is null."""
    times = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]
    frame = frame.with_columns(pl.col(times).dt.epoch("us"))
    there = frame.to_arrow()
    arrays = [
        there[field.name].cast(field.type) if field.name in frame.columns
        else pa.nulls(frame.height, field.type)
        for field in schema
    ]  # fmt: skip
    yield from pa.Table.from_arrays(arrays, schema=schema).combine_chunks().to_batches()


def _outcomes(frame: pl.DataFrame) -> pl.DataFrame:
    """Return those rows that are outcomes, as `labels.of` takes them."""
    told = frame.filter(pl.col(_SIDE) == _TOLD)
    return told.select(
        "prediction_id", "key", "label",
        pl.col("~observed_at").cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("observed_at"),
        pl.col("arrival").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        pl.col("~offset").alias("offset"), pl.col("~row").alias("row"),
        pl.col("~segment").alias("segment"),
    )  # fmt: skip


@dataclass(frozen=True)
class _Reading:
    """Makes rows of pieces of both tables."""

    types: Mapping[str, pl.DataType]
    schema: pa.Schema

    @contextmanager
    def open(self) -> Iterator[Callable[[tuple[Kind, Piece]], Iterator[pa.RecordBatch]]]:
        """Return what reads a piece."""
        yield self._read

    def _read(self, item: tuple[Kind, Piece]) -> Iterator[pa.RecordBatch]:
        kind, piece = item
        columns = {
            "ids": list(NAMES),
            "answers": list(self.types),
        }.get(kind, list(labels.empty().columns))
        for batch in piece.batches(columns):
            frame = pl.from_arrow(pa.Table.from_batches([batch]))
            assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table makes a frame
            yield from _sent(_made(kind, frame), self.schema)


def _made(kind: Kind, frame: pl.DataFrame) -> pl.DataFrame:
    side = pl.lit(_ANSWERED if kind in ("ids", "answers") else _TOLD, pl.Int8).alias(_SIDE)
    if kind == "answers":
        own = pl.coalesce(pl.format("k{}", "key"), pl.format("i{}", "prediction_id"))
        return frame.with_columns(own.alias(_PLACE), side)
    if kind == "ids":
        return frame.with_columns(side)
    told = frame.rename({name: f"~{name}" for name in _OWN}).with_columns(side)
    nothing = pl.lit(None, pl.String)
    if kind == "of ids":
        return told.filter(pl.col("prediction_id").is_not_null()).with_columns(nothing.alias("key"))
    told = told.filter(pl.col("key").is_not_null()).with_columns(nothing.alias("prediction_id"))
    return told.with_columns(pl.format("k{}", "key").alias(_PLACE))


@dataclass(frozen=True)
class _Routing:
    """Sends the outcomes of ids to where their predictions are."""

    schema: pa.Schema

    @contextmanager
    def open(self) -> Iterator[Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]]:
        """Return what does it for the ids of one place."""
        yield self._route

    def _route(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        told: pl.DataFrame | None = None
        for batch in batches:
            frame = pl.from_arrow(pa.Table.from_batches([batch]))
            assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table makes a frame
            mine = frame.filter(pl.col(_SIDE) == _TOLD)
            told = mine if told is None else pl.concat([told, mine])
            ids = frame.filter(pl.col(_SIDE) == _ANSWERED)
            routes = ids.select("prediction_id", pl.col("key").alias("~key"))
            found = told.join(routes, on="prediction_id")
            told = told.join(routes, on="prediction_id", how="anti")
            place = pl.coalesce(pl.format("k{}", "~key"), pl.format("i{}", "prediction_id"))
            yield from _sent(found.with_columns(place.alias(_PLACE)).drop("~key"), self.schema)
        if told is not None:  # of predictions that are not known
            place = pl.format("i{}", "prediction_id")
            yield from _sent(told.with_columns(place.alias(_PLACE)), self.schema)


@dataclass(frozen=True)
class _Counting:
    """Labels and counts the predictions of one place."""

    types: Mapping[str, pl.DataType]
    known: Mapping[int, Reference]
    contract: Contract

    @contextmanager
    def open(self) -> Iterator[Callable[[Iterator[pa.RecordBatch]], _Found]]:
        """Return what counts one place."""
        yield self._count

    def _count(self, batches: Iterator[pa.RecordBatch]) -> _Found:
        told, cells = labels.empty(), dict[Cell, Counts]()
        known: labels.Labels | None = None
        lost = {name: told.select(name) for name in NAMES}
        for batch in batches:
            frame = pl.from_arrow(pa.Table.from_batches([batch]))
            assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table makes a frame
            mine = _outcomes(frame)
            if len(mine):
                told = pl.concat([told, mine], how="diagonal")
                lost = {name: told.select(name).drop_nulls().unique() for name in NAMES}
            rows = frame.filter(pl.col(_SIDE) == _ANSWERED).select(
                pl.col(name).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
                if isinstance(kind, pl.Datetime)
                else name
                for name, kind in self.types.items()
            )
            if len(rows):
                known = known or labels.of(told.lazy())
                joined = known.join(rows.lazy()).collect()
                hours.gather(
                    cells,
                    realised.count_all(joined, self.known.__getitem__, self.contract.fairness),
                )
                lost = {name: names.join(rows, on=name, how="anti") for name, names in lost.items()}
        return _Found(cells, labels.differing(told), sum(map(len, lost.values())))
