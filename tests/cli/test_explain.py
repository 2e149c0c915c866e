"""`loopline explain`, as people type it."""

import json

import pytest
from click.testing import CliRunner
from tests.monitoring.applicant import ROW

from loopline.cli.explain import command


def called(project, *arguments):
    return CliRunner().invoke(command, [*arguments, "--project", str(project)])


def test_reasons_are_a_table_the_largest_first(credit_project):
    done = called(credit_project, "--row", json.dumps(ROW), "--top", "2")

    lines = done.output.splitlines()
    assert done.exit_code == 0, done.output
    assert lines[0].startswith("credit:1 says ")
    assert lines[1].startswith("Its log-odds of class 2 is ")
    assert lines[3].split() == ["column", "value", "adds"]
    first, second, others = (line.rsplit(maxsplit=1) for line in lines[-3:])
    assert abs(float(first[1])) >= abs(float(second[1]))
    assert others[0].strip() == "all others"


def test_json_says_everything(credit_project):
    done = called(credit_project, "--row", json.dumps(ROW), "--json")

    found = json.loads(done.output)
    assert found["inputs"] == ROW
    assert len(found["explanation"]["reasons"]) == 7
    assert found["version"] == "credit:1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Name either the id of a prediction, or a --row."),
        (("abc-0", "--row", "{}"), "Name either the id of a prediction, or a --row."),
        (("abc-0", "--version", "1"), "explained by the version that made it"),
        (("--row", "[1]"), "--row is no JSON object"),
    ],
)
def test_what_makes_no_sense_is_misuse(credit_project, arguments, said):
    done = called(credit_project, *arguments)

    assert done.exit_code == 2
    assert said in done.output
