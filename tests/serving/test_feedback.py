"""Outcomes: checked at the door, on disk before they are acknowledged."""

import pytest

from loopline.serving.log import read_frames


def test_an_outcome_is_on_disk_when_it_is_acknowledged(serve, late):
    client = serve(late)

    answer = client.post(
        "/feedback",
        {"prediction_id": "x-0", "label": "true", "observed_at": "2013-04-01T06:30:00Z"},
    )

    assert answer.json == {"accepted": 1}
    [segment] = client.log_folder.glob("*.log")
    [(payload, _)] = read_frames(segment)
    assert payload[0] == "f"
    assert payload[2] == [["x-0", None, "true", 1_364_797_800_000_000]]


def test_a_list_is_one_frame_and_labels_are_canonical(serve, late):
    client = serve(late)
    outcomes = [
        {"key": "UA-1", "label": True},
        {"key": 7, "label": "false"},
        {"key": 7.0, "label": " true "},
    ]

    assert client.post("/feedback", outcomes).json == {"accepted": 3}

    [payload, *_] = client.frames()
    assert payload[2] == [
        [None, "UA-1", "true", None],
        [None, "7", "false", None],
        [None, "7", "true", None],
    ]


def test_a_regression_takes_numbers(serve, delay):
    client = serve(delay)

    assert client.post("/feedback", [{"key": "a", "label": -3}, {"key": "b", "label": "4.5"}]).json

    [payload, *_] = client.frames()
    assert [entry[2] for entry in payload[2]] == [-3.0, 4.5]
    wrong = client.post("/feedback", {"key": "a", "label": "late"})
    assert wrong.status == 400
    assert "'late', but it is a number" in wrong.json["message"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no outcomes"),
        ([], "no outcomes"),
        (b"{", "no feedback"),
        (b"[" * 100_000, "no feedback"),
        (7, "Expected `object`"),
        ({"label": "true"}, "Outcome 0 needs prediction_id or key"),
        ({"label": "true", "prediction_id": "a", "key": "b"}, "needs prediction_id or key, one"),
        ([{"label": "true", "key": "a"}, {"key": "a"}], "missing required field `label`"),
        ({"key": "a", "label": "maybe"}, "but the classes are false, true"),
        ({"key": "a", "label": None}, "got `null`"),
        ({"key": "a", "label": ["true"]}, "got `array`"),
        ({"key": "a", "label": "true", "observed_at": "yesterday"}, "write a time such as"),
        ({"key": "a", "label": "true", "seen_at": "2013-04-01"}, "unknown field `seen_at`"),
        ({"key": "k" * 500, "label": "true"}, "more than 200 characters"),
    ],
)
def test_what_is_no_outcome_is_refused_whole(serve, late, body, words):
    client = serve(late)

    answer = client.post("/feedback", body, **{"content-type": "application/json"})

    assert answer.status == 400
    assert words in answer.json["message"]
    assert [payload for payload in client.frames() if payload[0] == "f"] == []


def test_a_key_needs_a_contract_that_names_one(serve, late, without):
    client = serve(without(late, "key"))

    assert (
        "names no data.key"
        in client.post("/feedback", {"key": "a", "label": "true"}).json["message"]
    )
    assert client.post("/feedback", {"prediction_id": "a-0", "label": "true"}).status == 200


def test_a_server_without_a_log_takes_no_outcomes(serve, late):
    client = serve(late, level="off")

    assert client.post("/feedback", {"key": "a", "label": "true"}).status == 503
