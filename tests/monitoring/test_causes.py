"""Columns that drift together are one finding, explained once and followed until it passes."""

from collections.abc import Callable
from typing import Any

import pytest

from loopline.monitoring import causes
from loopline.monitoring.causes import Context, Seen
from loopline.monitoring.findings import Finding, finding_id
from loopline.monitoring.onset import Onset
from loopline.store.ledger import Event

HOUR = 380_000  # 2013-05-08 08:00 UTC
SINCE = "2013-05-08T08:00:00Z"
Make = Callable[..., Finding]


@pytest.fixture
def column(finding: Make) -> Make:
    """The judgement of one column."""

    def make(name: str, *, value: float = 0.5) -> Finding:
        return finding(
            id=finding_id("credit", "production", 3, "drift", name),
            subject=name,
            value=value,
            status="open" if value > 0.2 else "resolved",
            message=f"{name} is so.",
            evidence={"figures": {"psi": value}},
        )

    return make


def context(
    hours: dict[str, int | None], known: list[Finding] | None = None, **more: Any
) -> Context:
    def explain(name: str) -> Seen:
        hour = hours[name]
        return Seen(None if hour is None else Onset(hour))

    return Context({one.id: one for one in known or []}, explain, **more)


def test_columns_that_drift_from_one_hour_on_are_one_finding(column: Make) -> None:
    judged = [
        column("temp"),
        column("humid", value=0.9),
        column("seats"),
        column("price", value=0.1),
    ]

    found = causes.gather(judged, context({"temp": HOUR, "humid": HOUR + 2, "seats": HOUR + 30}))

    opened = {one.subject: one for one in found if one.status == "open"}
    assert set(opened) == {"humid", "seats"}  # humid drifts most and leads
    assert opened["humid"].columns == ("humid", "temp")
    assert opened["humid"].since == "2013-05-08T10:00:00Z"
    assert opened["humid"].id == column("humid").id
    assert "2 columns of credit:3 in production have drifted together" in opened["humid"].message
    assert opened["seats"].message == "seats is so. Since 2013-05-09 14:00 UTC."
    assert [one.subject for one in found if one.status == "resolved"] == ["price"]


def test_what_the_model_relies_on_leads(column: Make) -> None:
    judged = [column("temp", value=0.9), column("carrier", value=0.3)]

    [found] = causes.gather(
        judged, context({"temp": HOUR, "carrier": HOUR}, importances={"carrier": 0.6, "temp": 0.02})
    )

    assert found.columns == ("carrier", "temp")
    assert "Of what the model relies on: carrier 60%, temp 2%." in found.message


def test_a_cause_keeps_its_name_and_its_beginning(column: Make) -> None:
    [first] = causes.gather(
        [column("temp"), column("humid")], context({"temp": HOUR, "humid": HOUR})
    )
    lead, other = first.columns

    # The next look would part the hours elsewhere; it is not asked.
    [next_] = causes.gather([column(lead, value=0.4), column(other)], context({}, [first]))
    assert (next_.id, next_.since, next_.columns) == (first.id, SINCE, first.columns)

    [alone] = causes.gather([column(lead, value=0.1), column(other)], context({}, [first]))
    assert (alone.id, alone.status, alone.columns) == (first.id, "open", (other,))

    gone = causes.gather([column(lead, value=0.1), column(other, value=0.1)], context({}, [first]))
    assert [(one.id, one.status) for one in gone] == [(first.id, "resolved")]


def test_a_column_that_joins_later_joins_the_cause_that_began_with_it(column: Make) -> None:
    [first] = causes.gather([column("temp")], context({"temp": HOUR}))

    [both] = causes.gather([column("temp"), column("humid")], context({"humid": HOUR + 5}, [first]))
    assert (both.id, both.columns) == (first.id, ("temp", "humid"))

    apart = causes.gather([column("temp"), column("humid")], context({"humid": HOUR + 7}, [first]))
    assert len({one.id for one in apart}) == 2


def test_without_an_onset_every_column_is_its_own_cause(column: Make) -> None:
    found = causes.gather([column("temp"), column("humid")], context({"temp": None, "humid": None}))

    assert {one.message for one in found} == {"temp is so.", "humid is so."}
    assert {one.since for one in found} == {None}


def test_causes_of_other_versions_and_places_are_left_alone(column: Make, finding: Make) -> None:
    other = finding(id="feed", version=2, subject="temp", since=SINCE, columns=("temp",))

    [found] = causes.gather([column("temp")], context({"temp": HOUR}, [other]))

    assert found.id == column("temp").id


def test_what_cannot_be_judged_leaves_its_cause_as_it_was(column: Make) -> None:
    [first] = causes.gather([column("temp")], context({"temp": HOUR}))

    assert causes.gather([column("price", value=0.1)], context({}, [first])) == [
        column("price", value=0.1)
    ]
    assert causes.gather([], context({}, [first])) == []


def event(kind: str, at: str, **payload: Any) -> Event:
    return Event(1, at, "ada", kind, "snap-1", payload, "", "")


def test_a_release_and_a_snapshot_coincide_that_came_shortly_before(column: Make) -> None:
    def released(at: str, environment: str = "production", number: int = 5) -> Event:
        serves = [{"version": 3}]
        return event("release.written", at, environment=environment, number=number, serves=serves)

    events = [
        released("2013-05-08T07:40:00Z"),
        released("2013-05-08T07:50:00Z", "dev", 6),
        released("2013-05-06T07:40:00Z", number=4),
        event("snapshot.frozen", "2013-05-08T05:00:00Z"),
    ]

    [found] = causes.gather([column("temp")], context({"temp": HOUR}, events=events))

    assert found.evidence["coincides"] == [
        "release 5 (credit:3) of 2013-05-08 07:40 UTC",
        "snapshot.frozen snap-1 of 2013-05-08 05:00 UTC",
    ]
    assert "It coincides with release 5 (credit:3) of 2013-05-08 07:40 UTC." in found.message


def test_slices_and_money_are_told(column: Make) -> None:
    slices = ({"column": "origin", "value": "LGA", "share": 0.97},)
    told = Context(
        {}, lambda _: Seen(Onset(HOUR), slices), money="That is 300 EUR more over the window."
    )

    [found] = causes.gather([column("temp")], told)

    assert "97% of it lies in origin LGA." in found.message
    assert found.message.endswith("That is 300 EUR more over the window.")
    assert found.evidence["slices"] == list(slices)
