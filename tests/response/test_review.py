"""What waits for an expert: chosen by the contract, with its reasons, until its outcome comes."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from loopline.cli import review
from loopline.monitoring import fold, labels
from loopline.response.review import Queue, queue
from loopline.store.objects import Objects
from loopline.store.tables import Tables

NOW = datetime(2013, 5, 6, tzinfo=UTC)
REASONS = {"reasons": [{"column": "age", "adds": 0.53}, {"column": "debt", "adds": -0.2}]}


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(Objects((tmp_path / "store").as_uri()))


def logged(tables: Tables) -> None:
    """Six predictions: five are reviewed, of which one is a shadow's."""
    chosen = ["when", "sample", None, "when", "sample", "when"]
    rows = pl.DataFrame(
        {
            "prediction_id": [f"p{place}" for place in range(6)],
            "key": ["k0", None, None, None, None, None],
            "environment": ["production"] * 4 + ["staging", "production"],
            "version": [3] * 6,
            "shadow": [False] * 5 + [True],
            "event_time": [NOW - timedelta(hours=place) for place in range(6)],
            "review": chosen,
            "label": ["yes"] * 6,
            "score": [0.9] * 6,
            "reasons": [json.dumps(REASONS)] + [None] * 5,
        }
    )
    tables.write(fold.table("credit"), rows)


def told(tables: Tables, **outcome: Any) -> None:
    row = {"prediction_id": None, "key": None, "label": "no", "observed_at": NOW, "arrival": NOW}
    given = pl.DataFrame([{**row, **outcome, "segment": "s"}], schema=labels.empty().schema)
    tables.write(labels.table("credit"), given)


def test_what_was_chosen_waits_oldest_first_with_its_reasons(tables: Tables) -> None:
    logged(tables)

    found = queue(tables, "credit")

    assert [one.prediction_id for one in found.waiting] == ["p4", "p3", "p1", "p0"]
    last = found.waiting[-1]
    assert (last.why, last.key, last.answer, last.score) == ("when", "k0", "yes", 0.9)
    assert last.reasons == REASONS
    assert (last.at, found.total) == ("2013-05-06T00:00:00Z", 4)
    assert found.waiting[0].reasons is None


@pytest.mark.parametrize("outcome", [{"prediction_id": "p0"}, {"key": "k0"}])
def test_an_outcome_answers_one_by_its_id_or_its_key(
    tables: Tables, outcome: dict[str, str]
) -> None:
    logged(tables)
    told(tables, **outcome)

    assert [one.prediction_id for one in queue(tables, "credit").waiting] == ["p4", "p3", "p1"]


def test_one_environment_and_few_may_be_asked_for(tables: Tables) -> None:
    assert queue(tables, "credit") == Queue((), 0)
    logged(tables)

    found = queue(tables, "credit", environment="production", limit=2)

    assert ([one.prediction_id for one in found.waiting], found.total) == (["p3", "p1"], 3)


def test_a_person_lists_what_waits(
    world: Any, day: Callable[[float], datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world.space.root)

    def say(*arguments: str) -> str:
        return CliRunner().invoke(review.command, arguments, catch_exceptions=False).output

    assert "The contract asks for no review" in say("list")
    path = world.space.root / "loopline.yaml"
    path.write_text(path.read_text() + "\nreview: {when: probability > 0.9}\n")
    world.amend()
    world.serve(world.version())
    truth = world.traffic(1, day(3))
    world.look(day(4))

    told = json.loads(say("list", "--json", "--limit", "3"))

    assert len(told["waiting"]) == 3 < told["total"]
    assert {one["why"] for one in told["waiting"]} == {"when"}
    assert all(one["score"] > 0.9 for one in told["waiting"])
    shown = say("list", "--limit", "2")
    assert told["waiting"][0]["prediction_id"] in shown
    assert "not explained" in shown
    assert f"2 of {told['total']} that wait" in shown
    world.outcomes(truth, day(5))
    world.look(day(5))
    assert "Nothing waits for an expert" in say("list")
