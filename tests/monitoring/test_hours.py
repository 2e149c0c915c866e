"""Counts by the hour: whatever is added in whatever order, the sum is that of all the rows."""

from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from loopline.counts import pairs
from loopline.counts.kernel import count_arrays, count_column
from loopline.model.signature import Input, Signature
from loopline.monitoring import hours
from loopline.monitoring.hours import ERRORS, INPUT, LATENCY, OUTPUT, PAIR, ROWS, Cell
from loopline.monitoring.reference import Reference
from loopline.monitoring.segments import Stretch, Typed
from loopline.monitoring.windows import Window
from loopline.store.database import Database

GENERATOR = np.random.default_rng(3)
AMOUNTS = GENERATOR.lognormal(3, 1, 600)
PURPOSES = GENERATOR.choice(["car", "tv", "boat"], 600).astype(object)
SCORES = GENERATOR.random(600)
HOURS = GENERATOR.integers(100, 110, 600)

SIGNATURE = Signature(
    "credit", "binary",
    (
        Input("amount", "number"), Input("purpose", "category"), Input("email", "category",
        logged=False), Input("note", "text"), Input("id", "category", required=False),
    ),
    (), ("0", "1"), 0.5, key="id",
)  # fmt: skip
REFERENCE = Reference(
    3,
    SIGNATURE,
    count_arrays(
        {
            "amount": AMOUNTS,
            "purpose": PURPOSES,
            "id": PURPOSES,
            "email": PURPOSES,
            "probability": SCORES,
        }
    ),
    None,
)


def rows(places: np.ndarray, *, plausible: np.ndarray | None = None) -> Typed:
    return Typed(
        own=pl.DataFrame(),
        inputs=(),
        columns={"amount": AMOUNTS[places], "purpose": PURPOSES[places]},
        scores=SCORES[places],
        hours=HOURS[places],
        arrival_hours=HOURS[places] + 500,
        is_plausible=np.ones(len(places), bool) if plausible is None else plausible,
    )


def keep(database: Database, *parts: dict) -> None:
    for part in parts:
        with database.begin() as connection:
            hours.add(connection, "credit", part)


def summed(database: Database, first: int = 0, last: int = 10_000, version: int = 3) -> dict:
    return hours.total(database, "credit", "dev", version, Window(first, last))


def test_parts_that_come_one_after_another_add_to_the_whole(database: Database) -> None:
    shuffled = GENERATOR.permutation(600)

    keep(
        database,
        *(
            hours.of_predictions(rows(part), REFERENCE, ("dev", 3))
            for part in np.split(shuffled, 6)
        ),
    )

    found = summed(database)
    assert found[INPUT, "amount"] == count_column(AMOUNTS, REFERENCE.profile.columns["amount"])
    assert found[INPUT, "purpose"] == count_column(PURPOSES, REFERENCE.profile.columns["purpose"])
    assert found[OUTPUT, "probability"] == count_column(
        SCORES, REFERENCE.profile.columns["probability"]
    )
    assert found[ROWS, ""] == Counter(whole=600)


def test_a_window_holds_its_hours_and_no_other(database: Database) -> None:
    keep(database, hours.of_predictions(rows(np.arange(600)), REFERENCE, ("dev", 3)))

    inside = summed(database, 103, 106)

    assert inside[ROWS, ""] == Counter(whole=int(((HOURS >= 103) & (HOURS < 106)).sum()))
    assert summed(database, 110, 120) == {}
    assert summed(database, version=4) == {}
    assert hours.total(database, "other", "dev", 3, Window(0, 10_000)) == {}


def test_what_comes_late_adds_to_its_hour_and_none_between_is_read(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at(hour: int) -> dict:
        return {Cell("dev", 3, hour, "", ROWS): Counter(whole=1)}

    keep(database, at(100), at(3000), at(5000))
    usual, read = hours._rows, []

    def noted(*given, **more):
        read.append(given[3])
        return usual(*given, **more)

    monkeypatch.setattr(hours, "_rows", noted)
    keep(database, at(100) | at(101) | at(5000))

    assert read == [Window(100, 102), Window(5000, 5001)]
    assert summed(database, 100, 101)[ROWS, ""] == Counter(whole=2)
    assert summed(database)[ROWS, ""] == Counter(whole=6)


def test_events_implausibly_far_from_their_arrival_are_counted_apart(database: Database) -> None:
    plausible = np.arange(600) % 3 > 0

    keep(
        database,
        hours.of_predictions(rows(np.arange(600), plausible=plausible), REFERENCE, ("dev", 3)),
    )

    by_event, by_arrival = summed(database, 100, 110), summed(database, 600, 610)
    assert by_event[ROWS, ""] == Counter(whole=400)
    assert by_arrival == {(ROWS, ""): Counter(apart=200)}
    assert by_event[INPUT, "amount"].rows == 400


def test_one_hour_may_hold_both_kinds() -> None:
    typed = rows(np.arange(600), plausible=np.arange(600) % 3 > 0)
    at_once = replace(typed, arrival_hours=typed.hours)

    cells = hours.of_predictions(at_once, REFERENCE, ("dev", 3))

    both = sum((found for cell, found in cells.items() if cell.slice == ROWS), Counter())
    assert both == Counter(whole=400, apart=200)


def test_personal_columns_texts_and_keys_are_not_watched() -> None:
    assert hours.watched(REFERENCE) == ["amount", "purpose"]


def test_latencies_and_errors_are_kept_by_their_arrival(database: Database) -> None:
    stretch = Stretch(
        end=0,
        latencies={(3, 100): [0.001, 0.002], (3, 101): [0.5], (4, 100): [9.0]},
        errors=Counter({(3, 100, "503 A"): 2, (3, 100, "400 B"): 1, (3, 101, "503 A"): 3}),
    )

    keep(database, *[hours.of_service(stretch, "dev")] * 2)

    found = summed(database)
    assert found[LATENCY, ""] == count_column(np.array([0.001, 0.002, 0.5] * 2))
    assert found[ERRORS, ""] == Counter({"503 A": 10, "400 B": 2})
    assert summed(database, version=4)[LATENCY, ""].rows == 2


def test_what_a_transaction_did_not_finish_is_not_there(database: Database) -> None:
    cells = {Cell("dev", 3, 100, "", ROWS): Counter(whole=5)}
    keep(database, cells)

    def interrupted() -> None:
        with database.begin() as connection:
            hours.add(connection, "credit", cells)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert summed(database)[ROWS, ""] == Counter(whole=5)


def test_pairs_are_counted_by_the_hour_and_add_to_those_of_all_rows(database: Database) -> None:
    pair = ("amount", "purpose")
    grids = (pairs.grid_for(AMOUNTS), pairs.grid_for(PURPOSES))
    whole = pairs.count_pairs(AMOUNTS, PURPOSES, grids)
    reference = replace(REFERENCE, pairs={pair: whole})

    keep(
        database,
        *(
            hours.of_predictions(rows(part), reference, ("dev", 3))
            for part in np.split(GENERATOR.permutation(600), 6)
        ),
    )

    assert summed(database)[PAIR, "amount:purpose"] == whole
    each = hours.series(database, "credit", "dev", 3, Window(0, 1000), (PAIR, "amount:purpose"))
    assert sum(one.rows for one in each.values()) == 600
    assert len(each) == 10
