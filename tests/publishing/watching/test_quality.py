"""The page says of the data what the terminal says of it, what fails first."""

from dataclasses import replace
from datetime import UTC, datetime

from click.testing import CliRunner

from loopline.cli.quality import command
from loopline.monitoring.quality import Point, Quality
from loopline.publishing.watching import quality
from loopline.publishing.watching.past import gather

AT = ("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z")


def check(name: str, *failed: int, passed: bool = True) -> Quality:
    past = tuple(Point(at, 100, number) for at, number in zip(AT, failed, strict=False))
    return Quality(
        "source", "people.csv", "age", name, "warn", 100, failed[-1], failed[-1] / 100, 0.0,
        passed, "steady", past,
    )  # fmt: skip


def test_what_fails_stands_before_what_once_failed_and_that_before_what_is_clean(past):
    found = (check("clean", 0, 0), check("mended", 5, 0), check("fails", 0, 4, passed=False))

    table = quality.table(replace(past, quality=found))

    assert [row.name for row in table.marked] == ["fails", "mended"]
    assert [row.name for row in table.clean] == ["clean"]
    assert table.fails
    assert table.told == "3 checks, 1 of them fails."
    assert table.places == (("source", "100 rows, 2026-03-02 00:00"),)


def test_the_line_of_a_past_goes_from_left_to_right_and_from_nothing_to_the_most(past):
    [row] = quality.table(replace(past, quality=(check("a", 0, 2, 1),))).marked

    # 60 by 14 pixels with 2 of margin: bottom, top, and the middle between them.
    assert row.cells[0].line == "2.0,12.0 30.0,2.0 58.0,7.0"
    assert row.cells[0].told == "0.00%, 2.00%, 1.00%"


def test_of_thousands_of_clean_checks_the_first_are_listed_and_the_others_counted(past):
    found = tuple(check(f"check {number}", 0, 0) for number in range(1000))

    table = quality.table(replace(past, quality=found))

    assert (len(table.clean), table.more_clean) == (300, 700)


def test_a_project_without_checks_says_nothing_of_them(past):
    assert quality.table(past).told == ""


def test_the_terminal_has_the_same_rows_in_the_same_words(read_only):
    table = quality.table(gather(read_only.space, datetime.now(UTC)))
    expected = {
        tuple(
            " ".join(part.split())
            for part in (row.column, row.name, *(cell.text for cell in row.cells))
            if part
        )
        for row in (*table.marked, *table.clean)
    }

    assert expected
    shown = CliRunner().invoke(command, ["--project", str(read_only.space.root)])

    lines = shown.output.splitlines()
    assert {
        tuple(" ".join(part.split()) for part in line.split("  ") if part.strip())
        for line in lines[1:-2]
    } == expected
    assert lines[-1] == table.told
