"""Training, validation and test rows: by time, group, stratified chance or the key's hash.

A split that cannot be trusted is refused: an empty part, or a part without both classes, measures
nothing. Rows without a known target are in no part; they are counted, never guessed.
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from loopline.contract.schema import Contract
from loopline.data.columns import Columns, canonical_text
from loopline.data.identity import chance, row_numbers, text_number
from loopline.errors import SplitError

_NAMES = ("train", "validation", "test")
_STRATA, _ROWS_PER_STRATUM = 10, 10


@dataclass(frozen=True)
class Parts:
    """Places of the rows of each part, ascending."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    description: dict[str, Any]
    """How the parts were made: sizes, bounds, seed, what was left out; plain JSON."""
    numbers: np.ndarray
    """What every row, in a part or not, is known by in other snapshots: `identity.py`."""


def split(
    frame: pl.DataFrame, columns: Columns, contract: Contract, truth: np.ndarray, seed: int
) -> Parts:
    """Return the parts of the rows whose target is known.

    Args:
        frame: typed as the contract says.
        columns: the same rows as arrays.
        contract: says how, and which shares.
        truth: the target of every row as a number, NaN where it is not known.
        seed: of the chance in a split by group or stratified.

    Raises:
        SplitError: a part would be empty or lack a class, or a column that is needed is missing.
    """
    how = contract.data.split
    numbers = row_numbers(frame, columns, contract.data.key)
    left_out: dict[str, int] = {"target unknown": int(np.isnan(truth).sum())}
    places = np.flatnonzero(~np.isnan(truth))
    places = _in_window(places, columns, contract, left_out)
    if how.by == "time":
        places, part_of = _by_time(places, columns, contract, left_out)
    elif how.by == "group":
        part_of = _by_group(places, frame, contract, seed)
    elif how.by == "hash":
        places, part_of = _by_hash(places, frame, contract, left_out)
    else:
        part_of = _stratified(truth[places], contract, chance(numbers[places], seed))
    parts = [places[part_of == number] for number in range(3)]
    _check(parts, truth, contract)
    description = _describe(parts, columns, contract, truth)
    description["left_out"] = {reason: rows for reason, rows in left_out.items() if rows}
    if how.by in {"group", "stratified"}:
        description["seed"] = seed
    return Parts(parts[0], parts[1], parts[2], description, numbers)


def _in_window(
    places: np.ndarray, columns: Columns, contract: Contract, left_out: dict[str, int]
) -> np.ndarray:
    window = contract.data.window
    if window is None or not len(places):
        return places
    times = columns[_needed(contract.data.time, "data.window", "data.time")][places]
    if np.isnat(times).all():
        return places
    oldest = np.nanmax(times) - np.timedelta64(window // timedelta(microseconds=1), "us")
    outside = times < oldest
    left_out["older than the window"] = int(outside.sum())
    inside: np.ndarray = places[~outside]
    return inside


def _by_time(
    places: np.ndarray, columns: Columns, contract: Contract, left_out: dict[str, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Cut at two moments; rows of one moment stay together, on the later side."""
    times = columns[_needed(contract.data.time, "split by time", "data.time")][places]
    known = ~np.isnat(times)
    left_out["time unknown"] = int((~known).sum())
    places, times = places[known], times[known]
    if not len(places):
        raise SplitError(f"No row has both a target and a time ({contract.data.time}).")
    ordered = np.sort(times)
    part_of = np.zeros(len(places), dtype=np.int8)
    for cut in _cuts(len(places), contract):
        part_of += times >= ordered[min(cut, len(ordered) - 1)]
    return places, part_of


def _by_group(places: np.ndarray, frame: pl.DataFrame, contract: Contract, seed: int) -> np.ndarray:
    """Deal whole groups, in an order that chance gives, until each part has its share."""
    group = _needed(contract.data.split.group, "split by group", "data.split.group")
    series = frame.get_column(group)[places].cast(pl.String).fill_null("")
    names, members = np.unique(series.to_numpy(), return_inverse=True)
    sizes = np.bincount(members)
    known = np.array([text_number(name) for name in names.tolist()], np.uint64)
    order = np.argsort(chance(known, seed), kind="stable")
    middles = np.cumsum(sizes[order]) - sizes[order] / 2
    part_of_group = np.empty(len(names), dtype=np.int8)
    part_of_group[order] = np.searchsorted(_cuts(len(places), contract), middles, side="right")
    return part_of_group[members]


def _by_hash(
    places: np.ndarray, frame: pl.DataFrame, contract: Contract, left_out: dict[str, int]
) -> tuple[np.ndarray, np.ndarray]:
    """A key is in the same part for ever, whatever rows come or go: no seed has a say."""
    key = _needed(contract.data.key, "split by hash", "data.key")
    texts = [canonical_text(value) for value in frame.get_column(key)[places].to_list()]
    known = np.array([text is not None for text in texts], dtype=bool)
    left_out["key missing"] = int((~known).sum())
    digests = b"".join(
        hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts if text is not None
    )
    chance = np.frombuffer(digests, dtype=">u8") / 2.0**64
    how = contract.data.split
    bounds = [how.train, how.train + how.validation]
    return places[known], np.searchsorted(bounds, chance, side="right").astype(np.int8)


def _stratified(truth: np.ndarray, contract: Contract, drawn: np.ndarray) -> np.ndarray:
    """Deal the rows of each class, or of each tenth of a number's range, by the chance they drew.

    That is a row's own, so when rows come or go nearly all others stay in their part.
    """
    strata = truth
    if contract.problem.task == "regression":
        ranks = np.argsort(np.argsort(truth, kind="stable"), kind="stable")
        count = min(_STRATA, max(1, len(truth) // _ROWS_PER_STRATUM))
        strata = ranks * count // max(len(truth), 1)
    part_of = np.empty(len(truth), dtype=np.int8)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        members = members[np.argsort(drawn[members], kind="stable")]
        cuts = _in_each_part(len(members), _cuts(len(members), contract))
        part_of[members] = np.searchsorted(cuts, np.arange(len(members)), side="right")
    return part_of


def _in_each_part(rows: int, cuts: list[int]) -> list[int]:
    """Move cuts that would leave a part without a row, where there are rows for all three."""
    if rows < len(_NAMES):
        return cuts
    first = min(max(cuts[0], 1), rows - 2)
    return [first, min(max(cuts[1], first + 1), rows - 1)]


def _cuts(rows: int, contract: Contract) -> list[int]:
    how = contract.data.split
    return [round(how.train * rows), round((how.train + how.validation) * rows)]


def _needed(name: str | None, what: str, setting: str) -> str:
    if name is None:
        raise SplitError(f"A {what} needs {setting} in loopline.yaml.")
    return name


def _check(parts: list[np.ndarray], truth: np.ndarray, contract: Contract) -> None:
    by = contract.data.split.by
    for name, places in zip(_NAMES, parts, strict=True):
        sizes = ", ".join(f"{n} {len(p):,}" for n, p in zip(_NAMES, parts, strict=True))
        if not len(places):
            raise SplitError(
                f"The {name} part of the split by {by} is empty ({sizes} rows). "
                "Bring more rows, or change data.split in loopline.yaml."
            )
        wanted = {"binary": 2, "multiclass": 2}.get(contract.problem.task, 0)
        if len(np.unique(truth[places])) < wanted:
            raise SplitError(
                f"The {name} part of the split by {by} ({sizes} rows) holds one class only, so "
                "nothing can be measured there. Bring more rows, or change data.split."
            )


def _describe(
    parts: list[np.ndarray], columns: Columns, contract: Contract, truth: np.ndarray
) -> dict[str, Any]:
    how, named = contract.data.split, dict(zip(_NAMES, parts, strict=True))
    description: dict[str, Any] = {
        "by": how.by,
        "rows": {name: len(places) for name, places in named.items()},
    }
    if how.group is not None:
        description["group"] = how.group
    if contract.problem.task == "binary":
        description["positive_share"] = {
            name: float(np.mean(truth[places])) for name, places in named.items()
        }
    if contract.data.time is not None:
        description["bounds"] = {
            name: _bounds(columns[contract.data.time][places]) for name, places in named.items()
        }
    return description


def _bounds(times: np.ndarray) -> list[str | None]:
    known = times[~np.isnat(times)]
    if not len(known):
        return [None, None]
    return [f"{moment}Z" for moment in (known.min(), known.max())]
