"""A model version as a table of a profile: what it was made from, and what it was asked.

`flights:3` is the profile of the rows that trained it, `flights:3@production` the sum of what was
counted by the hour of its predictions there. Truths, which a model sees as 0 and 1, are categories
here, as in any table.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select

from loopline.contract.load import FILE_NAME
from loopline.counts import saved
from loopline.counts.arrow import Type
from loopline.counts.kernel import SHIFT, ColumnCounts, Profile, digest_of
from loopline.counts.pairs import PairCounts, spelled
from loopline.counts.saved import Profiled
from loopline.errors import SourceError
from loopline.kernels.count import lower_edges
from loopline.monitoring import hours
from loopline.monitoring.hours import INPUT, OUTPUT, PAIR
from loopline.monitoring.reference import Reference, References
from loopline.monitoring.windows import HOUR, Window, moment
from loopline.pipeline.workspace import Workspace
from loopline.store.database import counts

_TRUTHS = ("false", "true")
_EVER = Window(0, 2**40 // 3600)
"""All hours that a time in the log may have."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Kept:
    """One version's counts, and the rows that they are saved as."""

    table: Profiled
    rows: Callable[[], Iterator[Row]]


def find(place: str, here: Path, project: str, number: int, environment: str | None) -> Kept:
    """Return the version that `place` names, by what it says.

    Raises:
        SourceError: there is no project of that name here, or nothing was counted there.
        UnknownVersionError: it was never registered.
    """
    space = Workspace.open(_folder(here, place))
    if space.contract.project != project:
        raise SourceError(
            f"{place} names a version of the project {project}, and the one here is "
            f"{space.contract.project}. Go to the folder of {project}."
        )
    reference = References(space.registry)(number)
    if environment is None:
        return _made_from(place, reference)
    return _asked(place, space, reference, environment)


def _folder(here: Path, place: str) -> Path:
    for folder in (here, *here.parents):
        if (folder / FILE_NAME).is_file():
            return folder
    raise SourceError(
        f"There is no file {place}, and no {FILE_NAME} in {here} or above it whose version that "
        "could be."
    )


def _types(reference: Reference) -> dict[str, Type]:
    types: dict[str, Type] = dict.fromkeys(reference.profile.columns, "number")
    known = {each.name: each.type for each in reference.signature.inputs}
    return {name: known.get(name, kind) for name, kind in types.items()}


def _made_from(place: str, reference: Reference) -> Kept:
    types = _types(reference)
    columns = {
        name: _typed(counted, types[name])
        for name, counted in reference.profile.columns.items()
        if any(each.name == name for each in reference.signature.inputs)
    }
    rows = max((counted.rows for counted in columns.values()), default=0)
    table = Profiled(
        place,
        rows,
        {name: types[name] for name in columns},
        Profile(columns),
        pairs=dict(reference.pairs),
    )
    return Kept(table, lambda: saved.rows_of(table))


def _asked(place: str, space: Workspace, reference: Reference, environment: str) -> Kept:
    project, version = space.contract.project, reference.version
    found = hours.total(space.database, project, environment, version, _EVER)
    types = _types(reference)
    columns = {
        name: _typed(counted, types[name])
        for (kind, name), counted in found.items()
        if kind in (INPUT, OUTPUT) and isinstance(counted, ColumnCounts) and name in types
    }
    if not columns:
        raise SourceError(
            f"Nothing was counted yet of {project}:{version} in {environment}. Predictions are "
            "counted when they are watched: loopline watch --once"
        )
    together = {
        pair: counted
        for pair in reference.pairs
        if isinstance(counted := found.get((PAIR, spelled(pair))), PairCounts)
    }
    rows = max(counted.rows for counted in columns.values())
    table = Profiled(
        place, rows, {name: types[name] for name in columns}, Profile(columns), pairs=together
    )
    return Kept(table, lambda: _hourly(space, reference, environment))


def _hourly(space: Workspace, reference: Reference, environment: str) -> Iterator[Row]:
    """Yield what was counted of each hour, a row for each column, slice and pair."""
    project, version, types = space.contract.project, reference.version, _types(reference)
    pairs = {spelled(pair): pair for pair in reference.pairs}
    query = (
        select(counts.c.hour, counts.c.column, counts.c.slice, counts.c.payload)
        .where(
            counts.c.project == project,
            counts.c.environment == environment,
            counts.c.version == version,
        )
        .order_by(counts.c.hour, counts.c.slice, counts.c.column)
    )
    with space.database.read() as connection:
        for row in connection.execute(query):
            own: Mapping[str, Any] = {
                "dataset": f"{project}:{version}",
                "environment": environment,
                "hour": moment(row.hour // HOUR * HOUR),
                "slice": row.slice,
            }
            counted = hours.decode(row.slice, row.payload)
            if isinstance(counted, PairCounts):
                yield {**own, **saved.row_of_pair(pairs[row.column], counted)}
            elif not isinstance(counted, ColumnCounts):
                named = list(counted.items())
                yield {**own, "column": row.column, "kind": "counts", "named": named}
            elif row.slice in (INPUT, OUTPUT):
                kind = types.get(row.column, "number")
                yield {**own, "type": kind, **saved.row_of(row.column, _typed(counted, kind))}
            else:
                yield {**own, **saved.row_of(row.column, counted)}


def _typed(counted: ColumnCounts, kind: Type) -> ColumnCounts:
    """Return counts as those of a table of that type: truths by name."""
    if kind != "boolean" or counted.kind != "number":
        return counted
    values = lower_edges(counted.cells, SHIFT) + counted.offset
    numbers = [int(counted.counts[values == truth].sum()) for truth in (0.0, 1.0)]
    named = {name: number for name, number in zip(_TRUTHS, numbers, strict=True) if number}
    empty = np.empty(0, np.int64)
    return ColumnCounts(
        "category", counted.missing, empty, empty, named=named, names=digest_of(_TRUTHS)
    )
