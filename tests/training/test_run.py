"""Training on real data: the same twice, killed or not, and recorded."""

import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from loopline.errors import TrainingError
from loopline.store.database import Database
from loopline.training import run as running
from loopline.training.run import Run, record, recorded, train

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def learn(material, project, **kwargs):
    kwargs = {"home": project / ".home", "now": NOW, "progress": lambda *_: None} | kwargs
    return train(material, root=project, **kwargs)


@pytest.fixture
def iris(toy):
    data = load_iris()
    names = ["a", "b", "c", "d"]
    columns = dict(zip(names, data.data.T.tolist(), strict=True))
    kinds = [data.target_names[place] for place in data.target]
    types = dict.fromkeys(names, "number") | {"kind": "category"}
    return lambda **model: toy(
        columns | {"kind": kinds}, types,
        problem={"task": "multiclass", "target": "kind"}, model=model,
    )  # fmt: skip


@pytest.fixture
def diabetes(toy):
    data = load_diabetes()
    types = dict.fromkeys([*data.feature_names, "y"], "number")
    columns = dict(zip(data.feature_names, data.data.T.tolist(), strict=True))
    return lambda costs=None, **model: toy(
        columns | {"y": data.target.tolist()}, types,
        problem={"task": "regression", "target": "y"} | ({"costs": costs} if costs else {}),
        model=model,
    )  # fmt: skip


def test_the_same_seed_and_snapshot_give_the_same_model_to_the_bit(german_credit, project):
    first, second = (learn(german_credit(model={"trials": 6}), project) for _ in range(2))

    assert first.run.id != second.run.id
    assert [t.value for t in first.run.trials] == [t.value for t in second.run.trials]
    rows = german_credit().columns
    assert (first.original.scores(rows) == second.original.scores(rows)).all()
    assert pickle.dumps(first.original.estimator) == pickle.dumps(second.original.estimator)


def test_another_seed_searches_elsewhere(german_credit, project):
    first = learn(german_credit(model={"trials": 6}), project)
    second = learn(german_credit(model={"trials": 6, "seed": 8}), project)

    assert [t.parameters for t in first.run.trials] != [t.parameters for t in second.run.trials]


def test_the_linear_default_equals_a_pipeline_written_by_hand(german_credit, project):
    material = german_credit(model={"candidates": ["linear"], "trials": 1})
    numbers = [name for name, kind in material.types.items() if kind == "number"]
    texts = [name for name, kind in material.types.items() if kind == "category"]
    numbers.remove("credit_risk")

    trained = learn(material, project)

    frame = pl.DataFrame({name: material.columns[name] for name in [*numbers, *texts]}).to_pandas()
    by_hand = make_pipeline(
        ColumnTransformer(
            [
                ("n", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
                ("c", OneHotEncoder(handle_unknown="ignore"), texts),
            ]
        ),
        LogisticRegression(max_iter=1000),
    )
    truth, parts = material.target.values, material.parts
    by_hand.fit(frame.iloc[parts.train], truth[parts.train])
    expected = by_hand.predict_proba(frame)[:, 1]
    found = trained.original.scores(material.columns)
    assert found == pytest.approx(expected, abs=2e-3)
    own = log_loss(truth[parts.validation], found[parts.validation])
    assert trained.run.metrics == {"log_loss": pytest.approx(own)}


def test_every_task_beats_knowing_nothing(german_credit, iris, diabetes, project):
    binary = learn(german_credit(model={"trials": 4}), project)
    classes = learn(iris(trials=4), project)
    number = learn(diabetes(trials=4), project)

    truth = german_credit().target.values
    share = truth.mean()
    assert binary.run.metrics["log_loss"] < log_loss(truth, np.full(1000, share)) - 0.05
    assert classes.run.metrics["log_loss"] < 0.3
    assert number.run.metrics["rmse"] < load_diabetes().target.std() * 0.9
    assert classes.original.scores(iris().columns).shape == (150, 3)


def test_a_regression_with_prices_learns_the_quantile_that_costs_least(diabetes, project):
    material = diabetes({"under": 9, "over": 1}, candidates=["boosted_trees"], trials=1)

    trained = learn(material, project)

    below = material.target.values < trained.original.scores(material.columns)
    assert trained.run.objective == "cost_per_prediction"
    assert 0.8 < below.mean() < 0.97


def test_missing_and_unseen_values_are_answered(german_credit, project):
    material = german_credit(model={"trials": 2})
    trained = learn(material, project)
    rows = {name: values[:3].copy() for name, values in material.columns.items()}
    for values in rows.values():
        values[0] = None if values.dtype == object else np.nan
        values[1] = "never seen" if values.dtype == object else 1e9

    scores = trained.original.scores(rows)

    assert np.isfinite(scores).all()


def test_a_large_search_looks_at_a_sample_and_the_final_fit_at_all(
    german_credit, project, monkeypatch
):
    monkeypatch.setattr(running, "SEARCH_ROWS", 100)
    seen = []
    fit = running._Bench.fit
    monkeypatch.setattr(
        running._Bench,
        "fit",
        lambda self, name, parameters, part: (
            seen.append(self._parts[part]) or fit(self, name, parameters, part)
        ),
    )

    learn(german_credit(model={"trials": 3}), project)

    assert [len(rows) for rows in seen] == [100, 100, 100, 700]
    assert seen[0].max() > 800  # of all the rows, not the first ones


def test_progress_tells_each_trial(german_credit, project):
    told = []

    learn(german_credit(model={"trials": 2}), project, progress=lambda *said: told.append(said))

    assert told[0][0] == "train"
    assert told[0][1].startswith("trial 1 of 2: linear, log_loss 0.")
    assert told[-1][1].endswith("on 700 rows")


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path({tests!r})))
import conftest, polars as pl
from loopline.training.run import train
frame = pl.read_csv({csv!r})
kinds = {{pl.String: "category"}}
types = {{name: kinds.get(kind, "number") for name, kind in frame.schema.items()}}
material = conftest.gather({{
    "problem": {{"task": "binary", "target": "credit_risk"}}, "model": {{"trials": 8}},
    "data": {{"source": "x", "columns": {{name: {{}} for name in types}}}}}}, frame, types)
root = Path({root!r})
train(material, root=root, home=root / ".home", now=conftest.NOW, progress=lambda *_: None)
"""


def test_a_killed_search_goes_on_to_the_same_model(german_credit, german_credit_csv, project):
    whole = learn(german_credit(model={"trials": 8}), project, home=project / ".other")
    folder = Path(__file__).parent
    code = KILLED.format(tests=str(folder), csv=str(german_credit_csv), root=str(project))
    child = subprocess.Popen([sys.executable, "-c", code])
    studies = project / ".home" / "studies"
    deadline = time.monotonic() + 60
    while child.poll() is None and time.monotonic() < deadline:
        lines = [path.read_bytes().count(b"\n") for path in studies.glob("*.jsonl")]
        if lines and lines[0] >= 3:
            os.kill(child.pid, signal.SIGKILL)
            break
        time.sleep(0.01)
    assert child.wait(60) == -signal.SIGKILL
    fits = []

    resumed = learn(
        german_credit(model={"trials": 8}), project, progress=lambda *said: fits.append(said)
    )

    assert 1 < len(fits) <= 8 - 3 + 1
    plain = [replace(trial, seconds=0.0) for trial in resumed.run.trials]
    assert plain == [replace(trial, seconds=0.0) for trial in whole.run.trials]
    rows = german_credit().columns
    assert (resumed.original.scores(rows) == whole.original.scores(rows)).all()
    assert list(studies.iterdir()) == []


def test_what_cannot_be_learned_is_refused(toy, project):
    kinds = ["a", "b"] * 15 + ["c"] * 10
    times = np.datetime64("2026-01-01", "us") + np.arange(40) * np.timedelta64(1, "h")
    material = toy(
        {"x": [1.0] * 40, "t": times, "y": ["a"] * 2 + kinds[:-2]},
        {"x": "number", "t": "time", "y": "category"},
        problem={"task": "multiclass", "target": "y"},
        data={"time": "t"},
    )
    parts = replace(material.parts, train=np.arange(20), validation=np.arange(20, 32))

    with pytest.raises(TrainingError, match="No training row has the target c"):
        learn(replace(material, parts=parts), project)
    with pytest.raises(TrainingError, match="None of the validation rows"):
        learn(replace(material, parts=replace(parts, validation=np.arange(0))), project)


def test_a_run_is_recorded_at_once_and_read_back(german_credit, project):
    run = learn(german_credit(model={"trials": 2}), project).run
    database = Database(f"sqlite:///{project / 'x.db'}")
    record(replace(run, id="first", started_at="2026-01-01T00:00:00Z"), database)

    began = time.perf_counter()
    record(run, database)
    seconds = time.perf_counter() - began

    assert seconds < 0.1
    assert recorded(database, "lesson")[1] == run
    assert recorded(database, "other") == []
    assert msgspec.json.decode(msgspec.json.encode(run), type=Run) == run
    assert run.environment["scikit-learn"]
    assert run.split["rows"] == {"train": 700, "validation": 150, "test": 150}
    database.close()
