"""A figure from counts, with how far cells may have moved it and what chance makes of it."""

from dataclasses import dataclass
from math import sqrt

Z = 1.959963984540054
"""Standard errors on either side of a 95 % interval."""


@dataclass(frozen=True)
class Figure:
    """One figure from counts."""

    value: float
    bound: float
    """How far the figure of the values themselves may be from it; 0 where counts are exact."""
    low: float
    high: float
    """The 95 % interval for the chance in the rows, widened by `bound`."""
    spread: float = 0.0
    """Its standard error, where the interval is made from one."""


def around(value: float, bound: float, spread: float, least: float, most: float) -> Figure:
    """Return a value with what its standard error (`spread`) and its cells make of it."""
    wide = Z * spread + bound
    return Figure(value, bound, max(value - wide, least), min(value + wide, most), spread)


def share(hits: int, rows: int) -> Figure:
    """Return a share with Wilson's interval (1927); exact."""
    value = hits / rows
    square = Z**2
    middle = (value + square / (2 * rows)) / (1 + square / rows)
    half = Z / (1 + square / rows) * sqrt(value * (1 - value) / rows + square / (4 * rows**2))
    return Figure(value, 0.0, max(middle - half, 0.0), min(middle + half, 1.0))
