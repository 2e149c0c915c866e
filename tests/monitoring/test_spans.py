"""A closed span is the sum of its hours, whatever comes late and in whatever order."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, update

from loopline.counts.kernel import ColumnCounts, count_column
from loopline.counts.pairs import count_pairs
from loopline.monitoring import hours, spans
from loopline.monitoring.hours import INPUT, OF_OUTCOMES, PAIR, ROWS, SCORED, Cell, Counts
from loopline.monitoring.windows import HOUR, Window, moment
from loopline.store import database as store
from loopline.store.database import Database, counts
from loopline.store.database import spans as stored_spans

NUMBERS = count_column(np.random.default_rng(1).normal(30, 4, 300))
WORDS = count_column(np.array(["car", "tv", "boat", "car"], object))
GRIDS = (NUMBERS.offset, ("boat", "car", "tv"))
FIRST = 168 * 60
"""The first hour of a week."""


def at(hour: int) -> datetime:
    return moment(hour * HOUR)


def of_rows(*, hour: int, numbers: list[float], words: list[str], version: int = 3) -> dict:
    """Return a few predictions of one hour, counted."""
    place = ("dev", version, hour)
    return {
        Cell(*place, "amount", INPUT): count_column(np.array(numbers), NUMBERS),
        Cell(*place, "purpose", INPUT): count_column(np.array(words, object), WORDS),
        Cell(*place, "amount:purpose", PAIR): count_pairs(
            np.array(numbers), np.array(words, object), GRIDS
        ),
        Cell(*place, "", ROWS): Counter(whole=len(numbers)),
    }


def keep(database: Database, *parts: dict[Cell, Counts]) -> None:
    for part in parts:
        with database.begin() as connection:
            hours.add(connection, "credit", part)


def close(database: Database, hour: int) -> int:
    """Close whatever is over; return how many spans that were."""
    found = 0
    while closed := spans.close(database, "credit", at(hour), OF_OUTCOMES):
        found += closed
    return found


def summed(database: Database, first: int, last: int, version: int = 3) -> dict:
    return hours.total(database, "credit", "dev", version, Window(first, last))


def is_closed(database: Database) -> dict[tuple[int, int, int], bool]:
    """Return whether each span is closed, by version, length and hours from the first on."""
    with database.read() as connection:
        return {
            (row.version, row.hours, row.start // HOUR - FIRST): row.payload is not None
            for row in connection.execute(select(stored_spans))
        }


def spoil_hours(database: Database) -> None:
    """Leave rows of hours that cannot be read: whoever reads one fails."""
    with database.begin() as connection:
        connection.execute(update(counts).values(payload=b"spoilt"))


def test_a_day_that_is_over_is_read_without_any_hour_of_it(database: Database) -> None:
    keep(
        database,
        of_rows(hour=FIRST + 1, numbers=[20.0, 31.0], words=["tv", "car"]),
        of_rows(hour=FIRST + 23, numbers=[np.nan], words=["skate"]),
    )
    before = summed(database, FIRST, FIRST + 24)

    assert close(database, FIRST + 25) == 3
    spoil_hours(database)

    assert summed(database, FIRST, FIRST + 24) == before
    assert before[ROWS, ""] == Counter(whole=3)
    assert before[INPUT, "amount"] == count_column(np.array([20.0, 31.0, np.nan]), NUMBERS)
    assert before[INPUT, "purpose"].named == {"car": 1, "tv": 1}
    assert before[PAIR, "amount:purpose"].rows == 2


def test_what_lies_outside_whole_spans_is_read_hour_by_hour(database: Database) -> None:
    for hour in (-2, 5, 30, 49, 167, 170):
        keep(database, of_rows(hour=FIRST + hour, numbers=[30.0], words=["car"]))
    close(database, FIRST + 1000)

    def rows(first: int, last: int) -> int:
        return summed(database, FIRST + first, FIRST + last)[ROWS, ""]["whole"]

    assert rows(-168, 336) == 6
    assert rows(-2, 171) == 6
    assert rows(-1, 170) == 4
    assert rows(0, 168) == 4
    assert rows(1, 167) == 3
    assert rows(5, 24) == 1
    assert rows(-2, 31) == 3


def test_the_longest_spans_that_fit_are_read_and_nothing_within_them(database: Database) -> None:
    keep(database, {Cell("dev", 3, FIRST + hour, "", ROWS): Counter(a=1) for hour in range(400)})
    close(database, FIRST + 1000)
    with database.begin() as connection:
        for length, number in ((24, 10), (6, 100)):
            payload = spans._encode({(ROWS, ""): [b'{"a":%d}' % number]})
            mine = stored_spans.c.hours == length
            connection.execute(update(stored_spans).where(mine).values(payload=payload))
        connection.execute(update(counts).values(payload=b'{"a":1000}'))

    # A week; three days; two times six hours; five hours.
    found = summed(database, FIRST, FIRST + 168 + 3 * 24 + 2 * 6 + 5)

    assert found[ROWS, ""] == Counter(a=168 + 3 * 10 + 2 * 100 + 5 * 1000)


def test_a_span_is_closed_an_hour_after_its_end_and_not_before(database: Database) -> None:
    keep(
        database,
        of_rows(hour=FIRST, numbers=[1.0], words=["car"]),
        of_rows(hour=FIRST + 6, numbers=[1.0], words=["car"], version=4),
    )

    early = at(FIRST + 7) - timedelta(seconds=1)
    assert spans.close(database, "credit", early, OF_OUTCOMES) == 0
    assert close(database, FIRST + 7) == 1
    assert is_closed(database) == {
        (3, 6, 0): True, (3, 24, 0): False, (3, 168, 0): False,
        (4, 6, 6): False, (4, 24, 0): False, (4, 168, 0): False,
    }  # fmt: skip
    assert close(database, FIRST + 25) == 3
    assert close(database, FIRST + 25) == 0


def test_what_comes_late_is_added_to_the_hour_and_to_the_closed_spans(database: Database) -> None:
    keep(database, of_rows(hour=FIRST + 7, numbers=[30.0], words=["car"]))
    close(database, FIRST + 100)

    keep(database, of_rows(hour=FIRST + 7, numbers=[31.0, 32.0], words=["tv", "car"]))
    keep(database, of_rows(hour=FIRST + 8, numbers=[33.0], words=["car"]))
    by_hour = hours.series(
        database, "credit", "dev", 3, Window(FIRST, FIRST + 24), (INPUT, "amount")
    )
    spoil_hours(database)

    assert by_hour[FIRST + 7].rows == 3
    for first, last in ((6, 12), (0, 24)):
        found = summed(database, FIRST + first, FIRST + last)
        assert found[INPUT, "amount"] == count_column(np.array([30.0, 31.0, 32.0, 33.0]), NUMBERS)
        assert found[INPUT, "amount"] == by_hour[FIRST + 7] + by_hour[FIRST + 8]
        assert found[INPUT, "purpose"].named == {"car": 3, "tv": 1}
        assert found[ROWS, ""] == Counter(whole=4)


def test_what_a_transaction_did_not_finish_is_in_neither(database: Database) -> None:
    keep(database, of_rows(hour=FIRST, numbers=[30.0], words=["car"]))
    close(database, FIRST + 100)

    def interrupted() -> None:
        with database.begin() as connection:
            hours.add(connection, "credit", of_rows(hour=FIRST, numbers=[31.0], words=["tv"]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert summed(database, FIRST, FIRST + 24)[ROWS, ""] == Counter(whole=1)
    assert summed(database, FIRST, FIRST + 1)[ROWS, ""] == Counter(whole=1)


def test_known_outcomes_are_in_no_span(database: Database) -> None:
    known = Cell("dev", 3, FIRST, "", f"{SCORED}01")
    keep(database, of_rows(hour=FIRST, numbers=[30.0], words=["car"]), {known: NUMBERS})
    close(database, FIRST + 100)
    keep(database, {known: NUMBERS})

    window = Window(FIRST, FIRST + 24)
    outcomes = hours.total(database, "credit", "dev", 3, window, outcomes=True)

    assert outcomes == {(known.slice, ""): NUMBERS + NUMBERS}
    assert set(summed(database, FIRST, FIRST + 24)) == {
        (INPUT, "amount"), (INPUT, "purpose"), (PAIR, "amount:purpose"), (ROWS, "")
    }  # fmt: skip


def test_a_long_log_is_closed_a_few_at_a_time_the_newest_first(database: Database) -> None:
    place = ("dev", 3)
    keep(database, {Cell(*place, FIRST + 24 * n, "", ROWS): Counter(whole=1) for n in range(40)})

    found = [spans.close(database, "credit", at(FIRST + 2000), OF_OUTCOMES)]
    first = is_closed(database)
    found += [spans.close(database, "credit", at(FIRST + 2000), OF_OUTCOMES) for _ in range(3)]

    assert found == [32, 32, 22, 0]
    closed = sorted(hour // 24 for (_, length, hour), done in first.items() if done)
    assert closed == list(range(8, 40))


def test_a_span_that_another_closes_meanwhile_is_left_as_it_is(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(database, of_rows(hour=FIRST, numbers=[30.0], words=["car"]))
    closing = spans._close

    def after_another(*arguments: object) -> None:
        monkeypatch.undo()
        close(database, FIRST + 100)
        keep(database, of_rows(hour=FIRST, numbers=[31.0], words=["tv"]))
        closing(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(spans, "_close", after_another)
    close(database, FIRST + 100)

    assert summed(database, FIRST, FIRST + 24)[ROWS, ""] == Counter(whole=2)


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.integers(0, 200),
            st.lists(st.sampled_from([-3.0, 0.0, 29.0, 30.5, 1e9, np.inf, np.nan]), max_size=3),
        ),
        st.integers(1, 300),
    ),
    max_size=12,
)


@settings(max_examples=30)
@given(STEPS, st.integers(0, 40), st.integers(1, 180))
def test_any_window_is_the_sum_of_its_hours_whatever_was_closed_when(
    steps: list[tuple[int, list[float]] | int], start: int, length: int
) -> None:
    rows: list[tuple[int, float]] = []
    with TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder) / 'l.db'}")
        for step in steps:
            if isinstance(step, int):
                close(database, FIRST + step)
                continue
            hour, numbers = step
            keep(
                database,
                of_rows(hour=FIRST + hour, numbers=numbers, words=["tv"] * len(numbers)),
            )
            rows += [(hour, number) for number in numbers]
        found = summed(database, FIRST + start, FIRST + start + length)
        database.close()

    inside = [number for hour, number in rows if start <= hour < start + length]
    amounts = found.get((INPUT, "amount"), count_column(np.array([]), NUMBERS))
    assert amounts == count_column(np.array(inside, float), NUMBERS)
    assert found.get((ROWS, ""), Counter()) == Counter({"whole": len(inside)})


def test_hours_of_an_earlier_loopline_are_closed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = tmp_path / "migrations"
    earlier.mkdir()
    first = store._MIGRATIONS / "0001_first.sql"
    (earlier / first.name).write_text(first.read_text())
    with monkeypatch.context() as patched:
        patched.setattr(store, "_MIGRATIONS", earlier)
        database = Database(f"sqlite:///{tmp_path / 'l.db'}")
    cells: Iterable[Cell] = [
        Cell("dev", 3, FIRST + 2, "amount", INPUT),
        Cell("dev", 3, FIRST + 9, "amount", INPUT),
        Cell("dev", 3, FIRST + 30, "", f"{SCORED}01"),
    ]
    with database.begin() as connection:
        for cell in cells:
            row = {**cell._asdict(), "hour": cell.hour * HOUR}
            payload = NUMBERS.to_bytes()
            connection.execute(insert(counts).values(project="credit", **row, payload=payload))
    database.close()

    database = Database(f"sqlite:///{tmp_path / 'l.db'}")

    assert set(is_closed(database)) == {(3, 6, 0), (3, 6, 6), (3, 24, 0), (3, 168, 0)}
    assert close(database, FIRST + 100) == 3
    spoil_hours(database)
    found = summed(database, FIRST, FIRST + 24)[INPUT, "amount"]
    assert isinstance(found, ColumnCounts)
    assert found == NUMBERS + NUMBERS
