"""Numerical libraries on one thread.

A sum over threads depends on how many there are, and the same seed is to give the same model on
every machine; and where cores are shared, waiting threads cost more than they bring.
"""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep BLAS and OpenMP on one thread in this block: those of libraries that are loaded now."""
    # A library that came later would know no limit: boosted trees waited seven times as long on a
    # machine whose cores others used.
    import sklearn.ensemble  # noqa: F401
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield
