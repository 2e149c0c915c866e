"""Any table to its profile: the same integers from every format, and clear refusals."""

import sqlite3
from datetime import date, datetime
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from loopline.compute.threads import Threads
from loopline.counts import arrow, saved
from loopline.counts.pairs import association
from loopline.counts.saved import Profiled
from loopline.counts.summary import changes
from loopline.data import batches, counting, profiling
from loopline.data.counting import Counting
from loopline.data.profiling import Wanted, profile_all
from loopline.errors import CountsError, LooplineError, SourceError

ROWS = 1200


def frame(seed: int = 0) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "id": [f"k{seed}-{n:06}" for n in range(ROWS)],
            "x": generator.normal(size=ROWS),
            "whole": generator.integers(-9, 9, ROWS),
            "flag": generator.random(ROWS) > 0.3,
            "day": [date(2020, 1, 1 + n % 28) for n in range(ROWS)],
            "moment": [datetime(2020, 1, 1, n % 24, 0, 5) for n in range(ROWS)],
            "word": [None if n % 7 == 0 else ["a", "b", "ü"][n % 3] for n in range(ROWS)],
            "half": [None if n % 2 else 1.5 for n in range(ROWS)],
        }
    )


def write(table: pl.DataFrame, path: Path) -> str:
    kind = path.suffix
    if kind == ".csv":
        table.write_csv(path)
    elif kind == ".jsonl":
        table.write_ndjson(path)
    elif kind == ".arrow":
        table.write_ipc(path)
    elif kind == ".parquet":
        table.write_parquet(path, row_group_size=500)
    else:
        table.write_delta(path)
    return path.name


def profiled(root: Path, *places: str, **options: object) -> list[Profiled]:
    return profile_all(places, root, **options)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.arrow", "delta", "folder"])
def test_a_table_counts_the_same_in_every_format(tmp_path: Path, name: str) -> None:
    table = frame()
    write(table, tmp_path / "t.parquet")
    if name == "folder":
        (tmp_path / name).mkdir()
        for place in range(3):
            write(table[place * 400 : place * 400 + 400], tmp_path / name / f"{place}.parquet")
    else:
        write(table, tmp_path / name)

    first, second = profiled(tmp_path, "t.parquet", name)
    [alone] = profiled(tmp_path, name)

    assert first.rows == second.rows == ROWS
    assert second.profile == first.profile
    assert alone.profile == first.profile
    assert first.types == {
        "id": "text", "x": "number", "whole": "integer", "flag": "boolean", "day": "time",
        "moment": "time", "word": "category", "half": "number",
    }  # fmt: skip


def test_threads_and_pieces_do_not_change_an_integer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(frame(), tmp_path / "t.parquet")
    write(frame(), tmp_path / "t.csv")
    one = profiled(tmp_path, "t.parquet", "t.csv", compute=Threads(1))

    monkeypatch.setattr(batches, "PIECE_ROWS", 500)
    monkeypatch.setattr(profiling, "_HELD", 2)
    several = profiled(tmp_path, "t.parquet", "t.csv", compute=Threads(3))

    assert [table.profile for table in several] == [table.profile for table in one]


def awkward(rows: int, seed: int) -> pl.DataFrame:
    """Missing, infinite and huge numbers, both zeros, dates before 1970, and very many values."""
    generator = np.random.default_rng(seed)
    spread = generator.normal(size=rows) * 10.0 ** generator.integers(-300, 300, rows)
    odd = [None, np.inf, -np.inf, np.nan, 0.0, -0.0, 5e-324, 1.7e308]
    early = 40_000  # more than the first rows, which decide that codes are a category
    return pl.DataFrame(
        {
            "spread": [odd[n // 9 % len(odd)] if n % 9 == 0 else x for n, x in enumerate(spread)],
            "lost": [None if n % 3 else 7.25 for n in range(rows)],
            "whole": [None if n % 11 == 0 else (n - 500) * 2**40 for n in range(rows)],
            "flag": [(True, False, None)[n % 3 if n % 2 else 0] for n in range(rows)],
            "day": [None if n % 13 == 0 else date(1900 + n % 200, 2, 28) for n in range(rows)],
            "moment": [datetime(1969, 12, 31, n % 24, n % 60, 59, n) for n in range(rows)],
            "word": [(None, "", "ü", "a", f"w{seed}")[n % 5] for n in range(rows)],
            "code": [f"c{n % 300 if n < early else n}" for n in range(rows)],
            "note": [None if n % 17 == 0 else f"№ {n} of {seed}" for n in range(rows)],
        },
        schema_overrides={"lost": pl.Float64},
        strict=False,
    )


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_one_thread_several_and_spark_count_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spark: Any, kind: str
) -> None:
    monkeypatch.setattr(batches, "PIECE_ROWS", 33_000)
    rows = {"a": 40_000 + arrow.DISTINCT, "b": 50_000}
    for seed, (name, number) in enumerate(rows.items()):
        table = awkward(number, seed)
        if kind == "parquet":
            table.write_parquet(tmp_path / f"{name}.parquet", row_group_size=33_000)
        else:
            table.write_csv(tmp_path / f"{name}.csv")
    places = [f"{name}.{kind}" for name in rows]

    one = profiled(tmp_path, *places, compute=Threads(1))
    several = profiled(tmp_path, *places, compute=Threads(3))
    with monkeypatch.context() as patch:
        patch.delattr(Counting, "_count")  # here, where Spark's executors are not
        there = profiled(tmp_path, *places, compute=spark)

    expected = [table.profile.to_bytes() for table in one]
    assert [table.profile.to_bytes() for table in several] == expected
    assert [table.profile.to_bytes() for table in there] == expected
    assert [(t.rows, t.types, t.new) for t in there] == [(t.rows, t.types, t.new) for t in one]
    assert [table.rows for table in there] == list(rows.values())
    columns = there[0].profile.columns
    assert there[0].types == {
        "spread": "number", "lost": "number", "flag": "boolean", "day": "time", "moment": "time",
        "word": "category", "code": "category", "note": "text",
        "whole": "integer",
    }  # fmt: skip
    infinite = sum(1 for n in range(0, rows["a"], 9) if n // 9 % 8 == 1)
    assert (columns["spread"].high, columns["spread"].named) == (infinite, {})
    assert columns["lost"].missing == sum(1 for n in range(rows["a"]) if n % 3)
    assert set(columns["code"].named) <= {f"c{n}" for n in range(300)}
    assert there[1].new["word"] == {"w1": rows["b"] // 5}


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_on_spark_what_cannot_be_counted_is_refused_in_the_same_words(
    tmp_path: Path, spark: Any
) -> None:
    write(pl.DataFrame({"x": [1.5, 2.5]}), tmp_path / "a.parquet")
    write(pl.DataFrame({"x": ["far", "near"]}), tmp_path / "b.parquet")

    said = []
    for compute in (Threads(1), spark):
        with pytest.raises(CountsError, match="numbers here, and this has texts") as caught:
            profiled(tmp_path, "a.parquet", "b.parquet", compute=compute)
        said.append(str(caught.value))

    assert said[0] == said[1]


def test_a_query_is_profiled_as_its_rows(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "t.db") as connection:
        connection.execute("create table t (x real, word text)")
        connection.executemany("insert into t values (?, ?)", frame()["x", "word"].iter_rows())
    connection.close()
    write(frame()["x", "word"], tmp_path / "t.parquet")

    [found] = profiled(tmp_path, "sqlite:///t.db", query="select x, word from t")

    assert found.profile == profiled(tmp_path, "t.parquet")[0].profile
    with pytest.raises(SourceError, match="Say with --query what to ask it"):
        profiled(tmp_path, "sqlite:///t.db")


_LETTERS = st.text("abcdefgÄß漢 -'\",;|\t", min_size=1, max_size=12).filter(
    lambda text: text.strip() not in {"", "-", "--"}
)
_NUMBERS = st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, 5.0, 1e300, 5e-324])
_MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    """Tables of any values that every kind of file can write, some of them missing."""
    rows = draw(st.integers(2, 30))

    def column(values: st.SearchStrategy[Any], first: Any, kind: Any) -> pl.Series:
        # The first says what the column is: CSV has no types, and a gap is none of any.
        rest = st.lists(values | st.none(), min_size=rows - 1, max_size=rows - 1)
        return pl.Series([first, *draw(rest)], dtype=kind)

    return pl.DataFrame(
        {
            "number": column(_NUMBERS, 0.5, pl.Float64),
            "whole": column(st.integers(-(10**17), 10**17), 3, pl.Int64),
            "flag": column(st.booleans(), True, pl.Boolean),
            "day": column(st.dates(date(1900, 1, 1), date(2200, 1, 1)), date(2000, 1, 2), pl.Date),
            "moment": column(_MOMENTS, datetime(2000, 1, 2, 3), pl.Datetime("us")),
            "word": column(_LETTERS, "abc", pl.String),
        }
    )


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables())
def test_the_same_rows_have_the_same_profile_in_whatever_kind_of_file(
    tmp_path: Path, table: pl.DataFrame
) -> None:
    kinds = ["parquet", "csv", "arrow"]
    if table["number"].drop_nulls().is_finite().all():  # JSON writes no other
        kinds.append("jsonl")
    expected, *found = (
        profiled(tmp_path, write(table, tmp_path / f"t.{kind}"))[0] for kind in kinds
    )

    for kind, each in zip(kinds[1:], found, strict=True):
        assert each.types == expected.types, kind
        assert each.profile == expected.profile, kind


@pytest.mark.parametrize("text", ["inf", "-inf", "Infinity", "-INF", "+inf", "1e999"])
def test_an_infinite_number_is_one_in_csv_too(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(f"x\n1.5\n{text}\nNaN\nnan\n2.5\nword\n" + "3.5\n" * 999)

    column = profiled(tmp_path, "a.csv")[0].profile.columns["x"]

    low, high = ("-" in text), ("-" not in text)
    assert (column.low, column.high, column.missing) == (low, high, 3)
    assert column.named == {"unreadable": 1}  # the word


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["1", "2", "", "-3"], "integer"),
        (["1.0", "2.0"], "number"),
        (["1", "2"] * 70_000 + ["2.5"], "number"),
        (["1", "2"] * 70_000 + ["2"], "integer"),
        (["007", "012"], "category"),
        (["True", "true"], "boolean"),
        (["true", "maybe"], "category"),
    ],
)
def test_what_csv_writes_says_its_type(tmp_path: Path, texts: list[str], kind: str) -> None:
    (tmp_path / "a.csv").write_text("x,y\n" + "".join(f"{text},1\n" for text in texts))

    assert profiled(tmp_path, "a.csv")[0].types["x"] == kind


def test_digits_in_quotes_of_json_are_texts_as_in_parquet(tmp_path: Path) -> None:
    table = pl.DataFrame({"code": ["1", "2", "NA"] * 50, "day": ["2020-01-01"] * 150})
    write(table, tmp_path / "a.jsonl")
    write(table.with_columns(pl.col("day").str.to_date()), tmp_path / "a.parquet")

    lines, parquet = (profiled(tmp_path, f"a.{kind}")[0] for kind in ("jsonl", "parquet"))

    assert lines.types == parquet.types == {"code": "category", "day": "time"}
    assert lines.profile == parquet.profile


def test_texts_that_write_no_number_are_counted_as_unreadable(tmp_path: Path) -> None:
    numbers = "\n".join(["1.5"] * 900)
    (tmp_path / "a.csv").write_text(f"x\n{numbers}\n")
    (tmp_path / "b.csv").write_text(f"x\n{numbers}\nabc\nNA\n")

    _, found = profiled(tmp_path, "a.csv", "b.csv")

    column = found.profile.columns["x"]
    assert (column.rows, column.missing, column.named) == (902, 2, {"unreadable": 1})


def test_values_that_are_new_are_named_and_the_rest_is_as_the_reference(tmp_path: Path) -> None:
    write(pl.DataFrame({"c": ["a", "b"] * 100}), tmp_path / "a.parquet")
    write(pl.DataFrame({"c": ["a", "z"] * 100}), tmp_path / "b.parquet")

    [found] = changes(*profiled(tmp_path, "a.parquet", "b.parquet"))

    assert (found.new, found.gone, found.drifted) == ({"z": 100}, ("b",), True)


def test_a_key_of_any_size_takes_a_bounded_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow, "DISTINCT", 300)
    monkeypatch.setattr(batches, "BATCH_ROWS", 500)
    codes = [f"c{n % 40}" for n in range(500)] + [f"c{n}" for n in range(2000)]
    write(pl.DataFrame({"c": codes}), tmp_path / "a.parquet")

    first, second = profiled(tmp_path, "a.parquet", "a.parquet", compute=Threads(2))

    column = first.profile.columns["c"]
    assert set(column.named) == {f"c{n}" for n in range(40)}
    assert int(column.counts.sum()) == 2000 - 40
    assert second.profile == first.profile
    assert second.new["c"] == {}


def test_a_saved_profile_stands_for_its_table(tmp_path: Path) -> None:
    write(frame(), tmp_path / "a.parquet")
    write(frame(1), tmp_path / "b.csv")
    first, second = profiled(tmp_path, "a.parquet", "b.csv")
    for name, tables in {"a": [first], "both": [first, second]}.items():
        with (tmp_path / f"{name}.profile").open("wb") as stream:
            saved.write(tables, stream)

    again = profiled(tmp_path, "a.profile", "b.csv")
    both = profiled(tmp_path, "both.profile")
    fewer = profiled(tmp_path, "a.profile", wanted=Wanted(only=("x", "word")))

    assert (
        [t.profile for t in again] == [t.profile for t in both] == [first.profile, second.profile]
    )
    assert list(fewer[0].types) == ["x", "word"]


def test_profiles_made_apart_are_compared_where_their_grids_allow_it(tmp_path: Path) -> None:
    write(pl.DataFrame({"x": [1.0, 2.0, 9.0], "c": ["a", "b", "b"]}), tmp_path / "a.parquet")
    write(pl.DataFrame({"x": [2.0, 3.0, 7.0], "c": ["b", "z", "z"]}), tmp_path / "b.parquet")
    write(pl.DataFrame({"x": [1e9, 1e9, 1e9], "c": ["b", "z", "z"]}), tmp_path / "far.parquet")
    for name in ("a", "b", "far"):
        with (tmp_path / f"{name}.profile").open("wb") as stream:
            saved.write(profiled(tmp_path, f"{name}.parquet"), stream)

    apart = profiled(tmp_path, "a.profile", "b.profile")
    together = profiled(tmp_path, "a.parquet", "b.parquet")

    assert apart[1].profile == together[1].profile
    assert apart[1].new == {"c": {"z": 2}}
    with pytest.raises(CountsError, match=r"its counts of x stand on another grid"):
        profiled(tmp_path, "a.profile", "far.profile")


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (["nested.parquet"], r"tags \(list.*\), o \(struct.*--without tags,o$"),
        (["nested.jsonl"], "lists and objects have no counts: tags"),
        (["empty.parquet"], r"empty\.parquet has columns \(x\), but no rows"),
        (["empty.csv"], r"empty\.csv has columns \(x\), but no rows"),
        (["twice.parquet"], "has x twice"),
        (["a.parquet", "nothing.parquet"], r"nothing\.parquet shares no column with a\.parquet"),
        (["a.parqet"], r"There is no .*a\.parqet\. Did you mean .*a\.parquet"),
        (["a.parquet", "texts.parquet"], "x: the reference has numbers here, and this has texts"),
        (["mixed"], r"2\.parquet does not have the columns of .*1\.parquet: it lacks x and adds y"),
        (["absent.parquet"], "There is no"),
    ],
)
def test_what_cannot_be_profiled_is_refused_with_what_to_do(
    tmp_path: Path, places: list[str], message: str
) -> None:
    pq.write_table(
        pa.table({"a": [1], "tags": [[1]], "o": [{"x": 1}]}), tmp_path / "nested.parquet"
    )
    (tmp_path / "nested.jsonl").write_text('{"a": 1, "tags": [1]}\n')
    pq.write_table(pa.table({"x": pa.array([], pa.int64())}), tmp_path / "empty.parquet")
    (tmp_path / "empty.csv").write_text("x\n")
    pq.write_table(pa.table([[1], [2]], names=["x", "x"]), tmp_path / "twice.parquet")
    write(frame()["x", "word"], tmp_path / "a.parquet")
    write(frame()["x",].rename({"x": "more"}), tmp_path / "nothing.parquet")
    write(frame()["x", "word"].cast({"x": pl.String}), tmp_path / "texts.parquet")
    (tmp_path / "mixed").mkdir()
    write(frame()["x",], tmp_path / "mixed" / "1.parquet")
    write(frame()["x",].rename({"x": "y"}), tmp_path / "mixed" / "2.parquet")

    with pytest.raises(LooplineError, match=message):
        profiled(tmp_path, *places)


def test_columns_are_chosen_by_name(tmp_path: Path) -> None:
    write(frame(), tmp_path / "a.parquet")

    only = profiled(tmp_path, "a.parquet", wanted=Wanted(only=("word", "x")))
    without = profiled(tmp_path, "a.parquet", wanted=Wanted(without=("id",)))

    assert list(only[0].types) == ["word", "x"]
    assert list(without[0].types) == frame().columns[1:]
    with pytest.raises(SourceError, match="has no column zz"):
        profiled(tmp_path, "a.parquet", wanted=Wanted(only=("zz",)))
    with pytest.raises(SourceError, match="no column to profile"):
        profiled(tmp_path, "a.parquet", wanted=Wanted(without=tuple(frame().columns)))


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_slices_are_the_profiles_of_their_rows_and_add_to_the_whole(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "PIECE_ROWS", 100)
    monkeypatch.setattr(batches, "BATCH_ROWS", 50)
    table = frame()
    write(table, tmp_path / f"whole.{kind}")
    for word in ("a", "b", None):
        part = table.filter(pl.col("word").eq_missing(word))
        write(part, tmp_path / f"{word}.{kind}")

    [found] = profiled(tmp_path, f"whole.{kind}", wanted=Wanted(by="word"), compute=Threads(2))
    [one] = profiled(tmp_path, f"whole.{kind}", wanted=Wanted(by="word"), compute=Threads(1))

    assert found == one
    assert sorted(found.slices) == ["word missing", "word=a", "word=b", "word=ü"]
    assert reduce(add, found.slices.values()) == found.profile
    for name, file in (("word=a", "a"), ("word=b", "b"), ("word missing", "None")):
        _, alone = profiled(tmp_path, f"whole.{kind}", f"{file}.{kind}")
        assert found.slices[name] == alone.profile


def test_many_values_leave_slices_to_the_frequent_ones_wherever_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "SLICES", 5)
    monkeypatch.setattr(profiling, "_KEPT", 2)
    monkeypatch.setattr(batches, "_LARGE_GROUP", 0)
    monkeypatch.setattr(batches, "PIECE_ROWS", 60)
    monkeypatch.setattr(batches, "BATCH_ROWS", 60)
    months = pl.DataFrame({"m": [n // 30 % 12 for n in range(720)], "x": [1.5] * 720})
    write(months, tmp_path / "a.parquet")
    write(months.filter(pl.col("m") < 4), tmp_path / "few.parquet")

    many, few = (
        profiled(tmp_path, name, wanted=Wanted(by="m"), compute=Threads(2))[0]
        for name in ("a.parquet", "few.parquet")
    )

    assert {name: many.slice(name).rows for name in many.slices} == {
        "m=0": 60, "m=1": 60, "m other": 600
    }  # fmt: skip
    assert sorted(few.slices) == ["m=0", "m=1", "m=2", "m=3"]
    before, now = profiled(tmp_path, "few.parquet", "a.parquet", wanted=Wanted(by="m"))
    assert {name: now.slice(name).rows for name in now.slices} == {
        **dict.fromkeys(before.slices, 60), "m other": 480
    }  # fmt: skip


def test_pairs_are_counted_the_same_in_every_file_and_on_every_thread(tmp_path: Path) -> None:
    wanted = Wanted(pairs=("x:whole", "word:flag", "word:moment"))
    for kind in ("parquet", "csv", "jsonl"):
        write(frame(), tmp_path / f"a.{kind}")
    x, whole = frame()["x"].to_numpy(), frame()["whole"].to_numpy()

    several = [
        profiled(tmp_path, f"a.{kind}", wanted=wanted, compute=Threads(number))[0].pairs
        for kind in ("parquet", "csv", "jsonl")
        for number in (1, 2)
    ]

    assert all(each == several[0] for each in several)
    found = association(several[0]["x", "whole"])
    assert found is not None
    assert found.value == pytest.approx(stats.spearmanr(x, whole).statistic, abs=found.bound)
    assert found.rows == ROWS
    assert several[0]["word", "flag"].rows == frame()["word"].count()


def test_a_saved_profile_has_its_pairs_and_slices_compared(tmp_path: Path) -> None:
    write(frame(), tmp_path / "a.parquet")
    write(frame(1), tmp_path / "b.csv")
    wanted = Wanted(pairs=("x:whole",), by="word")
    both = profiled(tmp_path, "a.parquet", "b.csv", wanted=wanted)
    with (tmp_path / "a.profile").open("wb") as stream:
        saved.write(both[:1], stream)
    with (tmp_path / "b.profile").open("wb") as stream:
        saved.write(both[1:], stream)

    again = profiled(tmp_path, "a.profile", "b.csv")
    kept = profiled(tmp_path, "a.profile", "b.profile")
    fewer = profiled(tmp_path, "a.profile", wanted=Wanted(only=("x", "flag")))

    assert [(t.pairs, t.slices) for t in again] == [(t.pairs, t.slices) for t in both]
    assert [(t.pairs, t.slices) for t in kept] == [(t.pairs, t.slices) for t in both]
    assert (fewer[0].pairs, fewer[0].slices, fewer[0].by) == ({}, {}, "")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted(pairs=("x:nothing",)), "x:nothing names no two columns of a.parquet"),
        (Wanted(pairs=("x:id",)), "id is free text, which goes together with nothing"),
        (Wanted(by="nothing"), "has no column nothing to slice by"),
        (Wanted(by="x"), "--by x: that is of type number"),
        (Wanted(by="id"), "--by id: that is of type text"),
        (Wanted(pairs=("x:whole",), only=("x",)), "names no two columns of a.parquet"),
    ],
)
def test_what_cannot_be_paired_or_sliced_is_refused(
    tmp_path: Path, wanted: Wanted, message: str
) -> None:
    write(frame(), tmp_path / "a.parquet")

    with pytest.raises(SourceError, match=message):
        profiled(tmp_path, "a.parquet", wanted=wanted)


def test_a_saved_profile_says_what_it_was_saved_without(tmp_path: Path) -> None:
    write(frame(), tmp_path / "a.parquet")
    with (tmp_path / "a.profile").open("wb") as stream:
        saved.write(profiled(tmp_path, "a.parquet"), stream)

    with pytest.raises(SourceError, match="without counts of x:whole together"):
        profiled(tmp_path, "a.profile", wanted=Wanted(pairs=("x:whole",)))
    with pytest.raises(SourceError, match="without slices by word"):
        profiled(tmp_path, "a.profile", wanted=Wanted(by="word"))


@pytest.mark.parametrize("kind", ["parquet", "csv", "profile"])
def test_columns_that_one_table_has_not_are_told_and_the_others_compared(
    tmp_path: Path, kind: str
) -> None:
    write(frame(), tmp_path / "a.parquet")
    write(frame(1).drop("x").rename({"flag": "flagged"}), tmp_path / "b.csv")
    write(frame(1).drop("x").rename({"flag": "flagged"}), tmp_path / "b.parquet")
    with (tmp_path / "b.profile").open("wb") as stream:
        saved.write(profiled(tmp_path, "b.parquet"), stream)
    wanted = Wanted(pairs=("x:whole", "whole:word"), by="flag", without=("id",))

    first, second = profiled(tmp_path, "a.parquet", f"b.{kind}", wanted=wanted)

    assert (second.lacks, second.adds) == (("x", "flag"), ("flagged",))
    assert list(second.types) == ["whole", "day", "moment", "word", "half"]
    assert second.slices == {}
    if kind != "profile":
        assert list(second.pairs) == [("whole", "word")]
    assert {one.column for one in changes(first, second)} == set(second.types)


def test_who_waits_hears_how_many_rows_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "PIECE_ROWS", 500)
    heard: list[tuple[int, int | None]] = []
    write(frame(), tmp_path / "a.parquet")
    write(frame(), tmp_path / "a.csv")

    profiled(tmp_path, "a.parquet", progress=lambda *said: heard.append(said))
    assert heard == [(500, ROWS), (1000, ROWS), (1200, ROWS)]
    heard.clear()
    profiled(tmp_path, "a.csv", progress=lambda *said: heard.append(said))
    assert heard[-1] == (ROWS, None)


def test_a_part_of_many_values_holds_few_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "SLICES", 5)
    monkeypatch.setattr(profiling, "_KEPT", 2)
    monkeypatch.setattr(batches, "BATCH_ROWS", 50)
    write(pl.DataFrame({"m": [n // 50 % 40 for n in range(4000)]}), tmp_path / "a.csv")
    held: list[int] = []

    class Watching(Threads):
        def map(self, work: Any, items: Any) -> Any:
            for counted in super().map(work, items):
                held.append(len(counted.slices))
                yield counted

    [found] = profiled(tmp_path, "a.csv", wanted=Wanted(by="m"), compute=Watching(1))

    assert len(held) == 1
    assert held[0] <= 5 + 2
    assert sum(found.slice(name).rows for name in found.slices) == 4000
