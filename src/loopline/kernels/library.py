"""The compiled kernels, where the package was built with a C compiler."""

import ctypes
import zlib
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent
_LIBRARY = _FOLDER / "_kernels.so"


@cache
def library() -> ctypes.CDLL | None:
    """Return the loaded library; None means that the numpy twins answer.

    Raises:
        ImportError: it was built from other sources than lie beside it, as after a pull.
    """
    if not _LIBRARY.exists():
        return None
    found = ctypes.CDLL(str(_LIBRARY))
    if not _is_of_its_sources(found):
        raise ImportError(
            f"{_LIBRARY} was built from other sources than lie beside it, and may answer wrongly. "
            "Build it again: make setup, or pip install --no-deps --editable ."
        )
    return found


def _is_of_its_sources(found: ctypes.CDLL) -> bool:
    sources = sorted(_FOLDER.glob("*.[ch]"))
    if not any(path.suffix == ".c" for path in sources):  # an image has none
        return True
    try:
        built_from = ctypes.c_uint32.in_dll(found, "loopline_sources").value
    except ValueError:  # before it was written down
        return False
    return built_from == zlib.crc32(b"".join(path.read_bytes() for path in sources))
