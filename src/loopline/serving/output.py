"""What a scored batch looks like: our own columns, and those of the input that are kept."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from loopline.data.batches import Incoming
from loopline.data.columns import SPACE
from loopline.data.streams import AS_JSON
from loopline.errors import DataError
from loopline.model.signature import Signature, outputs
from loopline.serving.parts import PREDICTION_ID

ALL = "all"


def check_columns(incoming: Incoming, signature: Signature, name: str) -> None:
    """Refuse what lacks a column that the model needs, before a row is scored."""
    needed = [column.name for column in signature.inputs if column.required]
    for source in incoming.sources:
        there = {column.strip(SPACE) for column in source.schema.names}
        absent = [column for column in needed if column not in there]
        if absent and (source.rows != 0 or there):
            raise DataError(
                f"{source.name} has no column {listed(absent)}, and {name} needs it. It has "
                f"{listed(source.schema.names)}. Write the column, with no value where it is not "
                "known."
            )


def kept_of(incoming: Incoming, signature: Signature, keep: Sequence[str]) -> pa.Schema:
    """Return the input columns that are carried along, the key always among them."""
    known: dict[str, pa.Field] = {}
    for source in incoming.sources:
        for field in source.schema:
            if field.name not in known or pa.types.is_null(known[field.name].type):
                known[field.name] = pa.field(field.name, _written(field.type))
    if keep == (ALL,):
        return pa.schema(list(known.values()))
    absent = [name for name in keep if name not in known]
    if absent:
        raise DataError(f"--keep {absent[0]}: there is no such column. There are {listed(known)}.")
    names = [signature.key] if signature.key in known else []
    return pa.schema([known[name] for name in dict.fromkeys([*names, *keep]) if name is not None])


def _written(kind: pa.DataType) -> pa.DataType:
    """Return the type in which a column is carried along."""
    if pa.types.is_dictionary(kind):
        return _written(kind.value_type)
    is_text = pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return pa.string() if is_text or pa.types.is_null(kind) else kind


def schema_of(signature: Signature, kept: pa.Schema) -> pa.Schema:
    """Return the columns of what is written: the id, what is kept, and what the model says."""
    said = [(PREDICTION_ID, pa.string())]
    if signature.task != "regression":
        said.append(("label", pa.string()))
    classes = max(1, len(signature.classes))
    some = np.zeros((0, classes)) if signature.task == "multiclass" else np.zeros(0)
    said += [(name, pa.float64()) for name in outputs(signature, some)]
    said.append(("version", pa.int64()))
    own = {name.lower() for name, _ in said}
    # Delta tells no case apart, and a column that is called as ours would hide it.
    carried = [
        pa.field(f"input_{f.name}", f.type, metadata={"from": f.name}) if f.name.lower() in own
        else f
        for f in kept
    ]  # fmt: skip
    first, *rest = [pa.field(*each) for each in said]
    return pa.schema([first, *carried, *rest])


def carried(batch: pa.RecordBatch, name: str, kind: pa.DataType) -> pa.Array:
    """Return a column of the batch as it is carried along."""
    place = batch.schema.get_field_index(name)
    if place < 0:
        return pa.nulls(batch.num_rows, kind)
    values = batch.column(place)
    if batch.schema.field(place).metadata == AS_JSON:
        read = [None if text is None else msgspec.json.decode(text) for text in values.to_pylist()]
        texts = zip(values.to_pylist(), read, strict=True)
        values = pa.array([v if isinstance(v, str) else text for text, v in texts], pa.string())
    if values.type == kind:
        return values
    try:
        return values.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"The column {name} is {kind} in the first rows, and further on there is what is none: "
            f"{str(error).splitlines()[0]}. Leave it out of --keep."
        ) from error


def listed(names: Any) -> str:
    """Return the first names of many, and how many more there are."""
    shown = list(names)
    more = f" and {len(shown) - 20} more" if len(shown) > 20 else ""
    return ", ".join(f"'{name:.60}'" for name in shown[:20]) + more
