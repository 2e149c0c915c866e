"""The team's own estimator."""

import subprocess
import sys
from datetime import UTC, datetime

import cloudpickle
import pytest

from loopline.errors import TrainingError
from loopline.training.provenance import code
from loopline.training.run import train

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

GOOD = """
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from mine import Rounded

def build(task, seed=0):
    assert task == "binary"
    encode = OneHotEncoder(handle_unknown="ignore")
    return make_pipeline(
        make_column_transformer(
            (encode, make_column_selector(dtype_include=object)), remainder="passthrough"
        ),
        Rounded(max_iter=200, random_state=seed),
    )
"""
MINE = """
from sklearn.linear_model import LogisticRegression

class Rounded(LogisticRegression):
    def predict_proba(self, rows):
        return super().predict_proba(rows).round(3)
"""


@pytest.fixture
def own(german_credit, project):
    def make(source: str, where="model.py:build", **model):
        (project / "model.py").write_text(source)
        (project / "mine.py").write_text(MINE)
        material = german_credit(model={"train": where, **model})
        return train(
            material, root=project, home=project / ".home", now=NOW, progress=lambda *_: None
        )

    yield make
    sys.modules.pop("mine", None)


def test_the_teams_estimator_is_trained_alone_and_recorded(own):
    trained = own(GOOD)

    assert [trial.candidate for trial in trained.run.trials] == ["custom"]
    assert trained.run.metrics["log_loss"] < 0.7
    assert trained.run.environment["pandas"]
    assert trained.original.takes == "frame"


def test_it_competes_where_the_contract_names_others(own):
    trained = own(GOOD, candidates=["linear"], trials=3)

    tried = [trial.candidate for trial in trained.run.trials]
    assert tried[:2] == ["custom", "linear"]


def test_its_classes_travel_with_it(own, german_credit, tmp_path):
    trained = own(GOOD)
    rows = {name: values[:5] for name, values in german_credit().columns.items()}
    (tmp_path / "m.pkl").write_bytes(cloudpickle.dumps((trained.original, rows)))
    elsewhere = (
        "import pickle, sys; m, r = pickle.load(open(sys.argv[1], 'rb')); print(*m.scores(r))"
    )

    told = subprocess.run(
        [sys.executable, "-c", elsewhere, str(tmp_path / "m.pkl")],
        capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip

    assert [float(score) for score in told.stdout.split()] == list(trained.original.scores(rows))


@pytest.mark.parametrize(
    ("source", "where", "message"),
    [
        (GOOD, "model.py", "such as model.py:build"),
        (GOOD, "other.py:build", "there is no file other.py"),
        (GOOD, "../model.py:build", "there is no file"),
        (GOOD, "model.py:make", "has no function make"),
        ("def build(columns): pass", "model.py:build", "asks for columns. It can ask for contract"),
        ("def build():\n    return 7", "model.py:build", "returned int, which has no fit"),
        ("x = 1\ny = x / 0", "model.py:build", "^model.py:2: ZeroDivisionError"),
        ("def build():\n    return nothing", "model.py:build", "^model.py:2: NameError"),
        ("def build(:", "model.py:build", "^model.py:1: SyntaxError"),
        (
            "from sklearn.svm import LinearSVC\ndef build():\n    return LinearSVC()",
            "model.py:build",
            "has no predict_proba",
        ),
        (
            "from sklearn.linear_model import LogisticRegression\ndef build():\n"
            "    return LogisticRegression()",
            "model.py:build",
            "^model.py:build: ValueError: could not convert string",
        ),
    ],
)
def test_what_the_team_gets_wrong_is_named_with_its_place(own, source, where, message):
    with pytest.raises(TrainingError, match=message):
        own(source, where)


def test_answers_that_are_no_numbers_are_refused(own):
    source = """
import numpy as np
class Broken:
    def fit(self, rows, truth):
        return self
    def predict_proba(self, rows):
        return np.full((len(rows), 2), np.nan)
def build():
    return Broken()
"""
    with pytest.raises(TrainingError, match="contain NaN"):
        own(source)


def test_code_is_known_by_commit_and_by_hash(project):
    def git(*arguments):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        command = ["git", "-C", str(project), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    outside = code(project)
    git("init", "-q")
    unborn = code(project)
    (project / "model.py").write_text("x = 1")
    git("add", ".")
    git("commit", "-qm", "first")
    clean = code(project)
    (project / "model.py").write_text("x = 2")
    changed = code(project)

    assert outside["commit"] is outside["dirty"] is unborn["commit"] is None
    assert (clean["commit"], clean["dirty"]) == (git("rev-parse", "HEAD"), False)
    assert changed["dirty"] is True
    assert len({each["files"] for each in (outside, clean, changed)}) == 3
