"""Why one prediction came out so: of a row, and of the log."""

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.monitoring.applicant import ROW

from loopline.errors import MonitoringError, RequestError
from loopline.monitoring.fold import Fold
from loopline.monitoring.reasons import explain_prediction, explain_row
from loopline.monitoring.reference import References
from loopline.pipeline.workspace import Workspace
from loopline.serving.log import HEADER, SEALED, frame


@pytest.fixture
def space(credit_project: Any) -> Workspace:
    return Workspace.open(credit_project)


def test_a_row_is_answered_and_explained_by_a_version(space: Workspace) -> None:
    found = explain_row(space.registry, space.settings, space.registry.get("latest"), ROW, 3)

    told = found.explanation
    assert (found.version, found.prediction_id) == ("credit:1", None)
    assert found.label in {"1", "2"}
    assert len(told["reasons"]) == 3
    assert {each["column"] for each in told["reasons"]} <= set(ROW)
    assert told["base"] + sum(each["adds"] for each in told["reasons"]) + told[
        "others"
    ] == pytest.approx(told["value"])


def test_a_prediction_of_the_log_has_the_reasons_of_its_row(space: Workspace) -> None:
    direct = explain_row(space.registry, space.settings, space.registry.get(1), ROW, 5)
    reference = References(space.registry)
    inputs = [[ROW[each.name]] for each in reference(1).signature.inputs if each.logged]
    arrival = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp() * 1e6)
    said = ["p", "abc", None, arrival, 1, False, 90, "me", 1, inputs, [["2"], [direct.scores[0]]]]
    folder = space.settings.home / "log" / "credit" / "dev"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "1-1-a.log").write_bytes(HEADER + frame(said) + frame(SEALED))
    Fold(folder.parents[1], "credit", reference, space.tables, space.database)()

    found = explain_prediction(space.registry, space.settings, space.tables, "abc-0", 5)

    assert found.prediction_id == "abc-0"
    assert found.explanation == direct.explanation
    assert found.inputs == direct.inputs | {"duration_in_month": 24}


def test_a_prediction_that_nobody_folded_is_named_with_what_to_do(space: Workspace) -> None:
    with pytest.raises(MonitoringError, match=r"'nobody-0' in the folded log.*watch --once"):
        explain_prediction(space.registry, space.settings, space.tables, "nobody-0", 5)


def test_a_row_that_lacks_what_the_model_needs_is_refused(space: Workspace) -> None:
    with pytest.raises(RequestError, match="has no 'status_of_existing_checking_account'"):
        explain_row(space.registry, space.settings, space.registry.get(1), {"purpose": "A40"}, 5)
