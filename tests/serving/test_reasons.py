"""Reasons beside an answer: how they are asked for, what they say, and who gets none."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from loopline.errors import RequestError
from loopline.serving import reasons


def rows(trained: Any, count: int = 2) -> dict[str, Any]:
    return {"dataframe_records": trained.records[:count]}


def total(told: dict[str, Any]) -> float:
    return float(told["base"] + sum(each["adds"] for each in told["reasons"]) + told["others"])


def test_the_reasons_of_each_row_stand_beside_its_prediction(
    late: Any, serve: Callable[..., Any]
) -> None:
    client = serve(late, with_reasons=True)
    body = {**rows(late), "params": {"output": "probability"}}

    plain = client.post("/invocations", body).json
    answered = client.post("/invocations?explain=true", body).json

    told = answered["explanations"]
    assert "explanations" not in plain
    assert answered["predictions"] == plain["predictions"]
    for row, probability in zip(told, plain["predictions"], strict=True):
        assert (row["method"], row["unit"], row["class"]) == ("exact", "log-odds", "true")
        assert row["value"] == pytest.approx(np.log(probability / (1 - probability)))
        assert total(row) == pytest.approx(row["value"])
        assert len(row["reasons"]) == reasons.USUAL
        named = {each["column"] for each in row["reasons"]}
        assert named <= {feature.name for feature in late.signature.features}
    assert "departure_hour" in {each["column"] for row in told for each in row["reasons"]}


def test_it_is_one_word_in_query_header_and_body(late: Any, serve: Callable[..., Any]) -> None:
    client = serve(late, with_reasons=True)
    header = {"x-amzn-sagemaker-enable-explanations": "`true`"}
    instances = {"instances": late.records[:2]}

    asked = [
        client.post("/invocations?explain=2", rows(late)),
        client.post("/invocations", {**rows(late), "params": {"explain": 2}}),
        client.post("/v1/models/flight-delays:predict", instances | {"parameters": {"explain": 2}}),
        client.post("/v1/models/flight-delays:predict?explain=2", instances),
    ]
    usual = client.post("/invocations", rows(late), **header).json["explanations"]

    first = asked[0].json["explanations"]
    assert [answer.json["explanations"] for answer in asked] == [first] * 4
    assert [len(row["reasons"]) for row in first] == [2, 2]
    assert [row["reasons"][:2] for row in usual] == [row["reasons"] for row in first]


@pytest.mark.parametrize("count", [1, 3])
def test_the_inference_protocol_tells_them_in_an_output(
    count: int, origin: Any, serve: Callable[..., Any], tensors: Callable[..., Any]
) -> None:
    client = serve(origin, with_reasons=True)
    body = {"inputs": tensors(origin, origin.records[:count]), "parameters": {"explain": True}}

    answered = client.post("/v2/models/flight-delays/infer", body).json

    label, _, added = answered["outputs"]
    assert (added["name"], added["datatype"], added["shape"]) == ("explanation", "BYTES", [count])
    told = [json.loads(text) for text in added["data"]]
    assert [row["class"] for row in told] == label["data"]
    assert total(told[0]) == pytest.approx(told[0]["value"])


def test_a_model_without_a_plan_is_asked_in_its_worker(
    delay: Any, serve: Callable[..., Any]
) -> None:
    client = serve(delay, with_plan=False, with_reasons=True)

    [told] = client.post("/invocations?explain=true", rows(delay, 1)).json["explanations"]
    [again] = client.post("/invocations?explain=true", rows(delay, 1)).json["explanations"]
    refused = client.post("/invocations?explain=true", rows(delay, 11))

    assert (told["method"], told["unit"]) == ("sampled", "prediction")
    assert total(told) == pytest.approx(told["value"])
    assert all(each["error"] >= 0 for each in told["reasons"])
    assert told == again
    assert refused.status == 400
    assert "at most 10 rows" in refused.json["message"]


def test_who_asks_for_what_cannot_be_told_is_told_why(late: Any, serve: Callable[..., Any]) -> None:
    client = serve(late, with_reasons=True)
    csv = b"\n".join(
        ",".join("" if v is None else str(v) for v in record.values()).encode()
        for record in late.records[:1]
    )

    wrong = client.post("/invocations?explain=perhaps", rows(late))
    many = client.post("/invocations?explain=true", rows(late, 101))
    lines = client.post("/invocations?explain=true", csv, **{"content-type": "text/csv"})

    assert [wrong.status, many.status, lines.status] == [400, 400, 400]
    assert "'perhaps'; it may be true, false, or how many" in wrong.json["message"]
    assert "at most 100 rows at a time here, and the request has 101" in many.json["message"]
    assert "told in JSON alone" in lines.json["message"]
    assert (
        client.post("/invocations?explain=false", csv, **{"content-type": "text/csv"}).status == 200
    )


def test_a_version_that_was_made_without_them_says_so(late: Any, serve: Callable[..., Any]) -> None:
    client = serve(late)

    answered = client.post("/invocations?explain=true", rows(late))

    assert answered.status == 400
    assert "flight-delays:3 was made without" in answered.json["message"]
    assert "Train it again" in answered.json["message"]


def test_nothing_is_read_before_somebody_asks(
    late: Any, serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(late, with_reasons=True)
    model = client.path.router.models[0]
    read: list[str] = []
    known = model._background
    monkeypatch.setattr(model, "_background", lambda: read.append("file") or known())

    client.post("/invocations", rows(late))
    assert (read, model._explainer) == ([], None)

    for _ in range(2):
        client.post("/invocations?explain=1", rows(late))
    assert read == ["file"]


@pytest.mark.parametrize(
    ("said", "number"),
    [(None, 0), (False, 0), (True, 5), ("true", 5), ("", 5), ("FALSE", 0), (3, 3), ("12", 12)],
)
def test_true_and_numbers_are_understood(said: object, number: int) -> None:
    assert reasons.wanted(said, "explain") == number


@pytest.mark.parametrize("said", [-1, 1.5, "1001", "x", [], "\u0663", 10**9])
def test_anything_else_is_refused(said: object) -> None:
    with pytest.raises(RequestError, match="it may be true, false"):
        reasons.wanted(said, "explain")
