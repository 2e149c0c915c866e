"""A window told from training rows by all inputs together, or not."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from loopline.contract.schema import Contract
from loopline.counts.kernel import count_arrays
from loopline.data.multivariate import KEPT, Rows, drawn
from loopline.model.signature import Input, Signature
from loopline.monitoring import multivariate
from loopline.monitoring.findings import Subject
from loopline.monitoring.multivariate import Telling
from loopline.monitoring.reference import Reference
from loopline.monitoring.windows import Window

WINDOW = Window(380_000, 380_168)
SUBJECT = Subject("flights", "production", 3, datetime(2013, 5, 8, tzinfo=UTC))
NAMES = ("distance", "air_time", "carrier")
INPUTS = tuple(
    Input(name, "category" if name == "carrier" else "number")  # type: ignore[arg-type]
    for name in NAMES
)


def contract(**limits: float) -> Contract:
    return Contract.model_validate(
        {
            "project": "flights",
            "problem": {"task": "binary", "target": "late"},
            "goals": [{"metric": "roc_auc", "at_least": 0.65}],
            "data": {"source": "x.csv"},
            "monitor": {"drift": limits or {"multivariate": 0.6}},
        }
    )


def columns(number: int, seed: int, tied: bool = True) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    distance = draw.lognormal(6.5, 0.7, number)
    other = distance if tied else draw.permutation(distance)
    carrier = draw.choice(["UA", "B6", "DL"], number, p=[0.5, 0.3, 0.2]).astype(object)
    return {
        "distance": distance,
        "air_time": other / 8 + draw.normal(20, 2, number),
        "carrier": carrier,
    }


def reference() -> Reference:
    train = columns(3000, 1)
    profile = count_arrays(train)
    kept = drawn(NAMES, train, profile)
    return Reference(3, Signature("flights", "binary", INPUTS, ()), profile, None, rows=kept)


def table(number: int, seed: int, tied: bool = True) -> pl.LazyFrame:
    found = columns(number, seed, tied)
    return pl.LazyFrame(
        {
            "prediction_id": [f"r{place}-0" for place in range(number)],
            "event_time": pl.Series(
                [WINDOW.start + timedelta(minutes=place % 9000) for place in range(number)],
                dtype=pl.Datetime("us", "UTC"),
            ),
            **{name: values.tolist() for name, values in found.items()},
        }
    )


def look(
    telling: Telling, rows: pl.LazyFrame, number: int, known: Reference, window: Window = WINDOW
) -> Any:
    return telling("production", known, lambda: rows, window, number)


@pytest.fixture(scope="module")
def known() -> Reference:
    return reference()


def test_a_window_like_training_is_not_told_apart(known: Reference) -> None:
    found = look(Telling(contract()), table(2000, 2), 2000, known)

    assert not found.drifted
    assert found.roc_auc.value == pytest.approx(0.5, abs=0.05)
    [finding] = multivariate.judge(contract(), SUBJECT, found, WINDOW)
    assert (finding.kind, finding.subject, finding.status) == (
        "multivariate", "inputs", "resolved"
    )  # fmt: skip


def test_a_relation_that_changed_is_a_finding_that_names_its_columns(known: Reference) -> None:
    found = look(Telling(contract()), table(2000, 2, tied=False), 2000, known)

    [finding] = multivariate.judge(contract(), SUBJECT, found, WINDOW)

    assert finding.status == "open"
    assert set(finding.columns) == {"distance", "air_time"}
    assert finding.value > finding.evidence["low"] > finding.limit == 0.6
    assert "What tells them, with the area lost without it: " in finding.message
    strict = contract(multivariate=0.999)
    again = look(Telling(strict), table(2000, 2, tied=False), 2000, known)
    assert [one.status for one in multivariate.judge(strict, SUBJECT, again, WINDOW)] == [
        "resolved"
    ]


def test_rows_are_the_same_ones_in_whatever_order_they_lie(known: Reference) -> None:
    rows = table(2000, 2)

    def found(frame: pl.LazyFrame) -> Any:
        return multivariate._drawn(frame, known, known.rows, WINDOW, 2000)

    first, other = found(rows), found(rows.reverse())

    assert (first.matrix == other.matrix).all()
    assert len(found(rows.with_columns(pl.col("event_time") + timedelta(days=30))).matrix) == 0
    assert found(rows.drop("air_time")) is None


def test_a_large_window_gives_no_more_rows_than_the_version_keeps(known: Reference) -> None:
    found = multivariate._drawn(table(20_000, 3), known, known.rows, WINDOW, 20_000)

    assert found is not None
    assert len(found.matrix) == KEPT
    assert np.mean(found.matrix[:, 2] == 0) == pytest.approx(0.5, abs=0.03)


def test_what_can_hardly_have_changed_is_not_asked_again(
    known: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def tell(_names: Any, _first: Any, second: Any, **_: Any) -> str:
        asked.append(len(second))
        return f"look {len(asked)}"

    monkeypatch.setattr(multivariate, "tell", tell)
    telling, rows = Telling(contract()), table(2000, 2)
    later = Window(WINDOW.first + 1, WINDOW.last + 1)

    answers = [
        look(telling, rows, number, known, window)
        for number, window in ((1500, WINDOW), (1600, WINDOW), (1800, WINDOW), (1800, later))
    ]

    assert answers == ["look 1", "look 1", "look 2", "look 3"]


def test_nothing_is_asked_where_nobody_asks_or_there_are_too_few_rows(known: Reference) -> None:
    def refuse() -> pl.LazyFrame:
        raise AssertionError

    ask: Callable[[Contract, Reference, int], Any] = lambda one, other, number: Telling(one)(  # noqa: E731
        "production", other, refuse, WINDOW, number
    )
    plain = Reference(3, known.signature, known.profile, None)

    assert ask(contract(psi=0.2), known, 5000) is None
    assert ask(contract(), plain, 5000) is None
    assert ask(contract(), known, 199) is None
    assert multivariate.judge(contract(), SUBJECT, None, WINDOW) == []


def test_kept_rows_come_back_from_their_bytes_as_numbers(known: Reference) -> None:
    assert known.rows is not None
    again = Rows.from_bytes(known.rows.to_bytes())

    assert again.names == NAMES
    assert (again.matrix == known.rows.matrix).all()
    assert set(again.matrix[:, 2].tolist()) == {0.0, 1.0, 2.0}  # carriers by how frequent they are
