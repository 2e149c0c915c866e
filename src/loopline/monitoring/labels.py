"""Outcomes, and when one becomes a label.

The log keeps every outcome that was ever sent, in any order, twice or corrected; here the one that
was observed last counts, and among those observed at once the one that arrived last. An outcome
names a prediction, or the business key that predictions carry: then it is the label of every
prediction with that key, whichever version made it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from loopline.data.columns import FALSE, TRUE
from loopline.model.signature import Signature
from loopline.monitoring.segments import Stretch
from loopline.store.tables import Tables

NAMES = ("prediction_id", "key")
"""What an outcome may name its prediction by."""
TRUTH = "~truth"
"""The column that a join adds; no input is called so by accident."""
_OBSERVED = "~observed_at"
_ORDER = ("observed_at", "arrival", "segment", "offset", "row")
_SCHEMA: dict[str, Any] = {
    "prediction_id": pl.String,
    "key": pl.String,
    "label": pl.String,
    "observed_at": pl.Int64,
    "arrival": pl.Int64,
    "offset": pl.Int64,
    "row": pl.Int64,
}


def table(project: str) -> str:
    """Return the key of the table of outcomes."""
    return f"labels/{project}"


def outcomes(stretch: Stretch, segment: str) -> pl.DataFrame:
    """Return the outcomes in a stretch of log as rows of that table."""
    frame = pl.DataFrame(stretch.labels, schema=_SCHEMA, orient="row")
    return frame.with_columns(
        pl.col("observed_at", "arrival").cast(pl.Datetime("us", "UTC")),
        pl.lit(segment).alias("segment"),
    )


@dataclass(frozen=True)
class Labels:
    """What turned out true, as far as is known."""

    by_id: pl.DataFrame
    """By `prediction_id`: `TRUTH`, and when it was observed."""
    by_key: pl.DataFrame
    """The same by `key`."""

    def join(self, predictions: pl.LazyFrame) -> pl.LazyFrame:
        """Return `predictions` with `TRUTH`: the label's text, null where there is none."""
        own, shared = pl.col(TRUTH), pl.col(f"{TRUTH}_by_key")
        is_newer = pl.col(f"{_OBSERVED}_by_key") > pl.col(_OBSERVED)
        return (
            predictions.join(self.by_id.lazy(), on="prediction_id", how="left")
            .join(self.by_key.lazy(), on="key", how="left", suffix="_by_key")
            .with_columns(
                pl.when(own.is_null() | is_newer).then(shared).otherwise(own).alias(TRUTH)
            )
            .drop(f"{TRUTH}_by_key", _OBSERVED, f"{_OBSERVED}_by_key")
        )


def read(tables: Tables, project: str) -> Labels:
    """Return the labels of a project as they stand, from every outcome there is."""
    key = table(project)
    return of(tables.scan(key) if tables.exists(key) else empty().lazy())


def empty() -> pl.DataFrame:
    """Return a table of outcomes without any."""
    return pl.DataFrame(schema=pl.Schema({**_SCHEMA, "segment": pl.String})).with_columns(
        pl.col("observed_at", "arrival").cast(pl.Datetime("us", "UTC"))
    )


def of(rows: pl.LazyFrame) -> Labels:
    """Return what the outcomes in `rows` come to."""
    return Labels(*pl.collect_all([_last(rows, "prediction_id"), _last(rows, "key")]))


def differing(rows: pl.DataFrame, told: pl.DataFrame | None = None) -> int:
    """Return how many ids and keys, of those in `told`, have outcomes in `rows` that differ."""
    more = 0
    for name in NAMES:
        named = rows.drop_nulls(name)
        if told is not None:
            named = named.join(told, on=name, how="semi")
        labels = named.group_by(name).agg(pl.col("label").n_unique())["label"]
        more += int((labels > 1).sum())
    return more


def _last(rows: pl.LazyFrame, name: str) -> pl.LazyFrame:
    return (
        rows.filter(pl.col(name).is_not_null())
        .group_by(name)
        .agg(
            pl.col("label").sort_by(_ORDER).last().alias(TRUTH),
            pl.col("observed_at").max().alias(_OBSERVED),
        )
    )


def truth(texts: pl.Series, signature: Signature) -> np.ndarray:
    """Return labels as numbers: binary 0 or 1, a class's place, or a value; NaN for none of them.

    A binary model of yes and no, or of true and false, takes 1 and 0 as well.
    """
    if signature.task == "regression":
        return texts.cast(pl.Float64, strict=False).to_numpy().astype(np.float64)
    places = {label: float(place) for place, label in enumerate(signature.classes)}
    if signature.task == "binary" and len(signature.classes) == 2:
        for family in (FALSE, TRUE):
            found = [label for label in signature.classes if label.lower() in family]
            if len(found) == 1:
                places = dict.fromkeys(family, places[found[0]]) | places
    return (
        texts.replace_strict(places, default=None, return_dtype=pl.Float64)
        .to_numpy()
        .astype(np.float64)
    )
