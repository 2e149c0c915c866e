"""Finds the very float64 at which a condition turns, by halving the float64 numbers in order."""

from collections.abc import Callable

import numpy as np

_LARGEST = int(np.array(np.finfo(np.float64).max).view(np.int64))
_SIGN = np.int64(np.iinfo(np.int64).min)


def last_before(
    holds: Callable[[np.ndarray], np.ndarray], count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the last numbers before `count` conditions turn, for each one that turns once.

    `holds` says of so many numbers whether each condition does. The other two arrays say what
    each condition is of the lowest number, and whether it is another of the highest.
    """
    low = np.full(count, -_LARGEST)
    high = -low
    first = holds(_number(low))
    turns = first != holds(_number(high))
    for _ in range(64):
        middle = (low >> 1) + (high >> 1) + (low & high & 1)
        same = holds(_number(middle)) == first
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return _number(low), first, turns


def _number(places: np.ndarray) -> np.ndarray:
    """Return the numbers with these places in the order of all; 0 is at 0."""
    return np.where(places < 0, -places | _SIGN, places).view(np.float64)
