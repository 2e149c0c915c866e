"""The peers' examples: how a set is cut and watched, and what the tables say; no peer is needed."""

import json

import numpy as np
import polars as pl
import pytest
from bench.examples import Verdicts, of_chunks, of_performance, of_tables
from bench.examples_data import Example, make
from bench.examples_watch import Chunk, watched
from sklearn.metrics import roc_auc_score

from bench import examples, examples_data

LOAN = Example(
    "loan", "before.csv", "after.csv", "truth.csv", "binary", "repaid", "y_pred",
    {"1": "y_pred_proba"}, ("period",),
)  # fmt: skip


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A set as NannyML ships them: calibrated answers; `income` moves in the last third."""
    folder, draw = tmp_path_factory.mktemp("data"), np.random.default_rng(5)
    for name, rows in (("before", 600), ("after", 450)):
        chance = draw.uniform(0.02, 0.98, rows)
        truth = (draw.random(rows) < chance).astype(int)
        income = draw.normal(50, 5, rows)
        if name == "after":
            income[300:] += 20
        columns = {
            "id": np.arange(rows) + 1000 * (name == "after"),
            "income": income,
            "range": draw.choice(["low", "high"], rows),
            "note": [f"note {n}" for n in range(rows)],
            "period": [name] * rows,
            "timestamp": ["2018-01-01"] * rows,
            "y_pred_proba": chance.round(3),
            "y_pred": (chance >= 0.5).astype(int),
        }
        known = pl.DataFrame({"id": columns["id"], "repaid": truth})
        frame = pl.DataFrame(columns)
        if name == "before":
            frame = frame.join(known, on="id")
        else:  # targets come in another order
            known.reverse().write_csv(folder / "truth.csv")
        frame.write_csv(folder / f"{name}.csv")
    return folder


@pytest.fixture
def made(shipped, tmp_path, monkeypatch):
    monkeypatch.setattr(examples_data, "shipped", lambda: shipped)
    monkeypatch.setattr(examples_data, "CHUNKS", 3)
    return make(LOAN, tmp_path / "data")


def test_a_set_is_its_inputs_its_answers_and_its_late_targets(made, shipped):
    spec = json.loads((made.folder / "spec.json").read_text())

    assert (made.numbers, made.texts, made.chunk) == (("income",), ("range",), 150)
    assert (spec["metric"], spec["given"]) == ("roc_auc", {"1": "y_pred_proba"})
    after = pl.read_parquet(made.tables[1])
    truth = pl.read_csv(shipped / "truth.csv").sort("id")
    assert after["repaid"].to_list() == truth["repaid"].to_list()
    assert [piece.height for piece in made.chunks()] == [150, 150, 150]


def test_under_watch_each_chunk_is_judged_estimated_and_realised(made, tmp_path):
    seen = watched(made, tmp_path / "project")

    assert [chunk.rows for chunk in seen] == [150, 150, 150]
    assert [("income" in chunk.found, "range" in chunk.found) for chunk in seen] == [
        (False, False), (False, False), (True, False)
    ]  # fmt: skip
    held = []
    for chunk, piece in zip(seen, made.chunks(), strict=True):
        by_hand = roc_auc_score(piece["repaid"], piece["y_pred_proba"])
        assert chunk.realised == pytest.approx(by_hand, abs=2e-3)
        value, low, high = chunk.estimated
        assert low < value < high
        held.append(low <= by_hand <= high)
    # 150 rows scatter: the first chunk's AUC is 0.887, where 0.833 is to be expected of them all.
    assert held == [False, True, True]


def test_the_tables_count_what_is_alike_and_say_what_differs():
    verdicts = Verdicts(
        "synthetic_car_loan", (10, 20), ["a", "b"],
        {"a": {"drifted": True, "psi": 0.5}, "b": {"drifted": False, "psi": 0.1}},
        {
            "whole": {"a": 0.3, "b": 0.14}, "chunks": {"a": [0.3, 0.05], "b": [0.15, 0.02]},
            "estimated": [0.8, 0.7], "low": [0.7, 0.6], "high": [0.9, 0.8], "realised": [0.8, 0.5],
        },
        {"whole": {"a": {"drifted": True, "value": 0.2}, "b": {"drifted": False, "value": 0.01}}},
        [
            Chunk(9, (0.7, 0.65, 0.75), 0.8, {"a": 0.5, "b": 0.1}, {"a": 0.3, "b": 0.2}, [], ["a"]),
            Chunk(10, (0.6, 0.4, 0.8), 0.5, {"a": 0.1, "b": 0.1}, {"a": 0.1, "b": 0.2}, ["b"], []),
        ],
    )  # fmt: skip

    [whole] = [*of_tables([verdicts])][2:]
    [chunks] = [*of_chunks([verdicts])][2:]
    [performance] = [*of_performance([verdicts])][2:]

    assert whole == (
        "| `synthetic_car_loan` | 10 and 20 | 2 | 1 | `b`: Loopline no (PSI 0.10), "
        "NannyML yes (0.14), Evidently no (0.01) |\n"
    )
    assert chunks == "| `synthetic_car_loan` | 4 | 2 | 1 | 3 | 4 |  |\n"
    # Off by 0 and 0.2, and by 0.1 and 0.1; one of two intervals holds 0.8 and 0.5 each.
    assert performance == (
        "| `synthetic_car_loan` | roc_auc | 0.5 to 0.8 | 0 | 0.1 | 0.1 | 1 of 2 | 1 of 2 |\n"
    )


def test_a_difference_at_the_same_limit_is_told_with_its_figures_and_its_chance():
    verdicts = Verdicts(
        "titanic", (1, 1), ["a"], {}, {"chunks": {"a": [0.3, 0.2]}}, {},
        [Chunk(1, distance={"a": 0.29}, chance=["a"]), Chunk(1, distance={"a": 0.05})],
    )  # fmt: skip

    [told] = [*of_chunks([verdicts])][2:]

    assert "`a` 2 (NannyML 0.20 to 0.30, Loopline 0.05 to 0.29, 1 no more than chance)" in told


def test_a_set_that_nobody_knows_is_refused(capsys):
    with pytest.raises(SystemExit):
        examples.main(["--only", "nothing"])

    assert "invalid choice: 'nothing'" in capsys.readouterr().err
