"""KServe's first protocol."""

from typing import Any

import pytest

PREDICT = "/v1/models/flight-delays:predict"


def test_instances_become_predictions_and_nothing_else(serve: Any, late: Any) -> None:
    client = serve(late)
    scores = late.original.scores(late.columns)[:3]
    rows = [list(record.values()) for record in late.records[:3]]

    for form in ({"instances": late.records[:3]}, {"instances": rows}, {"inputs": rows}):
        answer = client.post(PREDICT, form | {"parameters": {"output": "probability"}})
        assert set(answer.json) == {"predictions"}
        assert answer.json["predictions"] == pytest.approx(scores.tolist(), abs=1e-12)


def test_the_model_says_that_it_is_ready(serve: Any, late: Any) -> None:
    client = serve(late)

    assert client.get("/v1/models").json == {"models": ["flight-delays"]}
    assert client.get("/v1/models/flight-delays").json == {"name": "flight-delays", "ready": True}
    assert client.get("/v1/models/other").status == 404
    assert client.post("/v1/models/other:predict", {"instances": [{}]}).status == 404


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{}", "must have instances"),
        (b'{"instances":[[1]],"inputs":[[1]]}', "must have instances"),
        (b'{"instances":[]}', "instances has no rows"),
        (b'{"inputs":[]}', "inputs has no rows"),
        (b"{oops", "no prediction request"),
    ],
)
def test_a_broken_body_gets_a_400_in_its_own_form(
    serve: Any, late: Any, body: bytes, words: str
) -> None:
    answer = serve(late).call("POST", PREDICT, body)

    assert answer.status == 400
    assert words in answer.json["error"]
