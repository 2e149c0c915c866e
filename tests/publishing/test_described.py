"""A profile as an object: what a notebook shows is what the command prints, escaped."""

import html.parser
import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import loopline
from loopline import Project
from loopline.errors import SourceError
from loopline.publishing.described import Described


class Page(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture
def both(tmp_path: Path) -> Described:
    rows = range(400)
    before = {"x": rows, "<b>y": [n * 2 for n in rows], "c": ["ab"[n % 2] for n in rows]}
    now = {"x": [n * 9 for n in rows], "<b>y": [n * 37 % 400 * 2 for n in rows], "c": ["a"] * 400}
    pl.DataFrame(before).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame(now).write_csv(tmp_path / "b.csv")
    return loopline.profile(
        tmp_path / "a.parquet", tmp_path / "b.csv", pairs=[("x", "<b>y")], by="c"
    )


def test_a_notebook_shows_the_tables_and_draws_the_columns(both: Described) -> None:
    page = Page(both._repr_html_())

    assert page.tags.count("table") == 4  # columns, changes, pairs, slices
    assert page.tags.count("svg") == 3  # one a column
    assert "b" not in page.tags
    assert "<b>y" in page.texts
    assert "drifted" in page.texts
    assert "Columns together: 1 of 1 have moved" in page.texts
    assert len(both.charts()) == 3
    assert (
        repr(both)
        .splitlines()[1]
        .endswith("b.csv: 400 rows; 2 of 3 columns have drifted (PSI above 0.2, beyond chance)")
    )


def test_each_record_in_it_is_a_table_in_a_notebook(both: Described) -> None:
    for record in (both.columns[0][0], both.changes[0], both.pairs[0], both.slices[0]):
        assert Page(record._repr_html_()).tags[0] == "table"


def test_what_it_says_is_there_as_values_and_as_files(both: Described, tmp_path: Path) -> None:
    both.save(tmp_path / "p.parquet")
    both.page(tmp_path / "p.html")
    again = loopline.profile(tmp_path / "p.parquet")

    assert both.drifted
    assert {one.column for one in both.changes if one.drifted} == {"x", "c"}
    assert [one.moved for one in both.pairs] == [True]
    assert [part.slice for part in both.slices] == ["c=a", "c=b"]
    assert again.changes == both.changes
    assert again.pairs == both.pairs
    assert json.loads(again.json())["drift"] == json.loads(both.json())["drift"]
    assert "<b>" not in (tmp_path / "p.html").read_text()


def test_one_table_is_described_and_a_second_one_is_needed_to_tell_apart(tmp_path: Path) -> None:
    pl.DataFrame({"x": [1.0, 2.0]}).write_parquet(tmp_path / "a.parquet")

    alone = loopline.profile(tmp_path / "a.parquet")

    assert (alone.changes, alone.pairs, alone.slices, alone.drifted) == ((), (), (), False)
    assert Page(alone._repr_html_()).tags.count("table") == 1
    with pytest.raises(SourceError, match="name a second one"):
        loopline.profile(tmp_path / "a.parquet", multivariate=True)


def test_a_project_profiles_its_versions_and_its_data(trained: Path) -> None:
    found = Project.open(trained).profile("credit:1", "credit.csv")

    assert [table.name for table in found.tables] == ["credit:1", "credit.csv"]
    assert not found.drifted


def test_two_tables_are_compared_without_what_a_page_or_a_version_takes(tmp_path: Path) -> None:
    for name in "ab":
        pl.DataFrame({"x": [1.0, 2.0, 3.0]}).write_parquet(tmp_path / f"{name}.parquet")

    script = (
        "import sys\n"
        "from loopline.cli.main import cli\n"
        "cli(['profile', 'a.parquet', 'b.parquet', '--json'], standalone_mode=False)\n"
        "heavy = {'polars', 'pandas', 'scipy', 'pydantic', 'sqlalchemy', 'altair'}\n"
        "print(*sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert done.stderr == "\n"
