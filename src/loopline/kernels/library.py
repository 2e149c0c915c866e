"""The compiled kernels, where the package was built with a C compiler."""

import ctypes
from functools import cache
from pathlib import Path

_LIBRARY = Path(__file__).with_name("_kernels.so")


@cache
def library() -> ctypes.CDLL | None:
    """Return the loaded library; None means that the numpy twins answer."""
    return ctypes.CDLL(str(_LIBRARY)) if _LIBRARY.exists() else None
