"""What a data file says about itself: columns, key, time, leaks, people and how to split it."""

import re
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from loopline.errors import SourceError
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
    left_out: list[str] = field(default_factory=list)
    """Columns whose names the contract cannot hold."""
    sensitive: list[str] = field(default_factory=list)
    """Columns that fairness may be about."""


def guess(frame: pl.DataFrame, types: dict[str, str], target: TargetGuess) -> Guesses:
    """Conclude a contract's content from data.

    Args:
        frame: typed as `types` say, missing values null.
        types: column to contract type.
        target: what was concluded of the target, one of the columns.

    Raises:
        SourceError: nothing is left to learn from.
    """
    facts = Facts.of(frame, types)
    others = [name for name in types if name != target.name and not _CONTROL.search(name)]
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
    for name, figure in leaks.alone(frame, types, truth, target.task, seen).items():
        why = f"tells the target almost alone ({figure}): known only afterwards? Else remove leaks"
        columns[name] = ColumnGuess(name, {"type": types[name], "leaks": True}, why)
    sensitive = [name for name in seen if words.describes_a_person(name) and not columns[name].why]
    for name in sensitive:
        keys = {**columns[name].keys, "personal": "indirect"}
        columns[name] = replace(columns[name], keys=keys, why="describes a person; see fairness")
    if not any(column.reaches_model for column in columns.values()):
        reasons = "; ".join(f"{column.name}: {column.why or 'text'}" for column in columns.values())
        raise SourceError(f"There is nothing to learn '{target.name}' from. {reasons[:600]}")
    split, why_split = _split(facts, truth, target, time, group)
    return Guesses(
        rows=facts.rows,
        target=target,
        columns=list(columns.values()),
        key=key,
        time=time,
        split=split,
        why_split=why_split,
        features=_features(facts, time),
        left_out=[name for name in types if _CONTROL.search(name)],
        sensitive=[name for name in sensitive if facts.distinct[name] <= _MOST_GROUPS],
    )


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
    if time is not None and _can_be_cut(truth[facts.frame.get_column(time).arg_sort()], target):
        return {"by": "time"}, "the newest rows are the test, as the future will be"
    if group is not None:
        return {"by": "group", "group": group}, f"rows of one {group} stay on one side"
    if target.task == "regression":
        return {"by": "stratified"}, "by chance, with the target spread alike"
    return {"by": "stratified"}, "by chance, with the classes in equal shares"


def _can_be_cut(truth: np.ndarray, target: TargetGuess) -> bool:
    """Whether each part holds enough to learn and to judge, were the rows cut in this order."""
    known = truth[~np.isnan(truth)]
    if len(known) < _FEWEST_TO_SPLIT_BY_TIME:
        return False
    parts = np.split(known, [int(0.7 * len(known)), int(0.85 * len(known))])
    return target.task == "regression" or all(len(np.unique(part)) > 1 for part in parts)


def _features(facts: Facts, time: str | None) -> dict[str, str]:
    if time is None:
        return {}
    moments = facts.frame.get_column(time).drop_nulls()
    column = time if re.fullmatch(r"[A-Za-z_]\w*", time) else '"' + time.replace('"', '""') + '"'
    wanted = {"weekday": f"extract(dow from {column})"}
    if (moments.dt.hour() != 0).any():
        wanted["hour"] = f"extract(hour from {column})"
    return {name: sql for name, sql in wanted.items() if name not in facts.types}
