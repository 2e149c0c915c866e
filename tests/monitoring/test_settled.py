"""Outcomes are counted exactly once: late, twice, corrected, out of order, and when killed."""

import signal
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from loopline.compute.base import Compute
from loopline.compute.threads import Threads
from loopline.contract.schema import Contract
from loopline.counts.kernel import count_arrays
from loopline.model.signature import Input, Signature
from loopline.monitoring import labels
from loopline.monitoring.fold import table
from loopline.monitoring.hours import ANSWERED, OF_OUTCOMES
from loopline.monitoring.reference import Reference
from loopline.monitoring.retention import expire
from loopline.monitoring.settled import Settling
from loopline.store.database import Database, counts, keyed
from loopline.store.objects import Objects
from loopline.store.tables import Tables
from loopline.training.baselines import restore

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
START = datetime(2013, 5, 8, tzinfo=UTC)
FIRST = int(START.timestamp()) // 3600
MOMENT = pl.Datetime("us", "UTC")
CLASSES: dict[Any, tuple[str, ...]] = {
    "binary": ("bad", "good"),
    "multiclass": ("bad", "good", "perhaps"),
    "regression": (),
}
TASKS: Any = list(CLASSES)
SAID = dict.fromkeys(TASKS, ("good", "bad")) | {"regression": ("7.25", "-1e3")}


def reference(task: Any) -> Reference:
    constant: Any = {"binary": 0.7, "multiclass": [0.5, 0.3, 0.2], "regression": 4.0}[task]
    ages = np.random.default_rng(8).uniform(18, 80, 1000)
    return Reference(
        1,
        Signature(
            "credit", task,
            (Input("housing", "category"), Input("married", "boolean"), Input("age", "number")),
            (), CLASSES[task], 0.5 if task == "binary" else None,
        ),
        count_arrays({"age": ages, "prediction": np.linspace(0, 10, 1000)}),
        restore({"name": "everyone", "threshold": 0.0, "constant": constant}),
    )  # fmt: skip


REFERENCES = {task: reference(task) for task in TASKS}
METRICS = {
    "binary": ("recall", "log_loss"),
    "multiclass": ("accuracy", "log_loss"),
    "regression": ("mae", "rmse"),
}
"""Of decisions by housing, and of scores by age."""


def contract(task: str = "binary", **more: Any) -> Contract:
    costs: Any = {
        "binary": {"false_positive": 5, "false_negative": 1, "true_positive": -1},
        "multiclass": {"matrix": {"good": {"bad": 3}, "perhaps": {"good": 1}}},
        "regression": {"under": 2, "over": 1},
    }[task]
    first, second = METRICS[task]
    return Contract.model_validate(
        {
            "project": "credit",
            "problem": {"task": task, "target": "y", "costs": costs},
            "goals": [{"metric": "cost_per_prediction", "at_most": 5}],
            "data": {"source": "x.csv", "columns": {"housing": {}, "married": {}, "age": {}}},
            "fairness": [
                {"by": "housing", "metric": first, "ratio_at_least": 0.5, "minimum_rows": 20},
                {"by": "married", "metric": "cost_per_prediction", "difference_at_most": 1},
                {"by": "age", "metric": second, "difference_at_most": 1},
            ],
            "monitor": {"minimum_labels": 50},
            **more,
        }
    )  # fmt: skip


def predictions(rows: int, seed: int = 1) -> pl.DataFrame:
    """Predictions of some hours; every third has a key, which several share."""
    generator = np.random.default_rng(seed)
    scores = generator.random(rows).round(3)
    return pl.DataFrame(
        {
            "prediction_id": [f"p{number}" for number in range(rows)],
            "key": [f"k{number % 7}" if number % 3 == 0 else None for number in range(rows)],
            "environment": ["dev"] * rows,
            "version": [1] * rows,
            "plausible": [number % 10 != 9 for number in range(rows)],
            "event_time": [START + timedelta(minutes=37 * number % 4000) for number in range(rows)],
            "score": scores,
            "probabilities": generator.dirichlet([1, 1, 1], rows).tolist(),
            "threshold": [0.5] * rows,
            "label": ["good" if score >= 0.5 else "bad" for score in scores.tolist()],
            "housing": [["own", "rent", None][number % 3] for number in range(rows)],
            "married": [[True, False][number % 2] for number in range(rows)],
            "age": generator.integers(18, 80, rows).astype(np.float64),
        },
        schema_overrides={"event_time": MOMENT},
    )


@dataclass
class Place:
    """A store and a database of one run."""

    root: Path
    task: str = "binary"
    tables: Tables = field(init=False)
    database: Database = field(init=False)
    settle: Settling = field(init=False)
    sent: int = 0

    def __post_init__(self) -> None:
        self.tables = Tables(Objects((self.root / "store").as_uri()))
        self.database = Database(f"sqlite:///{self.root / 'loopline.db'}")
        self.settle = self.settling(contract(self.task))

    def settling(self, asked: Contract, compute: Compute | None = None) -> Settling:
        return Settling(
            asked, lambda _: REFERENCES[self.task], self.tables, self.database, compute,
        )  # fmt: skip

    def tell(self, told: list[tuple[str, str, int]]) -> None:
        """Write outcomes: of a prediction or a key, the label, and the minute it was observed."""
        self.sent += 1
        rows = [
            (
                name if name[0] == "p" else None, name if name[0] == "k" else None, label,
                START + timedelta(minutes=at), START + timedelta(days=9, minutes=self.sent),
                100 * self.sent, place, f"s{self.sent}",
            )
            for place, (name, label, at) in enumerate(told)
        ]  # fmt: skip
        self.tables.write(
            labels.table("credit"),
            pl.DataFrame(rows, schema=labels.empty().schema, orient="row"),
        )

    def counted(self) -> dict[Any, bytes]:
        query = select(counts).where(OF_OUTCOMES)
        with self.database.read() as connection:
            return {tuple(row[:6]): row.payload for row in connection.execute(query)}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


TOLD = st.tuples(
    st.one_of(st.integers(0, 42).map("p{}".format), st.integers(0, 8).map("k{}".format)),
    st.sampled_from(["good", "bad", "perhaps", "7.25", "-1e3"]),
)
"""Of predictions and keys there are, and of p40 and on and k7 and k8, which there are not. What is
none of a task's classes or numbers is said all the same, and counts as nothing."""


@pytest.mark.parametrize("task", TASKS)
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=st.lists(TOLD, min_size=1, max_size=40), data=st.data())
def test_labels_late_twice_corrected_and_out_of_order_leave_the_same_counts(
    task: str,
    told: list[tuple[str, str]],
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    events = [(name, label, minute) for minute, (name, label) in enumerate(told)]
    every = predictions(40)
    once = Place(tmp_path_factory.mktemp("once"), task)
    once.tables.write(table("credit"), every)
    last = {name: (name, label, at) for name, label, at in events}
    once.tell(sorted(last.values(), key=lambda each: each[2]))
    once.settle()

    again = data.draw(st.lists(st.sampled_from(events), max_size=10))
    mixed = data.draw(st.permutations(events + again))
    late = Place(tmp_path_factory.mktemp("late"), task)
    cut = data.draw(st.integers(1, 39))
    steps: list[Any] = [every[:cut], every[cut:]]
    size = max(len(mixed) // 3, 1)
    steps += [mixed[begin : begin + size] for begin in range(0, len(mixed), size)]
    for step in data.draw(st.permutations(steps)):
        if isinstance(step, pl.DataFrame):
            late.tables.write(table("credit"), step)
        else:
            late.tell(step)
        if data.draw(st.booleans()):
            late.settle()
    late.settle()

    assert late.counted() == once.counted()
    assert late.settle() is False
    said: dict[str, set[str]] = {}
    for name, label in told:
        said.setdefault(name, set()).add(label)
    state = late.settle.state()
    assert state.corrected == sum(len(each) > 1 for each in said.values())
    assert state.unknown == len(said.keys() & {"p40", "p41", "p42", "k7", "k8"})
    with late.database.read() as connection:
        noted = connection.execute(select(keyed.c.kind, keyed.c.name)).all()
    assert noted  # every third prediction has a key


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.monitoring.test_settled import Place
from loopline.monitoring import settled

settled._keep = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Place(Path(sys.argv[1]), sys.argv[2]).settle()
"""


@pytest.mark.parametrize(
    ("on", "task"), [("threads", "multiclass"), ("threads", "regression"), ("spark", "binary")]
)
def test_wherever_all_is_joined_late_repeated_and_corrected_outcomes_leave_the_same_counts(
    tmp_path: Path, request: pytest.FixtureRequest, on: str, task: str
) -> None:
    compute = Threads(2) if on == "threads" else request.getfixturevalue("spark")
    good, bad = SAID[task]
    told = [
        ("p1", good, 1), ("p1", bad, 9), ("p1", good, 4), ("p1", bad, 9),  # ends bad
        ("k2", good, 5), ("p9", bad, 3), ("k2", bad, 7),  # p9 and p30 have k2: bad
        ("p30", good, 8), ("k0", good, 2), ("p21", bad, 1),  # p21 has k0, told later
        ("p77", good, 1), ("k99", bad, 1), ("p4", "perhaps", 1), ("p39", good, 1),
    ]  # fmt: skip
    for name in ("once", "late"):
        (tmp_path / name).mkdir()
    once, late = Place(tmp_path / "once", task), Place(tmp_path / "late", task)
    every = predictions(40)
    once.tables.write(table("credit"), every)
    once.tell(told)
    once.settle()
    for some in (told[7:], told[:3], told[3:7], told[:2]):  # out of order, and two of them twice
        late.tell(some)
    for some in (every[35:], every[:15], every[15:35]):
        late.tables.write(table("credit"), some)
    settle = late.settling(contract(task), compute)

    assert settle() is True
    assert settle() is False
    assert late.counted() == once.counted()
    assert len(late.counted()) > 20
    for each in (settle, once.settle):  # p1 and k2 were corrected; p77 and k99 predicted nothing
        assert (each.state().corrected, each.state().unknown) == (2, 2)
    if on == "threads":
        late.tell([("p1", good, 12), ("k1", bad, 2)])
        once.tell([("k1", bad, 2), ("p1", good, 12)])
        assert (settle(), once.settle()) == (True, True)
        assert late.counted() == once.counted()


def test_a_settling_that_is_killed_counts_nothing_and_the_next_one_all(tmp_path: Path) -> None:
    places = {task: Place(tmp_path / task, task) for task in TASKS}
    before = {}
    for task, place in places.items():
        first, second = SAID[task]
        place.tables.write(table("credit"), predictions(40))
        place.tell([("p1", first, 1), ("k2", second, 2)])
        place.settle()
        before[task] = place.counted()
        place.tell([("p1", second, 3), ("p2", first, 4)])

    root = Path(__file__).parents[2]
    at_once = [
        subprocess.Popen([sys.executable, "-c", KILLED, str(place.root), task], cwd=root)
        for task, place in places.items()
    ]

    assert [each.wait(60) for each in at_once] == [-signal.SIGKILL] * 3
    for task, place in places.items():
        first, second = SAID[task]
        assert place.counted() == before[task]
        assert place.settle() is True
        once = Place(tmp_path / f"{task}-once", task)
        once.tables.write(table("credit"), predictions(40))
        once.tell([("k2", second, 2), ("p1", second, 3), ("p2", first, 4)])
        once.settle()
        assert place.counted() == once.counted() != before[task]


def test_of_two_that_settle_at_once_one_counts(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.tables.write(table("credit"), predictions(40))
    place.tell([("p1", "good", 1)])
    place.settle()
    place.tell([("p1", "bad", 2)])
    changes = Settling._changes

    def overtaken(own: Settling, *arguments: Any, **more: Any) -> Any:
        found = changes(own, *arguments, **more)
        monkeypatch.setattr(Settling, "_changes", changes)
        assert place.settle() is True  # another, meanwhile
        return found

    monkeypatch.setattr(Settling, "_changes", overtaken)
    assert place.settle() is False
    [said] = [payload for key, payload in place.counted().items() if key[4:] == ("", ANSWERED)]
    assert said.count(b":1") == 1


def test_when_older_versions_of_the_tables_are_gone_everything_is_counted_anew(
    place: Place,
) -> None:
    place.tables.write(table("credit"), predictions(40))
    place.tell([("p1", "good", 1), ("k2", "bad", 2)])
    place.settle()
    before = place.counted()
    place.tell([("p1", "good", 3)])
    place.tell([("p1", "good", 4)])
    # As a compaction and a day leave it: the newest version, and none of the steps to it.
    log = place.root / "store" / labels.table("credit") / "_delta_log"
    DeltaTable((place.root / "store" / labels.table("credit")).as_uri()).create_checkpoint()
    (log / f"{1:020}.json").unlink()

    place.settle()

    assert place.counted() == before  # the same labels, however often they were said


def test_what_goes_for_its_age_keeps_its_counts_and_is_not_new_again(place: Place) -> None:
    place.tables.write(table("credit"), predictions(40))
    place.tell([("p1", "good", 1), ("p30", "bad", 2)])
    place.settle()
    before = place.counted()
    old = "event_time < arrow_cast('2013-05-08T10:00:00Z', 'Timestamp(Microsecond, Some(\"UTC\"))')"
    assert place.tables.delete(table("credit"), old) == 17

    assert place.settle() is True
    assert place.counted() == before
    place.tell([("p1", "bad", 3), ("p30", "bad", 4)])  # the one is gone, the other is as it was
    place.settle()
    assert place.counted() == before


def test_where_the_contract_compares_other_groups_everything_is_counted_anew(
    place: Place,
) -> None:
    place.tables.write(table("credit"), predictions(40))
    place.tell([("p1", "good", 1), ("k2", "bad", 2)])
    place.settle()
    before = place.counted()

    place.settling(contract(fairness=[]))()
    fewer = place.counted()
    place.settle()

    assert set(fewer) < set(before)
    assert not any(key[4].startswith("age") for key in fewer)
    assert place.counted() == before


@pytest.mark.parametrize("compute", [None, Threads(2)])
def test_what_was_counted_of_rows_that_are_gone_stays_beside_an_event_of_another_century(
    place: Place, compute: Compute | None
) -> None:
    rows = predictions(40).with_columns(
        event_time=pl.when(pl.col("prediction_id") == "p9")  # not plausible
        .then(pl.lit(START - timedelta(days=40_000), MOMENT))
        .otherwise("event_time")
    )
    place.tables.write(table("credit"), rows)
    place.tell([("p1", "good", 1), ("p30", "bad", 2)])
    place.settle()
    before = place.counted()
    moment = "arrow_cast('2013-05-08T10:00:00Z', 'Timestamp(Microsecond, Some(\"UTC\"))')"
    old = f"plausible AND event_time < {moment}"
    assert place.tables.delete(table("credit"), old) > 0

    place.settling(contract(monitor={"minimum_labels": 20}, fairness=[]), compute)()

    gone = {key: payload for key, payload in before.items() if key[3] < _hour(10)}
    assert gone
    assert gone.items() <= place.counted().items()


def _hour(number: int) -> int:
    return (FIRST + number) * 3_600_000_000


def test_an_outcome_observed_before_its_event_is_corrected_after_it_is_old(place: Place) -> None:
    place.tables.write(table("credit"), predictions(40).with_columns(arrival="event_time"))
    told = [("p1", "good", -60 * 24 * 20), ("p3", "bad", -60 * 24 * 20), ("p2", "good", 9)]
    place.tell(told)
    place.settle()

    gone = expire(place.tables, place.database, "credit", timedelta(days=9), START)
    assert (gone.predictions, gone.labels) == (0, 0)  # older than nine days, but of what is there
    place.tell([("p1", "bad", 10)])
    place.settle()

    once = Place(place.root / "once")
    once.tables.write(table("credit"), predictions(40).with_columns(arrival="event_time"))
    once.tell([*told[1:], ("p1", "bad", 10)])
    once.settle()
    assert place.counted() == once.counted()
