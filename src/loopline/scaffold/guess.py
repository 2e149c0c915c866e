"""What a data file says about itself: columns, key, time, leaks, people and how to split it."""

import re
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from loopline.contract.schema import Contract
from loopline.data import row_sql
from loopline.data.columns import from_frame
from loopline.data.conforming import alike_but_for_case
from loopline.data.splits import split
from loopline.errors import RowSqlError, SourceError, SplitError
from loopline.scaffold import leaks, words
from loopline.scaffold.columns import ColumnGuess, guess_column, names_entities, names_rows
from loopline.scaffold.facts import Facts
from loopline.scaffold.target import TargetGuess

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_FEWEST_TO_SPLIT_BY_TIME = 60
_MOST_GROUPS = 20


@dataclass(frozen=True)
class Guesses:
    """Everything that `loopline new` concludes from a data file."""

    rows: int
    target: TargetGuess
    columns: list[ColumnGuess]
    key: str | None
    time: str | None
    split: dict[str, str]
    why_split: str
    features: dict[str, str] = field(default_factory=dict)
    """Name to row SQL."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Columns that the contract cannot hold, and why."""
    sensitive: list[str] = field(default_factory=list)
    """Columns that fairness may be about."""


def guess(
    frame: pl.DataFrame,
    types: dict[str, str],
    target: TargetGuess,
    left_out: dict[str, str] | None = None,
) -> Guesses:
    """Conclude a contract's content from data.

    Args:
        frame: typed as `types` say, missing values null.
        types: column to contract type.
        target: what was concluded of the target, one of the columns.
        left_out: columns that are in neither, and why.

    Raises:
        SourceError: nothing is left to learn from, or too few rows to learn and to judge.
    """
    facts = Facts.of(frame, types)
    others = [name for name in types if name != target.name]
    time = _time(facts, others)
    key = next((name for name in others if names_rows(facts, name)), None)
    group = next((name for name in others if names_entities(facts, name)), None)
    columns = {name: guess_column(facts, name) for name in others}
    for name, why in {group: "names what several rows are about", key: "names the row"}.items():
        if name is not None and columns[name].keys.get("personal") is None:
            columns[name] = ColumnGuess(name, {"type": types[name], "feature": False}, why)
    if time is not None:
        columns[time] = ColumnGuess(time, {"type": "time"}, "when a row happened")
    truth = _truth(facts, target)
    seen = [name for name, column in columns.items() if column.reaches_model]
    telling = leaks.alone(frame, types, truth, target.task, seen)
    for name, figure in telling.items():
        tells = f"tells the target almost alone ({figure}): known only afterwards?"
        if len(telling) < len(seen):
            keys = {"type": types[name], "leaks": True}
            columns[name] = ColumnGuess(name, keys, f"{tells} Else remove leaks")
        else:  # then a model of what tells it is all there can be
            columns[name] = replace(columns[name], why=f"{tells} Then add leaks: true")
    sensitive = [name for name in seen if words.describes_a_person(name) and not columns[name].why]
    for name in sensitive:
        keys = {**columns[name].keys, "personal": "indirect"}
        columns[name] = replace(columns[name], keys=keys, why="describes a person; see fairness")
    features = _features(facts, time)
    if not features and not any(column.reaches_model for column in columns.values()):
        reasons = "; ".join(f"{column.name}: {column.why or 'text'}" for column in columns.values())
        raise SourceError(
            f"There is nothing to learn '{target.name}' from. {reasons[:600] or 'It is alone'}. "
            "Bring columns of numbers or categories that are known before the answer is."
        )
    how_split, why_split = _split(facts, truth, target, time, group)
    return Guesses(
        rows=facts.rows,
        target=target,
        columns=list(columns.values()),
        key=key,
        time=time,
        split=how_split,
        why_split=why_split,
        features=features,
        left_out=left_out or {},
        sensitive=[name for name in sensitive if facts.distinct[name] <= _MOST_GROUPS],
    )


def unspeakable(schema: pl.Schema, target: str) -> dict[str, str]:
    """Return the columns that no contract can speak of, and why.

    Raises:
        SourceError: the target is one of them.
    """
    found = {}
    for known, name in alike_but_for_case([target, *schema]):
        found[name] = f"differs from {known} in case alone: rename it"
    for name, dtype in schema.items():
        if not name.strip() or _CONTROL.search(name):
            found[name] = "rename it with letters, and without control characters"
        elif dtype.is_nested() or dtype in {pl.Binary, pl.Object}:
            found[name] = "it holds lists, objects or bytes: make columns of what matters in them"
    if target in found:
        raise SourceError(f"The target {target!r} cannot be predicted: {found[target]}.")
    return found


def _time(facts: Facts, names: list[str]) -> str | None:
    found = [
        (rank, -facts.distinct[name], place, name)
        for place, name in enumerate(names)
        if facts.types[name] == "time"
        and (rank := words.event_rank(name)) is not None
        and facts.missing[name] <= 0.05 * facts.rows
        and facts.distinct[name] > 1
    ]
    return min(found)[-1] if found else None


def _truth(facts: Facts, target: TargetGuess) -> np.ndarray:
    values = facts.frame.get_column(target.name)
    if target.task == "regression":
        return values.cast(pl.Float64).to_numpy()
    if target.task == "binary":
        return (values == target.positive).cast(pl.Float64).to_numpy()
    places = dict(zip(target.classes, range(len(target.classes)), strict=True))
    return values.replace_strict(places, default=None, return_dtype=pl.Float64).to_numpy()


def _split(
    facts: Facts, truth: np.ndarray, target: TargetGuess, time: str | None, group: str | None
) -> tuple[dict[str, str], str]:
    ways = []
    if time is not None and facts.rows - target.unlabelled >= _FEWEST_TO_SPLIT_BY_TIME:
        ways.append(({"by": "time"}, "the newest rows are the test, as the future will be"))
    if group is not None:
        ways.append(({"by": "group", "group": group}, f"rows of one {group} stay on one side"))
    for how, why in ways:
        try:
            _try_split(facts, truth, target, time, how)
        except SplitError:
            continue  # a part would lack rows or a class, and chance deals better
        return how, why
    spread = "target spread alike" if target.task == "regression" else "classes in equal shares"
    try:
        _try_split(facts, truth, target, time, {"by": "stratified"})
    except SplitError as error:
        raise SourceError(f"There are too few rows to learn and to judge. {error}") from error
    return {"by": "stratified"}, f"by chance, with the {spread}"


def _try_split(
    facts: Facts, truth: np.ndarray, target: TargetGuess, time: str | None, how: dict[str, str]
) -> None:
    """Split as a run will.

    Raises:
        SplitError: a part would be empty or lack what it needs.
    """
    contract = Contract.model_validate({
        "project": "trial",
        "problem": {"task": target.task, "target": target.name},
        "goals": [{"metric": "latency_p99", "at_most": "1 s"}],
        "data": {"source": "-", "time": time, "split": how},
    })  # fmt: skip
    moments = {time: "time"} if time is not None else {}
    seen = from_frame(facts.frame, moments)
    parts = split(facts.frame, seen, contract, truth, contract.model.seed)
    if target.task != "regression" and len(np.unique(truth[parts.train])) < len(target.classes):
        raise SplitError("No training row has one of the classes.")


def _features(facts: Facts, time: str | None) -> dict[str, str]:
    if time is None:
        return {}
    moments = facts.frame.get_column(time).drop_nulls()
    column = _in_row_sql(time)
    wanted = {"weekday": f"extract(dow from {column})"}
    if (moments.dt.hour() != 0).any():
        wanted["hour"] = f"extract(hour from {column})"
    return {name: sql for name, sql in wanted.items() if name not in facts.types}


def _in_row_sql(name: str) -> str:
    """Return a column's name as row SQL reads it: in quotes unless it is plain and no keyword."""
    is_plain = re.fullmatch(r"[A-Za-z_]\w*", name) is not None
    try:
        if is_plain and row_sql.names(f"extract(dow from {name})") == (name,):
            return name
    except RowSqlError:
        pass  # a word of SQL, such as when
    return '"' + name.replace('"', '""') + '"'
