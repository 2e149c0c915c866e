"""Versions as tables: what they were made from and asked, and both as rows of a file."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from loopline.counts import pairs, saved
from loopline.counts.kernel import count_column
from loopline.errors import LooplineError, SourceError, UnknownVersionError
from loopline.monitoring import hours
from loopline.monitoring.hours import INPUT
from loopline.monitoring.reference import References
from loopline.monitoring.windows import Window
from loopline.pipeline.workspace import Workspace
from loopline.publishing import kept
from loopline.publishing.described import describe
from loopline.settings import Settings


def test_a_version_is_described_by_the_rows_that_trained_it(trained: Path) -> None:
    found = describe("credit:1", root=trained)

    [table] = found.tables
    assert (table.name, table.rows) == ("credit:1", 450)
    assert table.types["credit_amount"] == "number"
    assert table.types["purpose"] == "category"
    assert "probability" not in table.types


def test_a_file_has_drifted_from_a_version_or_not(trained: Path, tmp_path: Path) -> None:
    rows = pl.read_csv(trained / "credit.csv")
    inputs = describe("credit:1", root=trained).tables[0].types
    rows.write_parquet(tmp_path / "same.parquet")
    rows.with_columns(pl.col("credit_amount") * 9).write_parquet(tmp_path / "other.parquet")

    same = describe("credit:1", tmp_path / "same.parquet", root=trained)
    other = describe("credit:1", tmp_path / "other.parquet", root=trained)

    assert {one.column for one in same.changes} == set(inputs)  # the target is no input
    assert not same.drifted
    assert [one.column for one in other.changes if one.drifted] == ["credit_amount"]


def test_what_production_was_asked_is_a_table_and_its_hours_are_rows(
    world: Any, day: Any, tmp_path: Path
) -> None:
    pair = ("credit_amount", "purpose")
    amount = world.rows["credit_amount"].to_numpy()
    purpose = np.array(world.rows["purpose"].to_list(), object)
    counted = pairs.count_pairs(amount, purpose, (pairs.grid_for(amount), pairs.grid_for(purpose)))
    version = world.version(more={"pairs.bin": pairs.encode({pair: counted})})
    world.serve(version)
    for number in range(3):
        world.traffic(1, day(1 + number), errors=2)
    world.look(day(4))
    root, file = world.space.root, tmp_path / "hours.parquet"

    found = describe("credit:1", "credit:1@production", root=root)
    found.save(file)
    again = describe(file)

    assert [table.rows for table in found.tables] == [1000, 600]
    assert {one.column for one in found.changes} == {
        "age_in_years", "credit_amount", "purpose", "housing"
    }  # fmt: skip
    assert found.pairs[0].columns == pair
    assert [table.name for table in again.tables] == ["credit:1", "credit:1 production"]
    assert again.tables[1].adds == ("probability",)  # an answer is no column of training rows
    for name, column in found.tables[1].profile.columns.items():
        assert again.tables[1].profile.columns[name] == column
    assert again.tables[1].pairs == found.tables[1].pairs

    rows = pl.read_parquet(file)
    mine = rows.filter(pl.col("environment") == "production")
    assert mine["hour"].n_unique() == 3
    assert mine["dataset"].unique().to_list() == ["credit:1"]
    assert {"input", "output", "pair", "rows", "errors", "latency"} <= set(mine["slice"])
    amounts = mine.filter((pl.col("column") == "credit_amount") & (pl.col("slice") == "input"))
    assert amounts["rows"].to_list() == [200, 200, 200]
    window = Window(0, 10**6)
    stored = hours.series(
        world.space.database, "credit", "production", 1, window, (INPUT, "credit_amount")
    )
    assert [sum(counts) for counts in amounts["counts"]] == [one.present for one in stored.values()]


def test_truths_are_a_category_as_in_any_table() -> None:
    truths = count_column(np.array([1.0, 0.0, 1.0, np.nan]))
    always = count_column(np.array([1.0, 1.0]))  # its offset is 1

    assert kept._typed(truths, "boolean").named == {"false": 1, "true": 2}
    assert kept._typed(truths, "boolean").missing == 1
    assert kept._typed(always, "boolean").named == {"true": 2}
    assert kept._typed(truths, "number") is truths


def test_what_names_no_version_is_refused_with_what_it_could_be(
    trained: Path, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match="and the one here is credit"):
        describe("churn:1", root=trained)
    with pytest.raises(UnknownVersionError):
        describe("credit:9", root=trained)
    with pytest.raises(SourceError, match="Nothing was counted yet of credit:1 in production"):
        describe("credit:1@production", root=trained)
    with pytest.raises(SourceError, match=r"no file credit:1, and no loopline\.yaml"):
        describe("credit:1", root=tmp_path)
    with pytest.raises(LooplineError, match="keeps counts, and no rows"):
        describe("credit:1", trained / "credit.csv", multivariate=True, root=trained)
    pl.DataFrame({"x": [1.0, 2.0]}).write_parquet(tmp_path / "credit:1")
    assert describe("credit:1", root=tmp_path).tables[0].types == {"x": "number"}
    assert saved.is_saved(tmp_path / "credit:1") is False


def test_postgresql_gives_the_same_rows(
    tmp_path: Path, world: Any, day: Any, postgresql: str
) -> None:
    other = type(world)(
        Workspace(
            world.space.root,
            Settings.read(
                world.space.root,
                {
                    "LOOPLINE_ACTOR": "ada",
                    "LOOPLINE_DATABASE": postgresql,
                    "LOOPLINE_HOME": str(tmp_path / "other"),
                },
            ),
        ),
        world.rows,
    )
    found = []
    for one in (world, other):
        one.serve(one.version())
        one.traffic(1, day(1))
        one.look(day(2))
        reference = References(one.space.registry)(1)
        found.append(list(kept._hourly(one.space, reference, "production")))
    other.space.database.close()

    assert len(found[0]) == 7  # four inputs, the answer, rows and latency
    assert found[0] == found[1]
