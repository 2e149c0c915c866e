"""Outcomes are counted exactly once: late, twice, corrected, out of order, and when killed."""

from collections import Counter
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

from loopline.contract.schema import Contract
from loopline.counts.kernel import Profile
from loopline.model.signature import Input, Signature
from loopline.monitoring import certainty, hours, labels, performance, settled, tallied
from loopline.monitoring.fold import table
from loopline.monitoring.hours import OUTCOMES
from loopline.monitoring.reference import Reference
from loopline.monitoring.settled import Settling
from loopline.monitoring.windows import Window, earlier
from loopline.store.database import Database, counts
from loopline.store.objects import Objects
from loopline.store.tables import Tables
from loopline.training.baselines import restore

START = datetime(2013, 5, 8, tzinfo=UTC)
FIRST = int(START.timestamp()) // 3600
SIGNATURE = Signature(
    "credit", "binary", (Input("housing", "category"), Input("married", "boolean")), (),
    ("bad", "good"), 0.5,
)  # fmt: skip
REFERENCE = Reference(
    1, SIGNATURE, Profile({}), restore({"name": "everyone", "threshold": 0.0, "constant": 0.7})
)
MOMENT = pl.Datetime("us", "UTC")


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
            "threshold": [0.5] * rows,
            "label": ["good" if score >= 0.5 else "bad" for score in scores.tolist()],
            "housing": [["own", "rent", None][number % 3] for number in range(rows)],
            "married": [[True, False][number % 2] for number in range(rows)],
        },
        schema_overrides={"event_time": MOMENT},
    )


@dataclass
class Place:
    """A store and a database of one run."""

    root: Path
    tables: Tables = field(init=False)
    database: Database = field(init=False)
    settle: Settling = field(init=False)
    sent: int = 0

    def __post_init__(self) -> None:
        objects = Objects((self.root / "store").as_uri())
        self.tables = Tables(objects)
        self.database = Database(f"sqlite:///{self.root / 'loopline.db'}")
        self.settle = Settling("credit", lambda _: REFERENCE, self.tables, objects, self.database)

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
        query = select(counts).where(counts.c.slice.in_(OUTCOMES))
        with self.database.read() as connection:
            return {tuple(row[:6]): row.payload for row in connection.execute(query)}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


TOLD = st.tuples(
    st.one_of(st.integers(0, 39).map("p{}".format), st.integers(0, 6).map("k{}".format)),
    st.sampled_from(["good", "bad", "perhaps"]),
)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(told=st.lists(TOLD, min_size=1, max_size=40), data=st.data())
def test_labels_late_twice_corrected_and_out_of_order_leave_the_same_counts(
    told: list[tuple[str, str]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    events = [(name, label, minute) for minute, (name, label) in enumerate(told)]
    every = predictions(40)
    once = Place(tmp_path_factory.mktemp("once"))
    once.tables.write(table("credit"), every)
    last = {name: (name, label, at) for name, label, at in events}
    once.tell(sorted(last.values(), key=lambda each: each[2]))
    once.settle()

    again = data.draw(st.lists(st.sampled_from(events), max_size=10))
    mixed = data.draw(st.permutations(events + again))
    late = Place(tmp_path_factory.mktemp("late"))
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


def test_a_settling_that_is_killed_counts_nothing_and_the_next_one_all(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.tables.write(table("credit"), predictions(40))
    place.tell([("p1", "good", 1), ("k2", "bad", 2)])
    place.settle()
    before = place.counted()
    place.tell([("p1", "bad", 3), ("p2", "good", 4)])
    keep = settled._keep

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(settled, "_keep", killed)
    with pytest.raises(KeyboardInterrupt):
        place.settle()
    assert place.counted() == before

    monkeypatch.setattr(settled, "_keep", keep)
    assert place.settle() is True
    assert place.counted() != before


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
    [said] = [payload for key, payload in place.counted().items() if key[4:] == ("", "confusion")]
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


def contract(**more: Any) -> Contract:
    return Contract.model_validate(
        {
            "project": "credit",
            "problem": {
                "task": "binary", "target": "y",
                "costs": {"false_positive": 5, "false_negative": 1, "true_positive": -1},
            },
            "goals": [{"metric": "roc_auc", "at_least": 0.5}],
            "data": {"source": "x.csv", "columns": {"housing": {}, "married": {}}},
            "fairness": [
                {"by": "housing", "metric": "recall", "ratio_at_least": 0.5, "minimum_rows": 20},
                {"by": "married", "metric": "cost_per_prediction", "difference_at_most": 1},
            ],
            "monitor": {"minimum_labels": 50},
            **more,
        }
    )  # fmt: skip


def test_the_figures_of_counts_are_those_of_the_rows(place: Place) -> None:
    every = predictions(1500)
    place.tables.write(table("credit"), every)
    generator = np.random.default_rng(3)
    chances = every["score"].to_numpy() * 0.6 + 0.2
    told = [
        (name, "good" if generator.random() < chance else "bad", 1)
        for name, chance in zip(every["prediction_id"].to_list(), chances.tolist(), strict=True)
        if generator.random() < 0.8
    ]
    place.tell(told)
    place.settle()
    with place.database.begin() as connection:
        cell = hours.Cell("dev", 1, FIRST, "", hours.ROWS)
        hours.add(connection, "credit", {cell: Counter(whole=1350)})
    windows = earlier(Window(FIRST, FIRST + 72), 2)

    found = tallied.measure(contract(), REFERENCE, place.database, "dev", windows)

    rows = labels.read(place.tables, "credit").join(
        place.tables.scan(table("credit")).filter("plausible")
    )
    expected = performance.measure(contract(), REFERENCE, rows, windows)
    assert found is not None
    assert expected is not None
    assert tallied.is_enough(contract(), REFERENCE)
    assert (found.window, found.rows, found.labels) == (
        expected.window, expected.rows, expected.labels,
    )  # fmt: skip
    assert found.metrics.keys() == expected.metrics.keys()
    for name, value in expected.metrics.items():
        bound = {"average_precision": 0.01}.get(name, found.bounds.get(name, 0.0))
        assert found.metrics[name] == pytest.approx(value, abs=bound + 1e-12, rel=0), name
    assert 0 < found.bounds["roc_auc"] < 0.003
    assert found.baseline_metrics["cost_per_prediction"] == pytest.approx(
        expected.baseline_metrics["cost_per_prediction"]
    )
    assert found.baseline == "everyone"
    for mine, other in zip(found.fairness, expected.fairness, strict=True):
        assert mine["groups"] == other["groups"]
        assert mine["difference"] == pytest.approx(other["difference"])
    assert [each["value"] for each in found.slices] == [each["value"] for each in expected.slices]
    assert [each["figure"] for each in found.slices] == pytest.approx(
        [each["figure"] for each in expected.slices]
    )
    # Scores were rounded to a thousandth: a cell that lies across a bin's edge goes to one side.
    assert sum(each["rows"] for each in found.calibration) == found.labels
    for mine, other in zip(found.calibration, expected.calibration, strict=True):
        assert mine["observed"] == pytest.approx(other["observed"], abs=0.05)
    assert found.worse_since == expected.worse_since
    pieces = certainty.pieces(found.window)
    asked = (contract(), REFERENCE)
    margins = certainty.margins(
        contract(),
        found,
        tallied.without_each(*asked, place.database, "dev", found.window, pieces),
    )
    of_rows = certainty.margins(
        contract(), expected, performance.without_each(*asked, rows, found.window, pieces)
    )
    assert margins.keys() == {
        "roc_auc at_least",
        "recall by housing",
        "cost_per_prediction by married",
    }
    assert margins == pytest.approx(of_rows, rel=0.05)


def test_what_counts_do_not_hold_is_read_from_rows() -> None:
    of_scores = {"by": "housing", "metric": "log_loss", "difference_at_most": 1}
    personal = {"by": "name", "metric": "recall", "difference_at_most": 1}
    data = {"source": "x.csv", "columns": {"housing": {}, "name": {}}}

    assert not tallied.is_enough(contract(fairness=[of_scores]), REFERENCE)
    assert tallied.is_enough(contract(fairness=[personal], data=data), REFERENCE)  # judged nowhere
    several = Reference(
        1, Signature("credit", "multiclass", (), (), ("a", "b", "c")), Profile({}), None
    )
    assert not tallied.is_enough(contract(fairness=[]), several)


def test_without_enough_outcomes_nothing_is_judged(place: Place) -> None:
    place.tables.write(table("credit"), predictions(100))
    place.tell([(f"p{number}", "good", 1) for number in range(49)])
    place.settle()

    windows = earlier(Window(FIRST, FIRST + 72), 2)
    assert tallied.measure(contract(), REFERENCE, place.database, "dev", windows) is None
