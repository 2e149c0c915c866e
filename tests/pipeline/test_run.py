"""The whole way from data to a registered version: the same each time, whatever interrupts it."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sqlalchemy import select

from loopline.data.columns import from_frame
from loopline.data.snapshots import load
from loopline.data.sources.base import read
from loopline.errors import BundleRefusedError
from loopline.model.bundle import open_bundle
from loopline.model.runtimes.worker import load_original
from loopline.model.signature import matrix
from loopline.pipeline.run import Outcome, run
from loopline.pipeline.workspace import Workspace
from loopline.project import Project
from loopline.registry import proof
from loopline.registry.promotion import promote
from loopline.store.database import runs

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


class KilledError(BaseException):
    """The process ends here: nothing catches it."""


def once(root: Path, **options: Any) -> Outcome:
    options = {"now": NOW, "progress": lambda *_: None, **options}
    return run(Workspace.open(root), **options)


def untrained(trained: Path, root: Path) -> Path:
    """The project before its first run."""
    return Path(shutil.copytree(trained, root, ignore=shutil.ignore_patterns(".loopline")))


def change_contract(root: Path, old: str, new: str) -> None:
    contract = root / "loopline.yaml"
    assert old in contract.read_text()
    contract.write_text(contract.read_text().replace(old, new))


def test_the_same_run_twice_is_the_same_snapshot_and_the_same_version(
    credit_project: Path,
) -> None:
    first, second = once(credit_project), once(credit_project)

    space = Workspace.open(credit_project)
    [known] = {version.digest for version in space.registry.all()}  # the fixture's too
    assert first.version.digest == second.version.digest == known
    assert first.snapshot == second.snapshot
    assert [event.kind for event in space.ledger.events()].count("snapshot.frozen") == 1
    assert [version.number for version in space.registry.all()] == [1, 2, 3]
    assert second.report.metrics == first.report.metrics


def test_another_place_and_time_make_the_same_version(trained: Path, tmp_path: Path) -> None:
    outcome = once(untrained(trained, tmp_path / "elsewhere"), now=datetime(2030, 1, 1, tzinfo=UTC))

    assert outcome.version.digest == Workspace.open(trained).registry.get(1).digest


def test_what_is_registered_is_whole_and_answers_as_its_original(credit_project: Path) -> None:
    space = Workspace.open(credit_project)
    version = space.registry.get(1)
    space.registry.prove(version)
    bundle = open_bundle(space.objects, space.keys, version.bundle, version.bundle_digest)
    original = load_original(space.objects, space.keys, version.bundle, version.bundle_digest)
    snapshot = once(credit_project).snapshot
    columns = from_frame(load(snapshot, space.tables), snapshot.columns)

    assert bundle.plan is not None
    ours = bundle.plan.score(matrix(bundle.signature, columns))
    theirs = original.scores(columns)
    assert np.abs(ours - theirs).max() <= 1e-12
    threshold = bundle.signature.threshold
    assert threshold is not None
    assert ((ours >= threshold) == (theirs >= threshold)).all()
    assert set(bundle.profile().columns) == {*snapshot.columns, "probability"} - {"credit_risk"}
    assert version.stage == "dev"


@pytest.mark.parametrize(
    "place",
    [
        ("loopline.pipeline.run", "freeze"),
        ("loopline.data.snapshots", "asdict"),  # the table is written, and not in the ledger
        ("loopline.pipeline.run", "_prove"),
        ("loopline.pipeline.run", "record"),
        ("loopline.pipeline.run", "version_digest"),
        ("loopline.store.objects", "Objects.put"),  # the bundle's files, one by one
        ("loopline.store.objects", "Objects.create"),  # its manifest
        ("loopline.registry.versions", "Registry.register"),
        ("loopline.pipeline.run", "release_to_dev"),
        ("loopline.registry.switch", "_record"),  # the release is written, and not in the ledger
        ("loopline.pipeline.cache", "keep"),
    ],
    ids=".".join,
)
def test_a_run_that_dies_anywhere_leaves_nothing_half_and_the_next_one_completes_it(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[str, str]
) -> None:
    root = untrained(trained, tmp_path / "credit")

    def die(*_: object, **__: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(".".join(place), die)
        with pytest.raises(KilledError):
            once(root)
    registry = Workspace.open(root).registry
    left = registry.all()
    for version in left:
        registry.prove(version)
    outcome = once(root)

    space = Workspace.open(root)
    assert outcome.version.digest == Workspace.open(trained).registry.get(1).digest
    for version in space.registry.all():
        space.registry.prove(version)
    assert space.registry.serving("dev") == space.registry.get(outcome.version.number)
    assert outcome.version.number == len(left) + 1
    proof.verify(space.registry)


_KILL = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from loopline.pipeline.run import run
from loopline.pipeline.workspace import Workspace
from loopline.store.objects import Objects

def progress(stage, text):
    if text.startswith(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

put = Objects.put
def dying(self, key, content):
    put(self, key, content)
    if sys.argv[2] == key.rpartition("/")[2]:
        os.kill(os.getpid(), signal.SIGKILL)

Objects.put = dying
run(Workspace.open(Path(sys.argv[1])), now=datetime(2026, 3, 1, tzinfo=UTC), progress=progress)
"""


@pytest.mark.parametrize("moment", ["trial 2 of 3", "report.json"])
def test_killed_in_the_search_or_while_its_bundle_is_written_it_ends_in_the_same_version(
    trained: Path, tmp_path: Path, moment: str
) -> None:
    root = untrained(trained, tmp_path / "credit")

    killed = subprocess.run([sys.executable, "-c", _KILL, root, moment], timeout=60, check=False)
    space = Workspace.open(root)
    left = space.registry.all()
    said: list[str] = []
    outcome = once(root, progress=lambda _, text: said.append(text))

    assert killed.returncode == -signal.SIGKILL
    assert left == []
    assert outcome.version.number == 1
    assert outcome.version.digest == Workspace.open(trained).registry.get(1).digest
    fitted = [text for text in said if text.startswith("trial ")]
    assert len(fitted) == (1 if moment.startswith("trial") else 3)  # the rest is known already
    with space.database.read() as connection:
        recorded = list(connection.execute(select(runs.c.id)).scalars())
    assert outcome.run.id in recorded
    proof.verify(space.registry)


def test_two_runs_at_once_make_two_versions_that_are_the_same(credit_project: Path) -> None:
    command = [sys.executable, "-m", "loopline", "run", "--fresh", "--json"]
    both = [
        subprocess.Popen(
            command, cwd=credit_project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=120) for process in both]

    assert [(process.returncode, said) for process, (_, said) in zip(both, ended, strict=True)] == [
        (0, ""),
        (0, ""),
    ]
    registry = Workspace.open(credit_project).registry
    assert [version.number for version in registry.all()] == [1, 2, 3]
    assert len({version.digest for version in registry.all()}) == 1
    assert len({version.bundle for version in registry.all()}) == 3
    for version in registry.all():
        registry.prove(version)
    proof.verify(registry)


def promoted(root: Path, to: str = "production") -> Workspace:
    space = Workspace.open(root)
    promote(space.registry, 1, to, by="ada", why="first", now=NOW, contract=space.contract)
    return space


def test_a_champion_is_examined_beside_its_challenger_on_the_same_rows(
    credit_project: Path,
) -> None:
    promoted(credit_project)
    alone = Project.open(credit_project).report(1)
    change_contract(credit_project, "candidates: [linear]", "candidates: [boosted_trees]")

    outcome = once(credit_project, release=False)

    report = outcome.report
    assert (report.champion, alone.champion) == ("credit:1", None)
    # The rows are those that the champion was examined on: the snapshot and split are the same.
    figures = {name: each.value for name, each in report.champion_metrics.items()}
    assert figures == {name: each.value for name, each in alone.metrics.items()}
    paired = [each for each in report.comparisons if each.against == "credit:1"]
    assert {each.metric for each in paired} >= {report.primary}
    assert all(
        each.difference.low <= each.own - each.other <= each.difference.high for each in paired
    )
    assert any(gate.kind == "champion" for gate in report.gates)
    assert Workspace.open(credit_project).registry.get(2).stage == "none"


def test_rows_that_come_again_in_another_snapshot_do_not_judge_the_champion_they_taught(
    credit_project: Path,
) -> None:
    space = promoted(credit_project)
    frame = read(space.contract, credit_project, space.settings)
    place = credit_project / space.contract.data.source
    frame.sample(fraction=1.0, shuffle=True, seed=1).head(900).write_csv(place)
    change_contract(credit_project, "trials: 3}", "trials: 3, seed: 8}")  # every row is dealt anew

    report = once(credit_project, release=False).report

    assert 0 < report.champion_rows < report.rows // 2
    [gate] = [gate for gate in report.gates if gate.kind == "champion"]
    assert f"{report.champion_rows} rows that taught neither" in gate.reason


def test_the_champion_itself_again_is_no_better_than_the_champion(credit_project: Path) -> None:
    promoted(credit_project)

    outcome = once(credit_project, release=False)

    [gate] = [gate for gate in outcome.report.gates if gate.kind == "champion"]
    assert not gate.passed
    assert not outcome.version.gate_passed
    assert gate.reason in outcome.version.reasons


def test_a_champion_that_needs_what_the_data_lacks_is_not_compared(credit_project: Path) -> None:
    promoted(credit_project)
    change_contract(credit_project, "    duration_in_month: {type: integer}\n", "")

    outcome = once(credit_project, release=False)

    assert (outcome.report.champion, outcome.report.champion_metrics) == (None, {})
    assert outcome.warnings == (
        "The champion credit:1 was not compared: it needs duration_in_month, which this contract "
        "does not have.",
    )


def test_a_champion_with_a_changed_bundle_stops_the_run(credit_project: Path) -> None:
    space = promoted(credit_project)
    space.objects.put(f"{space.registry.get(1).bundle}/plan.bin", b"changed")

    with pytest.raises(BundleRefusedError, match=r"plan\.bin is not what was signed"):
        once(credit_project, release=False)

    assert len(space.registry.all()) == 1


OWN = """
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

def build(seed):
    columns = make_column_transformer(
        (StandardScaler(), make_column_selector(dtype_include=float)),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude=float)),
    )
    return make_pipeline(columns, KNeighborsClassifier(15 + seed % 2))
"""


def test_an_estimator_without_a_plan_is_registered_with_the_reason_and_can_be_champion(
    credit_project: Path,
) -> None:
    change_contract(credit_project, "candidates: [linear], trials: 3", "train: model.py:build")
    (credit_project / "model.py").write_text(OWN)

    own = once(credit_project)
    space = Workspace.open(credit_project)
    promote(space.registry, 2, "production", by="ada", why="own", now=NOW, contract=space.contract)
    again = once(credit_project, release=False)

    bundle = open_bundle(space.objects, space.keys, own.version.bundle, own.version.bundle_digest)
    assert (own.version.runtime, own.report.parity) == ("original", {})
    assert "plan.json" not in bundle.listed
    [warning] = [text for text in own.warnings if text.startswith("No exact plan: ")]
    assert "KNeighborsClassifier" in warning
    assert "it has no exact plan" in bundle.file("card.md").decode()
    assert again.report.champion == "credit:2"
    assert again.report.champion_metrics == again.report.metrics


NETWORK = """
import numpy as np
from onnx import TensorProto, helper, numpy_helper

class Net:
    # What a network is to Loopline: weights in float32, and what it exports. A text counts as the
    # share of its rows that were positive.
    def fit(self, frame, truth):
        self.classes_ = np.array([0, 1])
        self.shares = {
            name: {text: float(truth[frame[name] == text].mean()) for text in frame[name].unique()}
            for name in frame.select_dtypes(exclude=float)
        }
        rows = self.rows(frame)
        self.mean, self.spread = rows.mean(0), rows.std(0)
        scaled = np.column_stack([(rows - self.mean) / self.spread, np.ones(len(rows))])
        self.weights = np.linalg.lstsq(scaled, 4.0 * truth - 2, rcond=None)[0].astype(np.float32)
        self.names = list(frame.columns)
        return self

    def rows(self, frame):
        columns = [
            frame[name].map(lambda text: self.shares[name].get(text, 0.5))
            if name in self.shares
            else frame[name]
            for name in frame.columns
        ]
        return np.column_stack(columns).astype(np.float32)

    def predict_proba(self, frame):
        rows = (self.rows(frame) - self.mean) / self.spread
        sums = rows @ self.weights[:-1] + self.weights[-1]
        share = 1 / (1 + np.exp(-sums.astype(np.float64)))
        return np.column_stack([1 - share, share])

    def to_onnx(self):
        make, value = helper.make_node, helper.make_tensor_value_info
        nodes, sums, inputs, kept = [], ["bias"], [], {"bias": self.weights[-1:]}
        for name, mean, spread, weight in zip(self.names, self.mean, self.spread, self.weights):
            known, number = self.shares.get(name), name
            kind = TensorProto.STRING if known else TensorProto.FLOAT
            inputs.append(value(name, kind, [None, 1]))
            if known:
                number = f"{name} share"
                nodes.append(
                    make("LabelEncoder", [name], [number], domain="ai.onnx.ml", default_float=0.5,
                         keys_strings=list(known), values_floats=list(known.values()))
                )
            kept |= {f"{name} mean": mean[None], f"{name} by": (weight / spread)[None]}
            nodes.append(make("Sub", [number, f"{name} mean"], [f"{name} away"]))
            nodes.append(make("Mul", [f"{name} away", f"{name} by"], [f"{name} part"]))
            sums.append(f"{name} part")
        nodes += [make("Sum", sums, ["sum"]), make("Sigmoid", ["sum"], ["probability"])]
        outputs = [value("probability", TensorProto.FLOAT, [None, 1])]
        weights = [numpy_helper.from_array(array, name) for name, array in kept.items()]
        graph = helper.make_graph(nodes, "net", inputs, outputs, weights)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()

def build():
    return Net()
"""


def test_a_network_that_agrees_answers_without_its_original_and_can_be_champion(
    credit_project: Path,
) -> None:
    change_contract(credit_project, "candidates: [linear], trials: 3", "train: model.py:build")
    (credit_project / "model.py").write_text(NETWORK)

    own = once(credit_project)
    space = Workspace.open(credit_project)
    promote(space.registry, 2, "production", by="ada", why="own", now=NOW, contract=space.contract)
    again = once(credit_project, release=False)

    bundle = open_bundle(space.objects, space.keys, own.version.bundle, own.version.bundle_digest)
    assert own.version.runtime == "onnx"
    assert own.report.parity["agreed"]
    assert own.report.parity["tolerance"] == 1e-5
    assert 0 < own.report.parity["largest_difference"] < 1e-5
    assert bundle.network is not None
    assert "network, proven to 1e-05" in bundle.file("card.md").decode()
    assert again.report.champion == "credit:2"
    assert again.report.champion_metrics == again.report.metrics


def test_a_network_that_differs_does_not_answer_and_the_card_says_how_far_it_is_off(
    credit_project: Path,
) -> None:
    change_contract(credit_project, "candidates: [linear], trials: 3", "train: model.py:build")
    shifted = NETWORK.replace('{"bias": self.weights[-1:]}', '{"bias": self.weights[-1:] + 0.4}')
    (credit_project / "model.py").write_text(shifted)

    own = once(credit_project)

    space = Workspace.open(credit_project)
    bundle = open_bundle(space.objects, space.keys, own.version.bundle, own.version.bundle_digest)
    assert (own.version.runtime, "model.onnx" in bundle.listed) == ("original", False)
    assert re.search(
        r"its network differs: [1-9]\d* labels flipped, largest difference 0\.1 of 1e-05 allowed",
        bundle.file("card.md").decode(),
    )


def test_rows_that_fail_a_blocking_check_are_set_apart_and_counted(
    trained: Path, tmp_path: Path
) -> None:
    root = untrained(trained, tmp_path / "credit")
    change_contract(
        root,
        "  source: credit.csv\n",
        "  source: credit.csv\n  checks: [{rule: 'age_in_years <= 70', on_fail: block}]\n",
    )

    outcome = once(root)

    old = int((pl.read_csv(root / "credit.csv")["age_in_years"] > 70).sum())
    assert old > 0
    assert (outcome.snapshot.rows, outcome.snapshot.quarantined) == (1000 - old, old)
    assert outcome.summary()["quarantined"] == old


def test_progress_names_every_stage_in_its_order(credit_project: Path) -> None:
    stages: list[str] = []
    say: Callable[[str, str], None] = lambda stage, _: stages.append(stage)  # noqa: E731

    once(credit_project, progress=say)

    assert list(dict.fromkeys(stages)) == [
        "data", "check", "freeze", "split", "baseline", "train", "plan", "evaluate", "register",
    ]  # fmt: skip
