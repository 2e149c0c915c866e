"""`loopline quality`, as people type it."""

import json

from click.testing import CliRunner

from loopline.cli.quality import command


def called(project, *arguments):
    return CliRunner().invoke(command, [*arguments, "--project", str(project)])


def test_a_run_shows_its_checks_at_every_stage_that_it_passed(credit_project):
    done = called(credit_project)

    assert done.exit_code == 0, done.output
    heads = done.output.splitlines()[0].split()
    assert heads == [
        "column",
        "check",
        "source",
        "features",
    ]
    assert "type integer" in done.output
    assert done.output.rstrip().endswith("none of them fail.")


def test_json_has_every_record_and_how_many_fail(credit_project):
    found = json.loads(called(credit_project, "--json").output)

    assert {one["stage"] for one in found["checks"]} == set(found["stages"])
    assert found["stages"]["features"]["checks"] == 14
    assert all(one["trend"] == "new" for one in found["checks"])


def test_a_failing_check_is_shown_alone_and_is_strict(credit_project):
    contract = credit_project / "loopline.yaml"
    text = contract.read_text()
    assert "age_in_years: {type: integer}" in text
    contract.write_text(
        text.replace("age_in_years: {type: integer}", "age_in_years: {type: integer, minimum: 21}")
    )
    from datetime import UTC, datetime

    from loopline.pipeline.run import run
    from loopline.pipeline.workspace import Workspace

    run(
        Workspace.open(credit_project),
        now=datetime(2026, 3, 2, tzinfo=UTC),
        progress=lambda *_: None,
    )

    done = called(credit_project, "--failing", "--strict")

    lines = done.output.splitlines()
    assert done.exit_code == 1
    assert lines[0].split() == ["column", "check", "source", "snapshot", "features", "training"]
    assert [line.split()[:3] for line in lines[1:-2]] == [["age_in_years", "minimum", "21"]]
    assert done.output.count("FAILS") == 3
    assert "1 of them fails." in done.output


def test_before_a_run_it_says_what_to_do(credit_project):
    import shutil

    shutil.rmtree(credit_project / ".loopline")

    done = called(credit_project)

    assert (done.exit_code, done.output) == (0, "Nothing was checked yet. Run: loopline run\n")
