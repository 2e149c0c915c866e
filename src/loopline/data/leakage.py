"""Whether the parts of a split, or the features, give the answer away."""

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from loopline.contract.schema import Contract
from loopline.data.columns import Columns
from loopline.data.row_sql import evaluate, parse
from loopline.data.splits import Parts
from loopline.errors import SplitError

_BINS = 100
_TELLTALE = 0.05
"""A feature that alone leaves less than this share of the error is suspicious."""
_MOST_ROWS = 100_000
_FEWEST = 20
"""Rows that may be in step by chance."""


def leakage(
    frame: pl.DataFrame,
    columns: Columns,
    contract: Contract,
    types: Mapping[str, str],
    truth: np.ndarray,
    parts: Parts,
) -> list[str]:
    """Return what looks like a leak, in sentences; nothing when all is well.

    Raises:
        SplitError: a feature uses what is known only afterwards, or a group is on both sides.
    """
    _forbid(contract, types)
    _apart(frame, contract, parts)
    return [
        *_repeated(frame, contract, types, truth, parts),
        *_telling(columns, contract, types, truth, parts),
    ]


def forbidden(contract: Contract, types: Mapping[str, str]) -> dict[str, str]:
    """Return the columns no feature may use, and why."""
    target = contract.problem.target
    columns = [target] if target in types else parse(target, types).columns
    found = dict.fromkeys(columns, "the target is made of it")
    for name, column in contract.data.columns.items():
        if column.leaks:
            found[name] = "it is known only afterwards (leaks: true)"
        elif column.personal == "direct":
            found[name] = "it is directly personal (personal: direct)"
    return found


def _forbid(contract: Contract, types: Mapping[str, str]) -> None:
    never = forbidden(contract, types)
    faults = [
        f"data.features.{name} uses {column}, but {never[column]}."
        for name, sql in contract.data.features.items()
        for column in parse(sql, types).columns
        if column in never
    ]
    if faults:
        raise SplitError("\n".join(faults))


def _apart(frame: pl.DataFrame, contract: Contract, parts: Parts) -> None:
    group = contract.data.split.group
    if group is None:
        return
    values = frame.get_column(group)
    train, rest = (values[places].unique() for places in (parts.train, _held_out(parts)))
    both = train.filter(train.is_in(rest.implode())).drop_nulls()
    if len(both):
        shown = ", ".join(str(value) for value in both.head(3))
        raise SplitError(f"{len(both)} values of {group} are in training and beyond: {shown}.")


def _repeated(
    frame: pl.DataFrame,
    contract: Contract,
    types: Mapping[str, str],
    truth: np.ndarray,
    parts: Parts,
) -> Iterator[str]:
    never, data = forbidden(contract, types), contract.data
    used = [n for n, c in data.columns.items() if c.feature and n not in never]
    used += [column for sql in data.features.values() for column in parse(sql, types).columns]
    used = [name for name in dict.fromkeys(used) if name not in {data.key, data.split.group}]
    held_out = _held_out(parts)
    if used:
        rows = frame.select(used).with_columns(pl.Series("", truth)).hash_rows(seed=0).to_numpy()
        twins = int(np.isin(rows[held_out], rows[parts.train]).sum())
        if twins:
            yield (
                f"{twins:,} of {len(held_out):,} held-out rows ({twins / len(held_out):.1%}) "
                "equal a training row in every feature and in the target: figures may flatter."
            )
    if data.key is not None and data.split.by != "hash":
        keys = frame.get_column(data.key)
        shared = keys[held_out].drop_nulls().is_in(keys[parts.train].drop_nulls().implode()).sum()
        if shared:
            yield (
                f"{shared:,} held-out rows have a {data.key} that training rows have too. "
                "Split by hash keeps a key on one side."
            )


def _telling(
    columns: Columns,
    contract: Contract,
    types: Mapping[str, str],
    truth: np.ndarray,
    parts: Parts,
) -> Iterator[str]:
    never, rows = forbidden(contract, types), len(truth)
    features = {
        name: columns[name]
        for name, column in contract.data.columns.items()
        if column.feature
        and name not in never
        and name not in {contract.data.key, contract.data.time, contract.data.split.group}
        and types[name] in {"number", "integer", "boolean", "category"}
    }
    for name, sql in contract.data.features.items():
        features[name] = evaluate(parse(sql, types).steps, columns, rows)
    train, held_out = _thinned(parts.train), _thinned(_held_out(parts))
    for name, values in features.items():
        left = _error_left(values, truth, train, held_out, contract.problem.task)
        if contract.problem.task == "regression" and values.dtype != object:
            left = min(left, 1 - in_step(values[held_out], truth[held_out]))
        if left < _TELLTALE:
            yield (
                f"{name} alone predicts the target almost perfectly: it leaves {left:.1%} of the "
                "error on held-out rows. If it is known only afterwards, write leaks: true."
            )


def in_step(values: np.ndarray, truth: np.ndarray) -> float:
    """Return the square of Spearman's rank correlation; missing values tell nothing.

    It is 1 where one always rises, or always falls, with the other. Nothing is remembered by group,
    so a copy of the target is seen among few rows too, and where a few values are huge.
    """
    known = ~np.isnan(values) & ~np.isnan(truth)
    ranks = [pl.Series(each[known]).rank().to_numpy() for each in (values, truth)]
    if known.sum() < _FEWEST or any(np.ptp(each) == 0 for each in ranks):
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1] ** 2 * known.mean())


def _error_left(
    values: np.ndarray, truth: np.ndarray, train: np.ndarray, held_out: np.ndarray, task: str
) -> float:
    """Return the error of the best guess from bins of `values`, as a share of that without."""
    bins = _binned(values, train)
    known, asked = bins[train], bins[held_out]
    if task == "regression":
        counts = np.bincount(known, minlength=bins.max() + 1)
        mean = truth[train].mean()
        sums = np.bincount(known, weights=truth[train], minlength=len(counts))
        guess = np.where(counts > 0, sums / np.maximum(counts, 1), mean)
        errors = (truth[held_out] - guess[asked]) ** 2, (truth[held_out] - mean) ** 2
    else:
        classes = int(truth[train].max()) + 1
        pairs = known * classes + truth[train].astype(np.int64)
        table = np.bincount(pairs, minlength=(bins.max() + 1) * classes).reshape(-1, classes)
        usual = int(table.sum(axis=0).argmax())
        guess = np.where(table.sum(axis=1) > 0, table.argmax(axis=1), usual)
        errors = truth[held_out] != guess[asked], truth[held_out] != usual
    without = float(np.mean(errors[1]))
    return float(np.mean(errors[0])) / without if without else 1.0


def _binned(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Return the number of each value's bin: hundredths of the training rows, or a category."""
    if values.dtype == object:
        places: dict[object, int] = {}
        numbers = [places.setdefault(value, len(places)) for value in values.tolist()]
        return np.array(numbers, dtype=np.int64)
    known = values[train][~np.isnan(values[train])]
    if not len(known):
        return np.zeros(len(values), dtype=np.int64)
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1]))
    bins: np.ndarray = np.searchsorted(edges, values, side="right")
    bins[np.isnan(values)] = len(edges) + 1
    return bins


def _held_out(parts: Parts) -> np.ndarray:
    return np.concatenate([parts.validation, parts.test])


def _thinned(places: np.ndarray) -> np.ndarray:
    return places[:: max(1, len(places) // _MOST_ROWS)]
