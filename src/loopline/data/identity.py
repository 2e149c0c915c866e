"""Which row is which, from one snapshot to the next.

A row's number depends on its key, or without one on all that it says; never on its place, nor on
the rows beside it. So a row that comes again is known again: it falls into the same part of a
split, and rows that taught one model are not taken to judge it beside another.
"""

import hashlib
from collections.abc import Collection

import numpy as np
import polars as pl

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MISSING = np.uint64(0xD1B54A32D192ED03)  # any constant: what a missing value counts as


def row_numbers(frame: pl.DataFrame, columns: Collection[str], key: str | None) -> np.ndarray:
    """Return 64 well mixed bits for each row of `frame`, of these columns.

    Rows that say the same have the same number. With `key`, that column alone decides.
    """
    names = sorted(columns) if key is None else [key]
    numbers = np.zeros(frame.height, np.uint64)
    for name in names:
        numbers = mixed(numbers ^ _values(frame.get_column(name)) ^ text_number(name))
    return numbers


def chance(numbers: np.ndarray, seed: int) -> np.ndarray:
    """Return what each number draws with `seed`: the same whatever else is drawn."""
    return mixed(numbers ^ text_number(f"seed {seed}"))


def text_number(text: str) -> np.uint64:
    """Return 64 bits for a text, the same on every machine."""
    return np.uint64(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()))


def mixed(numbers: np.ndarray) -> np.ndarray:
    """Return each number with its bits mixed (the finaliser of SplitMix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        numbers = numbers + _GOLDEN
        numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    last: np.ndarray = numbers ^ (numbers >> np.uint64(31))
    return last


def _values(series: pl.Series) -> np.ndarray:
    """Return 64 bits for each value; -0.0 and 0.0 are one."""
    if series.dtype == pl.String:
        distinct = series.drop_nulls().unique()
        known = np.array([text_number(text) for text in distinct.to_list()], np.uint64)
        places = series.replace_strict(
            distinct, pl.Series(range(len(distinct)), dtype=pl.Int64), default=len(distinct)
        )
        numbers: np.ndarray = np.append(known, _MISSING).take(places.fill_null(len(distinct)))
        return numbers
    if series.dtype.is_float():
        bits = (series.fill_null(0.0).to_numpy() + 0.0).view(np.uint64)
    else:
        bits = series.to_physical().cast(pl.Int64).fill_null(0).to_numpy().astype(np.uint64)
    return np.where(series.is_null().to_numpy(), _MISSING, bits)
