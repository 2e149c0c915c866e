"""Vertex AI: the routes that it names, and nothing but predictions in an answer."""

from typing import Any

import pytest

from loopline.errors import SettingError
from loopline.serving.app import App

NAMED = {
    "AIP_PREDICT_ROUTE": "/v1/endpoints/7/deployedModels/9:predict",
    "AIP_HEALTH_ROUTE": "/v1/endpoints/7/deployedModels/9",
}


def test_it_answers_on_the_routes_that_the_platform_names(serve: Any, late: Any) -> None:
    client = serve(late, environment=NAMED)
    scores = late.original.scores(late.columns)[:3]

    answer = client.post(
        NAMED["AIP_PREDICT_ROUTE"],
        {"instances": late.records[:3], "parameters": {"output": "probability"}},
    )

    assert set(answer.json) == {"predictions"}
    assert answer.json["predictions"] == pytest.approx(scores.tolist(), abs=1e-12)
    assert answer.headers["x-model-version"] == "3"
    assert client.get(NAMED["AIP_HEALTH_ROUTE"]).status == 200


def test_without_the_variables_there_are_no_such_routes(serve: Any, late: Any) -> None:
    client = serve(late)

    assert client.get(NAMED["AIP_HEALTH_ROUTE"]).status == 404
    assert client.post(NAMED["AIP_PREDICT_ROUTE"], {"instances": late.records[:1]}).status == 404


def test_a_named_route_goes_before_another_of_the_same_path(serve: Any, late: Any) -> None:
    named = {"AIP_PREDICT_ROUTE": "/invocations", "AIP_HEALTH_ROUTE": "/ping"}
    client = serve(late, environment=named)

    answer = client.post("/invocations", {"instances": late.records[:2]})

    assert set(answer.json) == {"predictions"}
    assert client.post("/invocations", {"dataframe_records": late.records[:2]}).status == 400
    assert client.post("/score", {"instances": late.records[:2]}).status == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"instances":[]}', b'{"instances":{}}', b'{"instances":[7]}', b"[1]",
     b'{"instances":[{}],"parameters":7}', b'{"instances":[[1]]}'],
)  # fmt: skip
def test_a_broken_body_gets_a_400_in_the_platforms_form(serve: Any, late: Any, body: bytes) -> None:
    client = serve(late, environment=NAMED)

    answer = client.call("POST", NAMED["AIP_PREDICT_ROUTE"], body)

    assert answer.status == 400
    assert set(answer.json) == {"error"}


@pytest.mark.parametrize("path", ["predict", "/a b", "/a?b", "/{model}", "/a\nb", "/" + "a" * 500])
def test_a_named_path_that_is_none_is_refused_at_the_start(
    serve: Any, late: Any, path: str
) -> None:
    client = serve(late)

    with pytest.raises(SettingError, match="AIP_PREDICT_ROUTE is"):
        App(client.path, client.app.guard, {"AIP_PREDICT_ROUTE": path})
