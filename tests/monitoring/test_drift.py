"""Drift on real flights: the figures, and what is judged to be one."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from loopline.contract.schema import Contract
from loopline.counts.kernel import count_arrays
from loopline.model.signature import Input, Signature
from loopline.monitoring import drift
from loopline.monitoring.alike import Alike
from loopline.monitoring.drift import Drift
from loopline.monitoring.findings import Finding, Subject
from loopline.monitoring.hours import INPUT, OUTPUT, ROWS
from loopline.monitoring.reference import Reference
from loopline.monitoring.windows import Window

COLUMNS = {"dep_delay": "number", "distance": "number", "carrier": "category", "dest": "category"}
WINDOW = Window(380_000, 380_168)
SUBJECT = Subject("flights", "production", 3, datetime(2013, 5, 8, tzinfo=UTC))


def contract(*rules: str, **limits: float) -> Contract:
    return Contract.model_validate(
        {
            "project": "flights",
            "problem": {"task": "binary", "target": "late"},
            "goals": [{"metric": "roc_auc", "at_least": 0.65}],
            "data": {"source": "x.csv"},
            "monitor": {"drift": limits or {"psi": 0.2}},
            "respond": [{"when": rule, "do": "alert"} for rule in rules],
        }
    )


def arrays(frame: pl.DataFrame) -> dict[str, np.ndarray]:
    kinds = {"number": float, "category": object}
    return {name: np.array(frame[name].to_list(), kinds[kind]) for name, kind in COLUMNS.items()}


def compare(before: pl.DataFrame, now: pl.DataFrame) -> tuple[Drift, ...]:
    profile = count_arrays({**arrays(before), "probability": np.linspace(0, 1, len(before))})
    inputs = tuple(Input(name, kind) for name, kind in COLUMNS.items())  # type: ignore[arg-type]
    reference = Reference(3, Signature("flights", "binary", inputs, ()), profile, None)
    counted: dict[tuple[str, str], Any] = {
        (INPUT, name): found for name, found in count_arrays(arrays(now), profile).columns.items()
    }
    scores = {"probability": np.linspace(0, 1, len(now)) ** 2}
    counted[OUTPUT, "probability"] = count_arrays(scores, profile).columns["probability"]
    counted[ROWS, ""] = Counter(whole=len(now))
    return drift.measure(reference, counted)


def named(drifted: tuple[Drift, ...], column: str) -> Drift:
    [found] = [one for one in drifted if one.column == column]
    return found


def judged(drifted: tuple[Drift, ...], *rules: str, **limits: float) -> dict[str, Finding]:
    found = drift.judge(
        contract(*rules, **limits), SUBJECT, drifted, WINDOW, lambda _: ["ZZZ", "YYY"]
    )
    return {finding.subject: finding for finding in found}


@pytest.fixture(scope="module")
def february(flights: pl.DataFrame) -> pl.DataFrame:
    return flights.filter(pl.col("month") == 2)


@pytest.fixture(scope="module")
def july(flights: pl.DataFrame) -> pl.DataFrame:
    return flights.filter(pl.col("month") == 7)


def test_the_figures_are_those_that_scipy_finds_in_the_values(
    february: pl.DataFrame, july: pl.DataFrame
) -> None:
    drifted = compare(february, july)

    delay = named(drifted, "dep_delay")
    exact = stats.ks_2samp(february["dep_delay"].drop_nulls(), july["dep_delay"].drop_nulls())
    assert delay.figures["ks"] == pytest.approx(exact.statistic, abs=delay.bounds["ks"])
    assert delay.figures["missing_rate"] == july["dep_delay"].null_count() / len(july)
    assert delay.rows == len(july)
    carrier = named(drifted, "carrier")
    names = february["carrier"].unique().sort().to_list()
    table = [
        [frame.filter(pl.col("carrier") == n).height for n in names] for frame in (february, july)
    ]
    assert carrier.figures["p_value"] == pytest.approx(stats.chi2_contingency(table).pvalue)


def test_the_worst_column_comes_first(february: pl.DataFrame, july: pl.DataFrame) -> None:
    sizes = [one.figures["psi"] for one in compare(february, july)]

    assert sizes == sorted(sizes, reverse=True)


def test_the_same_months_have_not_drifted(february: pl.DataFrame) -> None:
    found = judged(compare(february, february.sample(fraction=0.5, seed=1)))

    assert {one.status for name, one in found.items() if name != "probability"} == {"resolved"}


def test_a_hundred_destinations_in_few_rows_are_chance_and_no_drift(
    february: pl.DataFrame,
) -> None:
    drifted = compare(february, february.sample(200, seed=3))

    dest = named(drifted, "dest")
    assert dest.figures["psi"] > 0.2
    assert dest.figures["psi_by_chance"] > 0.2
    assert judged(drifted)["dest"].status == "resolved"
    assert drift.worst(drifted)["psi"][0] != "dest"


def test_new_values_are_found_by_a_rule_and_named(
    february: pl.DataFrame, july: pl.DataFrame
) -> None:
    changed = july.with_columns(
        carrier=pl.when(pl.int_range(pl.len()) % 4 == 0).then(pl.lit("ZZZ")).otherwise("carrier")
    )

    finding = judged(compare(february, changed), "new_category_rate > 20%", psi=99)["carrier"]

    assert (finding.status, finding.metric, finding.limit) == ("open", "new_category_rate", 0.2)
    assert finding.value == pytest.approx(0.25, abs=1e-4)
    assert finding.message == (
        "carrier of flights:3 in production has drifted on 29,425 predictions, 2013-05-08 08:00 to "
        "2013-05-15 08:00: new_category_rate 25.00% (limit 20.00%); new are ZZZ, YYY."
    )


def test_missing_values_are_found_by_a_rule(february: pl.DataFrame, july: pl.DataFrame) -> None:
    empty = july.with_columns(distance=pl.lit(None, pl.Float64))

    finding = judged(compare(february, empty), "missing_rate > 50%", psi=99)["distance"]

    assert (finding.status, finding.metric, finding.value) == ("open", "missing_rate", 1.0)


def test_predictions_are_judged_by_the_rule_about_them(february: pl.DataFrame) -> None:
    drifted = compare(february, february)

    strict = judged(drifted, "prediction_psi > 0.1", psi=99)["probability"]
    loose = judged(drifted, "prediction_psi > 50", psi=99)["probability"]

    assert (strict.status, strict.limit) == ("open", 0.1)
    assert (loose.status, loose.limit) == ("resolved", 50)
    assert drift.worst(drifted)["prediction_psi"][1] == named(drifted, "probability").figures["psi"]


def test_each_limit_of_the_contract_counts(february: pl.DataFrame, july: pl.DataFrame) -> None:
    drifted = compare(february, july)
    ks = named(drifted, "dep_delay").figures["ks"]

    assert judged(drifted, ks=ks - 0.01)["dep_delay"].metric == "ks"
    assert judged(drifted, ks=ks - 0.01)["dep_delay"].status == "open"
    assert judged(drifted, ks=ks + 0.01)["dep_delay"].status == "resolved"


def test_a_column_near_its_limit_stays_as_it_was(
    february: pl.DataFrame, july: pl.DataFrame
) -> None:
    drifted = compare(february, july)
    delay = named(drifted, "dep_delay")
    beyond, margin = delay.figures["psi"] - delay.figures["psi_by_chance"], delay.margin
    assert 0 < margin < beyond

    def status(limit: float, *opened: str, by: str = "interval") -> str:
        asked = contract(psi=limit)
        monitor = asked.monitor.model_copy(update={"judge_by": by})
        asked = asked.model_copy(update={"monitor": monitor})
        found = drift.judge(asked, SUBJECT, (delay,), WINDOW, lambda _: [], opened)
        return found[0].status

    above, below = beyond + margin / 2, beyond - margin / 2
    assert [status(limit) for limit in (below, above)] == ["open", "resolved"]
    assert [status(limit, "dep_delay") for limit in (below, above)] == ["open", "open"]
    assert status(beyond + 1.1 * margin, "dep_delay") == "resolved"
    assert [status(limit, "dep_delay", by="figure") for limit in (below, above)] == [
        "open",
        "resolved",
    ]


def test_what_days_explain_is_no_drift(february: pl.DataFrame, july: pl.DataFrame) -> None:
    delay = named(compare(february, july), "dep_delay")
    expected = count_arrays(arrays(february)).columns["dep_delay"]
    current = count_arrays(arrays(july), count_arrays(arrays(february))).columns["dep_delay"]

    calm = drift.among_days(delay, expected, current, Alike(values=2.0))
    wild = drift.among_days(delay, expected, current, Alike(values=3000.0))

    limit = delay.figures["psi"] / 2
    assert calm.figures["psi_by_chance"] == pytest.approx(
        2 * delay.figures["psi_by_chance"], rel=0.2
    )
    for one, status in ((delay, "open"), (calm, "open"), (wild, "resolved")):
        found = drift.judge(contract(psi=limit), SUBJECT, (one,), WINDOW, lambda _: [])
        assert found[0].status == status
    beyond = calm.figures["psi"] - calm.figures["psi_by_chance"]
    assert 0 < calm.margin_of_days < calm.margin
    for less, status in ((0.9, "resolved"), (1.1, "open")):
        near = contract(psi=beyond - less * calm.margin_of_days)
        found = drift.judge(near, SUBJECT, (calm,), WINDOW, lambda _: [])
        assert found[0].status == status
    assert drift.is_beyond(contract(psi=limit), calm)
    assert not drift.is_beyond(contract(psi=limit), wild)
