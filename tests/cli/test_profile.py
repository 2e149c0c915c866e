"""`loopline profile`, as people call it."""

import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from loopline.cli.main import cli
from loopline.counts import saved
from loopline.data.counting import Counting


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "180")
    rows = range(1000)
    before = {"x": [n / 10 for n in rows], "c": ["ab"[n % 2] for n in rows]}
    now = {"x": [n / 10 + 60 for n in rows], "c": ["az"[n % 2] for n in rows]}
    pl.DataFrame(before).write_parquet("a.parquet")
    pl.DataFrame(now).write_csv("b.csv")
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["profile", *arguments], catch_exceptions=False)


def test_one_table_is_described(folder: Path) -> None:
    done = call("a.parquet")

    assert done.exit_code == 0
    assert "a.parquet: 1,000 rows, 2 columns" in done.output
    assert "2: a 50.0%, b 50.0%" in done.output
    assert "verdict" not in done.output


def test_a_second_one_is_compared_the_worst_column_first(folder: Path) -> None:
    done = call("a.parquet", "b.csv")

    head, _, rest = done.output.partition("b.csv: ")
    assert "a.parquet: 1,000 rows" in head
    assert rest.startswith("1,000 rows; 2 of 2 columns have drifted (PSI above 0.2, beyond chance)")
    assert [line.split()[:2] for line in rest.splitlines()[2:4]] == [
        ["c", "drifted"], ["x", "drifted"]
    ]  # fmt: skip
    assert "new: z 50.0%; gone: b" in rest


def test_drift_is_a_code_of_its_own_where_it_is_asked_for(folder: Path) -> None:
    assert call("a.parquet", "b.csv").exit_code == 0
    assert call("a.parquet", "b.csv", "--strict").exit_code == 1
    assert call("a.parquet", "a.parquet", "--strict").exit_code == 0
    assert call("a.parquet", "b.csv", "--strict", "--psi", "50").exit_code == 0


def test_programs_get_every_figure(folder: Path) -> None:
    found = json.loads(call("a.parquet", "b.csv", "--json").output)

    assert [table["rows"] for table in found["datasets"]] == [1000, 1000]
    assert (found["drifted"], found["psi_limit"]) == (2, 0.2)
    by_column = {one["column"]: one for one in found["drift"]}
    assert by_column["c"]["new"] == {"z": 500}
    assert by_column["x"]["figures"]["ks"] == pytest.approx(0.6, abs=0.01)
    assert by_column["x"]["figures"]["wasserstein"] == pytest.approx(60, rel=0.01)
    alone = json.loads(call("a.parquet", "--json").output)
    assert "drift" not in alone
    assert alone["datasets"][0]["columns"][0]["quantiles"]["0.5"] == pytest.approx(50, rel=0.01)


def test_a_profile_is_saved_and_stands_for_its_table(folder: Path) -> None:
    assert call("a.parquet", "--out", "p.parquet").exit_code == 0

    assert saved.is_saved(folder / "p.parquet")
    assert "2 of 2 columns have drifted" in call("p.parquet", "b.csv").output
    assert [path.name for path in folder.glob(".*")] == []


def test_all_columns_together_are_told_apart_where_it_is_asked_for(folder: Path) -> None:
    shown = call("a.parquet", "b.csv", "--multivariate").output
    found = json.loads(call("a.parquet", "a.parquet", "--multivariate", "--json").output)

    assert "By all columns together rows of B are told from those of A with an area of " in shown
    assert ": drifted" in shown
    assert found["multivariate"]["drifted"] is False
    assert call("a.parquet", "--multivariate").exit_code == 2


def test_pairs_and_slices_are_told_of_one_table_and_of_two(folder: Path) -> None:
    rows = range(1000)
    pl.DataFrame(
        {"x": rows, "y": [n * 2 for n in rows], "c": ["ab"[n % 2] for n in rows]}
    ).write_csv("one.csv")
    pl.DataFrame({"x": rows, "y": [n * 37 % 1000 for n in rows], "c": ["a"] * 1000}).write_csv(
        "two.csv"
    )
    asked = ("--pairs", "x:y,c:x", "--by", "c")

    alone = call("one.csv", *asked).output
    both = call("one.csv", "two.csv", *asked, "--out", "p.parquet", "--page", "p.html").output
    found = json.loads(call("one.csv", "two.csv", *asked, "--json").output)
    again = json.loads(call("p.parquet", "--json").output)

    assert "x and y  rank correlation" in alone
    assert "c=a    500   50.0%" in alone
    assert "Columns together: 1 of 2 have moved" in both
    assert "x and y  moved    1.000 → " in both
    assert "none: one is constant" in both
    assert "c=b    500        0          50.0% → 0.0%    not in both" in both
    assert [one["moved"] for one in found["pairs"]] == [True, False]
    assert {one["slice"]: one["rows"] for one in found["slices"]} == {"c=a": 1000, "c=b": 0}
    assert (again["pairs"], again["slices"]) == (found["pairs"], found["slices"])
    assert "Slices by c" in Path("p.html").read_text()
    assert call("one.csv", "two.csv", *asked, "--strict", "--psi", "99").exit_code == 1  # the pair


def test_a_table_fits_a_terminal_of_eighty_characters(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"column_{n}" for n in range(30)]
    pl.DataFrame({name: ["a long value of a category", "b"] * 50 for name in names}).write_csv(
        "w.csv"
    )
    pl.DataFrame({name: ["quite another value", "b"] * 50 for name in names}).write_csv("v.csv")

    shown = call("w.csv", "v.csv").output.splitlines()

    assert len(shown) == 2 * 30 + 5  # one line a column
    assert max(map(len, shown)) <= 90  # the lines above the tables
    assert all(len(line) <= 80 for line in shown if line.startswith("column"))
    assert not any(line.endswith(" ") for line in shown)


def test_a_page_holds_every_column_s_figures_and_charts(folder: Path) -> None:
    pl.DataFrame({"<b>x": [1.0, 2.0], "c": ["</script>", "b"]}).write_parquet("odd.parquet")

    assert call("a.parquet", "b.csv", "--page", "drift.html").exit_code == 0
    assert call("odd.parquet", "--page", "odd.html").exit_code == 0

    both, alone = (Path(name).read_text() for name in ("drift.html", "odd.html"))
    assert "2 of 2 columns have drifted (PSI above 0.2, beyond chance)" in both
    assert both.count('class="drawing"') == alone.count('class="drawing"') == 2
    assert len(both) < 2_000_000
    assert "<b>x" not in alone
    assert "&lt;b&gt;x" in alone
    assert "What changed" not in alone
    assert 'http-equiv="Content-Security-Policy"' in both


def test_names_are_shown_as_text_and_never_read_by_the_terminal(folder: Path) -> None:
    pl.DataFrame({"x\x1b[2J": [1.0], "[red]": ["[bold]"]}).write_parquet("odd.parquet")

    done = call("odd.parquet")

    assert "\x1b" not in done.output
    assert "[red]" in done.output
    assert "[bold]" in done.output


def test_a_column_that_is_gone_is_told_and_is_drift(folder: Path) -> None:
    pl.read_parquet("a.parquet").rename({"c": "d"}).write_csv("renamed.csv")

    done = call("a.parquet", "renamed.csv", "--strict")
    found = json.loads(call("a.parquet", "renamed.csv", "--json").output)

    assert "It lacks c\nIt adds d\n" in done.output
    assert done.exit_code == 1
    assert (found["drifted"], found["lacks"], found["adds"]) == (0, ["c"], ["d"])


def test_texts_that_write_no_number_are_told_as_what_changed(folder: Path) -> None:
    pl.DataFrame({"x": ["many"] * 250 + ["5.5"] * 750, "c": ["a", "b"] * 500}).write_csv("odd.csv")

    done = call("a.parquet", "odd.csv")

    assert "unreadable: 25.0%" in done.output


def test_standard_input_is_a_table(folder: Path) -> None:
    content = Path("b.csv").read_bytes()

    done = CliRunner().invoke(cli, ["profile", "a.parquet", "-"], input=content)

    assert done.exit_code == 0
    assert "2 of 2 columns have drifted" in done.output
    assert call("-", "-").exit_code == 2


def test_misuse_is_told_from_refusal(folder: Path) -> None:
    assert call().exit_code == 2
    assert call("a.parquet", "--psi", "-1").exit_code == 2


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_spark_says_what_threads_say(
    folder: Path, spark: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.delattr(Counting, "_count")  # here, where Spark's executors are not
        on_spark = call("a.parquet", "b.csv", "--on", "spark", "--out", "there.profile")
    here = call("a.parquet", "b.csv", "--threads", "2", "--out", "here.profile")

    assert on_spark.exit_code == 0
    assert on_spark.output == here.output
    found = [
        [table.profile.to_bytes() for table in saved.read(folder / f"{name}.profile")]
        for name in ("there", "here")
    ]
    assert found[0] == found[1]


def test_threads_are_not_for_spark(folder: Path) -> None:
    done = call("a.parquet", "--on", "spark", "--threads", "2")

    assert done.exit_code == 2
    assert "Spark's session says how wide it is" in done.output
