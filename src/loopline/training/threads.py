"""Numerical libraries on one thread.

A sum over threads depends on how many there are, and the same seed is to give the same model on
every machine; and where cores are shared, waiting threads cost more than they bring.
"""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep BLAS and OpenMP on one thread in this block."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield
