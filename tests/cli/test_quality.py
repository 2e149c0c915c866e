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
        text.replace(
            "age_in_years: {type: integer}", "age_in_years: {type: integer, minimum: 21}"
        ).replace("\ndata:\n", "\ndata:\n  checks: [{suite: own.sql, on_fail: warn}]\n")
    )
    (credit_project / "own.sql").write_text(
        "-- not too old\nselect * from data where age_in_years > 70;\n"
        "-- a class\nselect * from data where credit_risk not in (1, 2)\n"
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
    assert lines[1].split()[:3] == ["age_in_years", "minimum", "21"]
    told = json.loads(called(credit_project, "--json").output)["checks"]
    suite = {(one["name"], one["stage"]): one for one in told if one["name"].startswith("own.sql")}
    failed = {stage: one["failed"] for (name, stage), one in suite.items() if "old" in name}
    assert failed["source"] == failed["snapshot"] > failed["training"] > 0
    assert failed["features"] == failed["training"]
    assert suite["own.sql: a class", "features"]["note"] == "no column credit_risk there"
    assert suite["own.sql: a class", "training"]["rows"] > 0
    assert done.output.count("FAILS") == 7
    assert "2 of them fail." in done.output


def test_before_a_run_it_says_what_to_do(credit_project):
    import shutil

    shutil.rmtree(credit_project / ".loopline")

    done = called(credit_project)

    assert (done.exit_code, done.output) == (0, "Nothing was checked yet. Run: loopline run\n")
