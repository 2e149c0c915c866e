"""The routes: who may, what is refused, and in whose words."""

import json
from dataclasses import replace
from typing import get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

from loopline import errors
from loopline.errors import LooplineError, ServingError
from loopline.governance.access import Access
from loopline.serving import reading
from loopline.serving.app import ROUTES, STATUS
from loopline.serving.guard import Guard, Permission
from loopline.serving.reading import RefusedError
from loopline.serving.routes import Route

MODEL = "/v2/models/flight-delays"


def _all_errors(kind=LooplineError):
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from _all_errors(below)


def test_every_error_has_a_status_and_none_falls_to_the_root():
    assert LooplineError not in STATUS
    for kind in _all_errors():
        found = [STATUS[above] for above in kind.__mro__ if above in STATUS]
        assert found or kind is LooplineError, f"{kind.__name__} is missing from STATUS"


def test_a_route_without_a_permission_cannot_be_made():
    with pytest.raises(ServingError, match="declares no permission"):
        Route("GET", "/open", None, "A hole")  # type: ignore[arg-type]
    with pytest.raises(ServingError, match="one of health, predict"):
        Route("GET", "/open", "", "A hole")  # type: ignore[arg-type]


def test_only_health_says_anything_without_a_token(serve, late):
    client = serve(late, token="correct horse battery")
    paths = [
        (r, r.path.replace("{model}", "flight-delays").replace("{version}", "3"))
        for r in ROUTES
        if r in client.app.host.routes or r.same_as is not None
    ]
    paths = [(route, path) for route, path in paths if route.only_if is None]

    for route, path in paths:
        client.app.guard._failures.clear()  # how often is told in test_guard
        anonymous = client.call(route.method, path, b"{}" if route.takes else b"")
        assert anonymous.status == (200 if route.permission == "health" else 401), path
        wrong = client.call(
            route.method, path, b"{}" if route.takes else b"", {"authorization": "Bearer wrong"}
        )
        assert wrong.status == anonymous.status
    assert {"health", "predict", "metrics"} <= {route.permission for route, _ in paths}
    assert {route.permission for route, _ in paths} <= set(get_args(Permission))
    client.app.guard._failures.clear()
    assert client.get("/nothing").status == 401
    assert client.get("/v2/models/other").status == 401
    assert client.call("DELETE", "/metrics").status == 401


def test_the_token_opens_every_route(serve, late):
    client = serve(late, token="correct horse battery")

    for path in ("/v2", MODEL, "/metrics", "/openapi.json", "/docs", "/"):
        answer = client.get(
            path, authorization="Bearer correct horse battery", host="model.example"
        )
        assert answer.status == 200, path
    row = client.post(
        "/invocations",
        {"instances": [late.records[0]]},
        authorization="Bearer correct horse battery",
        host="model.example",
    )
    assert row.status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", "", "127.0.0.1@evil"]
)
def test_on_loopback_a_strange_host_is_refused(serve, late, host):
    client = serve(late)

    assert client.get("/v2", host=host).status == 403
    answer = client.post("/invocations", {"instances": [late.records[0]]}, host=host)
    assert answer.status == 403
    assert client.path.metrics.predictions == {}


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:8080"])
def test_on_loopback_the_machines_own_names_are_served(serve, late, host):
    assert serve(late).get("/v2", host=host).status == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example"]
)
def test_a_page_of_another_site_cannot_post(serve, late, origin):
    client = serve(late)

    answer = client.post("/feedback", {"key": "a", "label": "true"}, origin=origin)

    assert answer.status == 403
    assert [payload for payload in client.frames() if payload[0] == "f"] == []


def test_health_says_ready(serve, late):
    client = serve(late)

    assert client.get("/v2/health/live").json == {"live": True}
    assert client.get("/v2/health/ready").status == 200
    assert client.get(f"{MODEL}/ready").json == {"name": "flight-delays", "ready": True}
    assert client.get(f"{MODEL}/versions/3/ready").status == 200
    assert (client.get("/ping").status, client.get("/health").body) == (200, b"\n")
    assert client.call("HEAD", "/v2/health/ready").status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v2/models/other", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("GET", f"{MODEL}/versions/4", 404),
        ("GET", f"{MODEL}/versions/0", 404),
        ("GET", f"{MODEL}/versions/three", 404),
        ("GET", f"{MODEL}/versions/99999999999999999999/ready", 404),
        ("GET", f"{MODEL}/", 404),
        ("GET", "/v2/models/../../etc/passwd", 404),
        ("GET", "/v2/models/..%2f..%2fetc", 404),
        ("GET", "//etc/passwd", 404),
        ("GET", f"{MODEL};x=1", 404),
        ("GET", f"{MODEL}#x", 404),
        ("GET", "/invocations", 405),
        ("GET", f"{MODEL}/infer", 405),
        ("POST", MODEL, 405),
        ("DELETE", MODEL, 405),
        ("POST", "/ping", 405),
        ("BREW", "/metrics", 405),
        ("OPTIONS", "/feedback", 405),
    ],
)
def test_what_is_not_there_is_said_in_the_protocols_words(serve, late, method, path, status):
    answer = serve(late).call(method, path)

    assert answer.status == status
    expected = {"error"} if path.startswith("/v2") else {"error_code", "message", "error"}
    assert set(answer.json) == expected
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-python-pickle"}, 415),
        ({"content-type": "application/vnd.apache.parquet+x"}, 415),
        ({"content-type": "application/json; header=present"}, 415),
        ({"content-type": "text/csv; header=perhaps"}, 415),
        ({"content-type": "application/json; charset=latin-1"}, 415),
        ({"content-type": "application/json; format=pandas-split"}, 415),
        ({"content-encoding": "gzip"}, 415),
        ({"content-type": "Application/JSON; charset=UTF-8"}, 200),
        ({"content-type": ""}, 200),
    ],
)
def test_only_listed_media_types_are_read(serve, late, headers, status):
    answer = serve(late).post("/invocations", {"instances": [late.records[0]]}, **headers)

    assert answer.status == status


def test_a_large_body_is_refused_before_it_is_read(serve, late, monkeypatch):
    client = serve(late)
    monkeypatch.setattr(reading, "LARGEST_BODY", 1000)
    body = json.dumps({"instances": [late.records[0]] * 10}).encode()

    declared = client.post("/invocations", body)
    chunked = client.call("POST", "/invocations", body, {"content-length": "", "x": "1"}, pieces=5)

    assert declared.status == chunked.status == 413
    assert "larger than 1000 bytes" in declared.json["message"]
    assert declared.headers["connection"] == "close"


def test_a_body_in_pieces_is_one_body(serve, late):
    body = json.dumps({"instances": [late.records[0]]}).encode()

    answer = serve(late).call("POST", "/invocations", body, pieces=7)

    assert answer.status == 200


def test_a_fault_of_ours_is_a_500_without_a_trace(serve, late, monkeypatch, caplog):
    client = serve(late)
    [model] = client.path.router.models

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a secret of the server's")

    monkeypatch.setattr(model, "outputs", broken)
    answer = client.post("/invocations", {"instances": [late.records[0]]})

    assert answer.status == 500
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body
    assert "a secret of the server's" in caplog.text
    monkeypatch.undo()
    assert client.post("/invocations", {"instances": [late.records[0]]}).status == 200


def test_metrics_are_what_prometheus_reads(serve, late, tensors):
    client = serve(late)
    for _ in range(3):
        client.post(f"{MODEL}/infer", {"inputs": tensors(late, late.records[:2])})
    client.post("/invocations", {"instances": [late.records[0] | {"new": 1, "newer": 2}]})
    client.post(f"{MODEL}/infer", b"{}")
    client.get("/nothing")

    families = text_string_to_metric_families(client.get("/metrics").body.decode())
    samples = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }

    assert samples["loopline_predictions_total", ("3",)] == 7
    assert samples["loopline_unknown_columns_total", ()] == 2
    infer = "/v2/models/{model}/infer"
    assert samples["loopline_requests_total", (infer, "200")] == 3
    assert samples["loopline_requests_total", (infer, "400")] == 1
    assert samples["loopline_requests_total", ("other", "404")] == 1
    assert samples["loopline_prediction_seconds_count", ()] == 4
    assert samples["loopline_prediction_seconds_bucket", ("+Inf",)] == 4
    assert samples["loopline_serving", ("3",)] == 1
    assert samples["process_resident_memory_bytes", ()] > 1e6


def test_the_description_names_every_route_and_column(serve, late):
    client = serve(late)

    document = client.get("/openapi.json").json

    always = {r.path for r in ROUTES if r.only_if is None and not r.path.startswith("$")}
    assert set(document["paths"]) == always
    row = document["components"]["schemas"]["Row"]
    assert set(row["properties"]) == {column.name for column in late.signature.inputs}
    assert "flight_id" not in row["required"]
    for path, method in (("/invocations", "post"), ("/v2/models/{model}/infer", "post")):
        body = document["paths"][path][method]["requestBody"]["content"]["application/json"]
        here = path.replace("{model}", "flight-delays")
        assert client.post(here, body["example"]).status == 200


def test_the_page_is_self_contained_and_escapes_every_name(serve, late):
    hostile = '<script>alert("x")</script>'
    signature = late.signature
    inputs = (*signature.inputs, replace(signature.inputs[0], name=hostile))
    client = serve(replace(late, original=late.original.signed(replace(signature, inputs=inputs))))

    page = client.get("/docs")

    assert hostile.encode() not in page.body
    assert b"&lt;script&gt;" in page.body
    assert b"http://" not in page.body
    assert b"https://" not in page.body
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["content-type"] == "text/html; charset=utf-8"


def test_who_sends_a_known_head_is_looked_at_again_and_answered_the_same(serve, late, tensors):
    client = serve(late, token="correct horse battery")
    path = "/v2/models/flight-delays/infer"
    body = json.dumps({"inputs": tensors(late, late.records[:1])}).encode()
    scope = {
        "type": "http", "method": "POST", "path": path, "query_string": b"",
        "headers": [
            (b"authorization", b"Bearer correct horse battery"),
            (b"content-length", b"%d" % len(body)),
        ],
    }  # fmt: skip
    asked = client.app.asked(scope)
    assert (asked.method, asked.path, asked.size) == ("POST", path, len(body))

    def again(body: bytes) -> tuple[int, bytes]:
        reply = client.runner.run(client.app.again(asked, body, ("10.0.0.1", 5)))
        return reply.status, reply.body

    def parts(answer: bytes) -> list[dict[str, object]]:
        return json.loads(answer)["outputs"]

    usual = client.post(path, body, authorization="Bearer correct horse battery")
    status, answer = again(body)
    assert (status, parts(answer)) == (200, parts(usual.body))
    status, answer = again(b"{}")
    assert status == 400
    assert answer.startswith(b'{"error":"This is no inference request')
    client.app.guard = Guard(Access(client.log_folder, "another token than that"), needs_token=True)
    assert again(body)[0] == 401
    requests, route = client.path.metrics.requests, "/v2/models/{model}/infer"
    assert [requests[route, s] for s in (200, 400, 401)] == [2, 1, 1]


def test_a_head_that_asks_for_nothing_that_there_is_is_refused(serve, late):
    with pytest.raises(RefusedError, match="There is nothing under this path"):
        serve(late).app.asked({"method": "GET", "path": "/x", "headers": [(b"host", b"localhost")]})
