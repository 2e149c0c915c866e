"""Whether a column of texts has any that must be touched: most have none, and are left as they are.

To strip a column copies it, and a regular expression a row costs as much as reading the file.
Looking at each text's first and last byte costs a nanosecond or two.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from loopline.kernels.library import library

_SPACED, _POINTED = 1, 2


class Marks(NamedTuple):
    """What may be found in a column of texts; what is False is not there."""

    is_spaced: bool
    """A text begins or ends with a space, a control, or a sign beyond ASCII, which may be one."""
    is_pointed: bool
    """A text ends with a point and zeros, as 5.0 does."""


def marks(chunks: Any) -> Marks:
    """Return what may be found in the chunks of an Arrow column.

    Everything may, where its texts are not kept as views, or this is not compiled.
    """
    look = _function()
    if look is None or str(chunks.type) != "string_view":
        return Marks(is_spaced=True, is_pointed=True)
    found = 0
    for chunk in chunks.iterchunks():
        valid, views, *texts = chunk.buffers()
        if len(chunk) == 0 or found == _SPACED | _POINTED:
            continue
        places = (ctypes.c_void_p * len(texts))(*(text.address for text in texts))
        found |= look(
            views.address, None if valid is None else valid.address, chunk.offset, len(chunk),
            places,
        )  # fmt: skip
    return Marks(is_spaced=bool(found & _SPACED), is_pointed=bool(found & _POINTED))


@cache
def _function() -> Callable[..., int] | None:
    # A library that was compiled before this was written lacks it, until the next build.
    function = getattr(library(), "loopline_texts_marks", None)
    if function is None:
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    function.restype = ctypes.c_int
    function.argtypes = [pointer, pointer, number, number, ctypes.POINTER(pointer)]
    found: Callable[..., int] = function
    return found
