"""Numbers into cells: the compiled kernel, and its numpy twin with the same integers.

A cell is the leading bits of a float64 (sign, exponent and the first bits of the mantissa) in the
order of the numbers: a log-linear grid that needs no reference and no agreement beforehand.
"""

import ctypes
from functools import cache
from typing import Any

import numpy as np

from loopline.kernels.library import library

Cells = tuple[np.ndarray, np.ndarray, tuple[int, int, int]]
"""Cells in rising order, how many numbers lie in each, and how many are missing, -inf, +inf."""


def count(values: np.ndarray, *, offset: float, shift: int) -> Cells:
    """Count float64 `values` less `offset`, leaving off the last `shift` bits.

    Raises:
        MemoryError: the table of cells does not fit into memory.
    """
    found = _functions()
    values = np.ascontiguousarray(values, np.float64)
    if found is None:
        return twin(values, offset=offset, shift=shift)
    new, free, add, used, read = found
    special = np.zeros(3, np.int64)
    table = new()
    if not table:
        raise MemoryError("no room for a table of cells")
    try:
        add(table, values.ctypes.data, len(values), None, 0, offset, shift, special.ctypes.data)
        size = used(table)
        if size < 0:
            raise MemoryError("no room for a larger table of cells")
        cells, counts = np.empty(size, np.int64), np.empty(size, np.int64)
        read(table, cells.ctypes.data, counts.ctypes.data)
    finally:
        free(table)
    order = cells.argsort()
    missing, low, high = special.tolist()
    return cells[order], counts[order], (missing, low, high)


def twin(values: np.ndarray, *, offset: float, shift: int) -> Cells:
    """Count as `count` does, in numpy alone."""
    missing = np.isnan(values)
    infinite = np.isinf(values)
    finite = values[~missing & ~infinite]
    cells, counts = np.unique(cells_of(finite, offset, shift), return_counts=True)
    low = int((values == -np.inf).sum())
    return cells, counts, (int(missing.sum()), low, int(infinite.sum()) - low)


def cells_of(finite: np.ndarray, offset: float, shift: int) -> np.ndarray:
    """Return the cell of each finite number less `offset`."""
    with np.errstate(over="ignore"):
        bits = (finite - offset + 0.0).view(np.int64)
    size = (bits & np.iinfo(np.int64).max) >> shift
    cells: np.ndarray = np.where(bits < 0, -size - 1, size)
    return cells


def lower_edges(cells: np.ndarray, shift: int) -> np.ndarray:
    """Return the smallest number of each cell (for one below zero: its limit towards -inf)."""
    sizes = np.where(cells < 0, -cells, cells) << shift
    sizes = np.minimum(sizes, np.float64(np.finfo(np.float64).max).view(np.int64))
    magnitudes = sizes.astype(np.int64).view(np.float64)
    edges: np.ndarray = np.where(cells < 0, -magnitudes, magnitudes)
    return edges


@cache
def _functions() -> tuple[Any, ...] | None:
    found = library()
    if found is None:
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    new, free = found.loopline_cells_new, found.loopline_cells_free
    add, used, read = found.loopline_cells_add, found.loopline_cells_used, found.loopline_cells_read
    new.restype, new.argtypes = pointer, []
    free.restype, free.argtypes = None, [pointer]
    add.restype = None
    add.argtypes = [
        pointer, pointer, number, pointer, number, ctypes.c_double, ctypes.c_int, pointer
    ]  # fmt: skip
    used.restype, used.argtypes = number, [pointer]
    read.restype, read.argtypes = None, [pointer, pointer, pointer]
    return new, free, add, used, read
