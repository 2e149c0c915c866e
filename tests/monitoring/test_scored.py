"""Predictions in a scored table are judged by the outcomes beside them, wherever that runs."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn import metrics

from loopline.compute.threads import Threads
from loopline.contract.schema import Contract
from loopline.counts.kernel import count_arrays
from loopline.data import batches
from loopline.data.batches import open_incoming
from loopline.errors import SourceError
from loopline.model.signature import Input, Signature
from loopline.monitoring.reference import Reference
from loopline.monitoring.scored import Evaluated, evaluate, versions
from loopline.settings import Settings
from loopline.training.baselines import restore

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
ROWS = 900
CLASSES: dict[str, tuple[str, ...]] = {
    "binary": ("bad", "good"), "multiclass": ("a", "b", "c"), "regression": (),
}  # fmt: skip


def contract(task: str, target: str = "outcome") -> Contract:
    return Contract.model_validate(
        {
            "project": "credit",
            "problem": {"task": task, "target": target},
            "goals": [{"metric": {"regression": "mae"}.get(task, "log_loss"), "at_most": 5}],
            "data": {
                "source": "x.csv",
                "columns": {"age": {"type": "integer"}, "housing": {"type": "category"}},
            },
            "fairness": [{"by": "housing", "metric": "mae" if task == "regression" else "accuracy",
                          "ratio_at_least": 0.1, "minimum_rows": 20}],
        }
    )  # fmt: skip


def reference(task: Any) -> Reference:
    constant: Any = {"binary": 0.7, "multiclass": [0.5, 0.3, 0.2], "regression": 4.0}[task]
    return Reference(
        3,
        Signature(
            "credit", task,
            (Input("housing", "category"), Input("age", "integer"), Input("absent", "category")),
            (), CLASSES[task], 0.5 if task == "binary" else None, ("?",),
        ),
        count_arrays({"prediction": np.linspace(0, 10, 1000)}),
        restore({"name": "everyone", "threshold": 0.0, "constant": constant}),
    )  # fmt: skip


def scored(task: str) -> pl.DataFrame:
    """What `loopline score` writes, with what was kept; the outcome of every tenth is not known."""
    draw = np.random.default_rng(4)
    said: dict[str, Any] = {}
    if task == "regression":
        truth: Any = draw.uniform(0, 10, ROWS).round(2)
        said["prediction"] = truth + draw.normal(size=ROWS).round(3)
    elif task == "binary":
        chance = draw.uniform(size=ROWS).round(3)
        truth = np.where(draw.uniform(size=ROWS) < chance, "good", "bad")
        said |= {"label": np.where(chance >= 0.5, "good", "bad"), "probability": chance}
    else:
        chances = draw.dirichlet([1, 1, 1], ROWS)
        truth = np.array([draw.choice(["a", "b", "c"], p=row) for row in chances])
        said["label"] = np.array(["a", "b", "c"])[chances.argmax(axis=1)]
        said |= {f"probability of {c}": chances[:, place] for place, c in enumerate("abc")}
    known = [None if place % 10 == 0 else value for place, value in enumerate(truth.tolist())]
    return pl.DataFrame(
        {
            "prediction_id": [f"r-{place}" for place in range(ROWS)],
            "housing": draw.choice(["own", "rent", "?"], ROWS),
            "age": draw.integers(18, 80, ROWS),
            "outcome": known,
            **said,
            "version": [3] * (ROWS - 20) + [2] * 20,
        }
    )


def judged(
    root: Path, place: str, task: str, compute: Any = None, target: str = "outcome"
) -> Evaluated:
    incoming = open_incoming(place, root, Settings.read(root))
    return evaluate(contract(task, target), reference(task), incoming, compute or Threads(2))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(batches, "PIECE_ROWS", 200)
    return tmp_path


@pytest.mark.parametrize("task", list(CLASSES))
def test_the_figures_are_those_of_the_rows(root: Path, task: str) -> None:
    table = scored(task)
    table.write_parquet(root / "out.parquet", row_group_size=200)

    found = judged(root, "out.parquet", task)

    mine = table.filter(pl.col("version") == 3)
    told = mine.drop_nulls("outcome")
    figures = found.performance
    assert (found.others, figures.rows, figures.labels) == (20, ROWS - 20, len(told))
    truth = told["outcome"].to_numpy()
    if task == "regression":
        error = metrics.mean_absolute_error(truth, told["prediction"].to_numpy())
        assert figures.metrics["mae"] == pytest.approx(error, abs=figures.bounds["mae"])
    else:
        accuracy = metrics.accuracy_score(truth, told["label"].to_numpy())
        assert figures.metrics["accuracy"] == pytest.approx(accuracy, abs=1e-12)
        names = [name for name in told.columns if name.startswith("probability")]
        loss = metrics.log_loss(truth, told.select(names).to_numpy().squeeze())
        assert figures.metrics["log_loss"] == pytest.approx(loss, abs=figures.bounds["log_loss"])
    if task == "binary":
        area = metrics.roc_auc_score(truth == "good", told["probability"].to_numpy())
        assert figures.metrics["roc_auc"] == pytest.approx(area, abs=figures.bounds["roc_auc"])
    [rule] = figures.fairness
    groups = {group["group"]: group["rows"] for group in rule["groups"]}
    counted = told.filter(pl.col("housing") != "?")["housing"].value_counts()
    assert groups == dict(counted.iter_rows())
    assert figures.baseline == "everyone"


def test_on_spark_and_from_csv_the_figures_are_the_same(root: Path, spark: Any) -> None:
    scored("binary").write_parquet(root / "out.parquet", row_group_size=400)
    scored("binary").write_csv(root / "out.csv")

    here = judged(root, "out.parquet", "binary", Threads(1))

    assert judged(root, "out.parquet", "binary", spark) == here
    assert judged(root, "out.csv", "binary") == here


def test_an_outcome_that_is_worked_out_and_one_with_the_name_of_an_answer_are_found(
    root: Path,
) -> None:
    table = scored("binary").with_columns(
        pl.when(pl.col("outcome") == "good").then(31.0).when(pl.col("outcome") == "bad").then(2.0)
        .alias("days"),
        pl.col("outcome").alias("input_label"),
    )  # fmt: skip
    table.write_parquet(root / "out.parquet")
    yes = reference("binary")

    plain = judged(root, "out.parquet", "binary").performance.metrics
    renamed = judged(root, "out.parquet", "binary", target="label").performance.metrics

    assert renamed == plain
    made = contract("binary", "days > 30")
    signature = Signature("credit", "binary", yes.signature.inputs, (), ("false", "true"), 0.5)
    incoming = open_incoming("out.parquet", root, Settings.read(root))
    as_logic = Reference(3, signature, yes.profile, None)
    assert evaluate(made, as_logic, incoming, Threads(1)).performance.metrics == plain


def test_what_a_table_lacks_is_said(root: Path) -> None:
    scored("binary").drop("outcome").write_parquet(root / "out.parquet")
    scored("binary").drop("probability").write_parquet(root / "raw.parquet")
    scored("binary").with_columns(outcome=pl.lit(None, pl.String)).write_parquet(
        root / "no.parquet"
    )

    with pytest.raises(SourceError, match=r"has no column outcome, .*--keep outcome"):
        judged(root, "out.parquet", "binary")
    with pytest.raises(
        SourceError, match=r"is no table that `loopline score` wrote .* probability"
    ):
        judged(root, "raw.parquet", "binary")
    with pytest.raises(SourceError, match="880 predictions of credit:3, and none with an outcome"):
        judged(root, "no.parquet", "binary")
    incoming = open_incoming("out.parquet", root, Settings.read(root))
    assert versions(incoming) == [2, 3]
