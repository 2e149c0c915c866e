"""Columns of numpy arrays as bytes, between the server and a model's worker."""

import msgspec
import numpy as np

from loopline.data.columns import Columns


def pack(columns: Columns) -> bytes:
    """Return `columns` as bytes: texts as a list, numbers and times as their memory."""
    return msgspec.msgpack.encode(
        {
            name: [values.dtype.str, list(values.shape), values.tolist()]
            if values.dtype.kind == "O"
            else [values.dtype.str, list(values.shape), np.ascontiguousarray(values).tobytes()]
            for name, values in columns.items()
        }
    )


def unpack(message: bytes) -> Columns:
    """Return what `pack` packed."""
    found: Columns = {}
    for name, (kind, shape, content) in msgspec.msgpack.decode(message).items():
        if isinstance(content, bytes):
            found[name] = np.frombuffer(content, np.dtype(kind)).reshape(shape)
        else:
            values = np.empty(len(content), dtype=object)
            values[:] = content
            found[name] = values
    return found
