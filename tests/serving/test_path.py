"""The answers: equal to the original's, with an id, and written down."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace

import numpy as np
import pytest

from loopline.registry import release
from loopline.serving.log import read_frames


def _infer(client, trained, tensors, records, **more):
    body = {"inputs": tensors(trained, records), **more}
    answer = client.post("/v2/models/flight-delays/infer", body)
    assert answer.status == 200, answer.body
    return answer


def _outputs(answer):
    return {output["name"]: output for output in answer.json["outputs"]}


def test_a_binary_model_answers_as_the_original_at_its_threshold(serve, late, tensors):
    client = serve(late)
    expected = late.original.scores(late.columns)

    found = [_outputs(_infer(client, late, tensors, [record])) for record in late.records[:200]] + [
        _outputs(_infer(client, late, tensors, late.records[200:]))
    ]

    probabilities = [p for outputs in found for p in outputs["probability"]["data"]]
    labels = [label for outputs in found for label in outputs["label"]["data"]]
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-12)
    assert labels == ["true" if p >= 0.23 else "false" for p in expected]
    assert 0 < labels.count("true") < len(labels)
    assert found[-1]["probability"]["shape"] == [len(late.records) - 200]


@pytest.mark.parametrize("rows", [1, 300])
def test_a_multiclass_model_answers_a_probability_for_each_class(serve, origin, tensors, rows):
    client = serve(origin)
    expected = origin.original.scores(origin.columns)[:rows]

    found = _outputs(_infer(client, origin, tensors, origin.records[:rows]))

    assert found["probability"]["shape"] == [rows, 3]
    answered = np.array(found["probability"]["data"]).reshape(rows, 3)
    np.testing.assert_allclose(answered, expected, rtol=0, atol=1e-12)
    classes = np.array(["EWR", "JFK", "LGA"])
    assert found["label"]["data"] == classes[expected.argmax(axis=1)].tolist()


@pytest.mark.parametrize("rows", [1, 300])
def test_a_regression_answers_predictions(serve, delay, tensors, rows):
    client = serve(delay)
    expected = delay.original.scores(delay.columns)[:rows]

    found = _outputs(_infer(client, delay, tensors, delay.records[:rows]))

    assert list(found) == ["prediction"]
    np.testing.assert_allclose(found["prediction"]["data"], expected, rtol=1e-12)


def test_an_original_without_a_plan_answers_from_its_worker(serve, late, tensors):
    client = serve(late, with_plan=False)
    expected = late.original.scores(late.columns)[:20]

    one = _outputs(_infer(client, late, tensors, late.records[:1]))
    many = _outputs(_infer(client, late, tensors, late.records[:20]))

    np.testing.assert_allclose(one["probability"]["data"], expected[:1], atol=1e-12)
    np.testing.assert_allclose(many["probability"]["data"], expected, atol=1e-12)
    [model] = client.path.router.models
    assert model.runtime == "original"
    os.kill(model._worker.process_id, signal.SIGKILL)
    first = client.post(
        "/v2/models/flight-delays/infer", {"inputs": tensors(late, late.records[:1])}
    )
    assert first.status in {200, 503}
    again = _outputs(_infer(client, late, tensors, late.records[:1]))
    np.testing.assert_allclose(again["probability"]["data"], expected[:1], atol=1e-12)


def test_an_original_that_takes_no_missing_value_is_loaded_all_the_same(serve, adding, tensors):
    client = serve(adding, with_plan=False)

    answer = _outputs(_infer(client, adding, tensors, [{"a": 1.0, "b": 2.0}]))

    assert answer["prediction"]["data"] == [3.0]


def test_a_prediction_is_logged_with_its_inputs_output_version_and_ids(serve, late, tensors):
    client = serve(late)
    before = time.time_ns() // 1000
    records = late.records[:3]

    answer = _infer(client, late, tensors, records, id="mine-7")

    [p, *_] = client.frames()
    request_id = answer.headers["x-request-id"]
    assert p[:3] == ["p", request_id, "mine-7"]
    assert before <= p[3] <= time.time_ns() // 1000
    assert p[4:6] == [3, False]
    assert 0 < p[6] < 60_000_000
    assert p[7:9] == ["local", 3]
    assert answer.headers["x-model-version"] == "3"
    assert answer.json["parameters"]["prediction_ids"] == ",".join(
        f"{request_id}-{row}" for row in range(3)
    )
    names = [column.name for column in late.signature.inputs if column.logged]
    logged = dict(zip(names, p[9], strict=True))
    assert logged["carrier"] == [record["carrier"] for record in records]
    assert logged["flight_id"] == [record["flight_id"] for record in records]
    assert logged["hour"] == [record["hour"] for record in records]
    assert logged["weekend"] == [float(record["weekend"]) for record in records]
    assert logged["scheduled"] == late.columns["scheduled"][:3].astype(np.int64).tolist()
    outputs = _outputs(answer)
    assert p[10] == [outputs["label"]["data"], outputs["probability"]["data"]]


def test_personal_columns_are_never_written(serve, late, tensors):
    client = serve(late)
    _infer(client, late, tensors, late.records[:1])
    _infer(client, late, tensors, late.records[:5])
    client.frames()

    written = b"".join(segment.read_bytes() for segment in client.log_folder.glob("*.log"))
    tails = [record["tailnum"] for record in late.records[:5]]
    assert tails[0].startswith("N")
    assert not [tail for tail in tails if tail.encode() in written]


@pytest.mark.parametrize("rows", [1, 4])
def test_missing_values_are_logged_as_nothing(serve, late, tensors, rows):
    client = serve(late)
    records = [dict.fromkeys(late.records[0]) | {"carrier": "?"}] * rows

    _infer(client, late, tensors, records)

    [p, *_] = client.frames()
    assert p[9] == [[None] * rows] * 8


def test_request_ids_grow_with_time_and_fit_a_url(serve, late, tensors):
    client = serve(late, level="off")

    ids = [
        _infer(client, late, tensors, late.records[:1]).headers["x-request-id"] for _ in range(50)
    ]

    assert ids == sorted(set(ids))
    assert all(character in "0123456789abcdef" for request_id in ids for character in request_id)


def test_in_a_replay_predictions_arrive_when_they_happened(serve, late, tensors):
    client = serve(late, replay=True)
    client.post("/feedback", {"key": "a", "label": "true", "observed_at": "2013-05-01T00:00:00Z"})

    _infer(client, late, tensors, late.records[:2])

    feedback, prediction, *_ = client.frames()
    assert feedback[1] == 1_367_366_400_000_000
    assert prediction[3] == int(late.columns["scheduled"][:2].astype(np.int64).max())


def test_a_refused_request_is_logged_as_an_error_without_its_content(serve, late):
    client = serve(late)

    assert client.post("/v2/models/flight-delays/infer", {"inputs": []}).status == 400

    [e, *_] = client.frames()
    assert e[0] == "e"
    assert e[2:4] == ["RequestError", 400]


def test_a_full_disk_fails_no_prediction(serve, late, tensors, monkeypatch):
    client = serve(late, level="durable")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("loopline.serving.log.os.write", full)
    _infer(client, late, tensors, late.records[:1])
    text = client.get("/metrics").body.decode()
    feedback = client.post("/feedback", {"key": "a", "label": "true"})
    monkeypatch.undo()

    assert "loopline_log_lost_total 1" in text
    assert "loopline_log_failing 1" in text
    assert feedback.status == 503  # an outcome that is not kept must not be acknowledged


def test_once_the_disk_works_again_the_log_says_itself_what_it_lost(
    serve, late, tensors, monkeypatch
):
    client = serve(late, level="durable")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("loopline.serving.log.os.write", full)
    for _ in range(3):
        _infer(client, late, tensors, late.records[:1])
    monkeypatch.undo()
    for _ in range(2):
        _infer(client, late, tensors, late.records[:1])

    notes = [payload for payload in client.frames() if payload[0] == "n"]
    assert [(note[2], note[3], note[4]) for note in notes] == [("log_lost", 3, 3)]


@pytest.fixture
def split(serve, workspace, late):
    """Versions 3 and 4 answer half of the callers each, and 5 is asked too."""
    client = serve(late)
    served = [workspace.bundle(late, number) for number in (4, 5)]
    old = release.read(workspace.objects, workspace.keys, "flight-delays", "dev", 1).serves[0]
    half, shadow = replace(served[0], share=0.5), replace(served[1], share=0.0, shadow=True)
    workspace.release(replace(old, share=0.5), half, shadow)
    client.path.router.look()
    return client


def _version(answer):
    return int(answer.headers["x-model-version"])


def test_a_caller_stays_on_one_version_by_the_rows_key_or_its_own_id(split, late, tensors):
    records = late.records[:40]

    by_row = [_version(_infer(split, late, tensors, [record])) for record in records]
    again = [_version(_infer(split, late, tensors, [record])) for record in records]
    nameless = [{**record, "flight_id": None} for record in records[:1]] * 20
    by_id = {_version(_infer(split, late, tensors, nameless[:1], id="me")) for _ in nameless}
    by_chance = {_version(_infer(split, late, tensors, nameless[:1])) for _ in range(40)}

    assert by_row == again
    assert set(by_row) == {3, 4}
    assert len(by_id) == 1
    assert by_chance == {3, 4}


def test_a_shadow_is_asked_the_same_and_logged_beside_and_answers_nobody(split, late, tensors):
    records = late.records[:5]

    answers = [_infer(split, late, tensors, [record]) for record in records]
    split.runner.run(split.path.shadowed())

    assert {_version(answer) for answer in answers} <= {3, 4}
    assert split.path.metrics.shadowed == {5: 5}
    frames = [payload for payload in split.frames() if payload[0] == "p"]
    told = {payload[1]: payload for payload in frames if not payload[5]}
    shadows = {payload[1]: payload for payload in frames if payload[5]}
    assert told.keys() == shadows.keys() == {answer.headers["x-request-id"] for answer in answers}
    for request, payload in shadows.items():
        assert payload[4] == 5
        assert payload[9:] == told[request][9:]  # the same inputs and, by the same model, outputs


def test_a_shadow_that_has_no_time_is_passed_over_and_counted(split, late, tensors, monkeypatch):
    monkeypatch.setattr("loopline.serving.shadows.MOST_WAITING", 0)

    assert _infer(split, late, tensors, late.records[:1]).status == 200
    assert split.path.metrics.shadows_skipped == 1


def test_feedback_that_the_log_has_no_room_for_is_not_acknowledged(serve, late, monkeypatch):
    monkeypatch.setattr("loopline.serving.log._BACKLOG_BYTES", -1)
    client = serve(late)

    assert client.post("/feedback", {"key": "a", "label": "true"}).status == 503
    assert client.path.log.lost == 1


_SERVER = """
import sys
from pathlib import Path
from loopline.serving.place import Options
from loopline.serving.server import serve
from loopline.settings import Settings
serve("flight-delays", Settings.read(Path(sys.argv[1]), {}), Options(port=0, log="durable"), print)
"""


def test_kill_9_under_load_loses_no_acknowledged_prediction(workspace, late, tensors):
    workspace.release(workspace.bundle(late, 3))
    root = workspace.settings.home.parent
    server = subprocess.Popen(
        [sys.executable, "-u", "-c", _SERVER, str(root)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split(" at ")[1].strip()
        body = json.dumps({"inputs": tensors(late, late.records[:1])}).encode()
        acknowledged = []
        for number in range(60):
            if number == 50:
                server.send_signal(signal.SIGKILL)
            request = urllib.request.Request(
                f"{url}/v2/models/flight-delays/infer",
                body,
                {"Content-Type": "application/json"},
            )
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:
                    acknowledged.append(answer.headers["x-request-id"])
            except urllib.error.HTTPError as error:
                pytest.fail(error.read().decode())
            except OSError:
                break  # it is dead
    finally:
        server.kill()
        server.wait(10)
        assert server.stdout is not None
        server.stdout.close()

    folder = workspace.settings.home / "log" / "flight-delays" / "dev"
    on_disk = [p[1] for segment in folder.glob("*.log") for p, _ in read_frames(segment)]
    assert len(acknowledged) >= 50
    assert set(acknowledged) <= set(on_disk)


def test_a_failure_is_held_against_the_version_that_was_asked(split, late, tensors, monkeypatch):
    bad = split.path.router.named(4)

    async def fail(_call):
        raise ValueError("broken")

    monkeypatch.setattr(bad, "answer", fail)
    by_status = {200: set(), 500: set()}
    for record in late.records[:40]:
        tensor = {"inputs": tensors(late, [record])}
        by_status[split.post("/v2/models/flight-delays/infer", tensor).status].add(record["month"])
    split.post("/v2/models/flight-delays/infer", b"no JSON")

    errors = [frame for frame in split.frames() if frame[0] == "e"]
    assert by_status[200]
    assert by_status[500]
    assert {(frame[2], frame[5]) for frame in errors} == {("ValueError", 4), ("RequestError", 3)}


def _arms(answers):
    return {(_version(answer), answer.headers.get("x-model-arm")) for answer in answers}


def test_a_routing_key_keeps_a_caller_on_one_version_in_every_dialect(split, workspace, late):
    place = "flight-delays", "dev"
    [old, new, shadow] = release.read(workspace.objects, workspace.keys, *place, 2).serves
    workspace.release(old, replace(new, arm="bold"), shadow)
    split.path.router.look()
    records = late.records[:6]
    named = {"dataframe_records": records[:1]}
    lines = b"\n".join(json.dumps(record).encode() for record in records)

    def ask(key):
        head = {"x-routing-key": key}
        return [
            *(split.post("/invocations", {"dataframe_records": [row]}, **head) for row in records),
            split.post("/invocations", lines, **head, **{"content-type": "application/jsonlines"}),
            split.post("/v1/models/flight-delays:predict", {"instances": records[:2]}, **head),
        ]

    found = {key: _arms(ask(key)) for key in ("ada", "bob", "grace", "zoë", "eve")}
    empty = {_version(split.post("/invocations", named, **{"x-routing-key": ""})) for _ in range(9)}

    assert all(len(arms) == 1 for arms in found.values())
    assert set.union(*found.values()) == {(3, None), (4, "bold")}
    assert empty == {_version(split.post("/invocations", named))}
