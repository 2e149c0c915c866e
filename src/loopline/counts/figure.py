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
    return Figure(hits / rows, 0.0, *wilson(hits / rows, rows))


def wilson(share: float, rows: float) -> tuple[float, float]:
    """Return the 95 % interval of a share of so many (Wilson, 1927)."""
    square = Z**2
    middle = (share + square / (2 * rows)) / (1 + square / rows)
    half = Z / (1 + square / rows) * sqrt(share * (1 - share) / rows + square / (4 * rows**2))
    return max(middle - half, 0.0), min(middle + half, 1.0)
