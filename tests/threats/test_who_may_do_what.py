"""THREATS, who may do what: nothing is open by accident, asked through the real server.

Each test names the class of hole and the public records of it in other systems.
"""

import pytest

from loopline.serving.app import ROUTES

SHOWN = {"{model}": "hostile", "{version}": "1"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")


def _path(route) -> str:
    path = route.path
    for name, value in SHOWN.items():
        path = path.replace(name, value)
    return path


def _request(method: str, path: str, **headers: str) -> bytes:
    named = {"Host": "localhost", "Connection": "close", "Content-Length": "2", **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in named.items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", "{}"]).encode()


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_stranger_gets_401_on_every_route_but_health(guarded, route):
    """Routes outside the authenticated application (CVE-2026-2652, 2026-0545, 2023-48022)."""
    json = {"Content-Type": "application/json"}
    strangers = [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic b3BlcmF0b3I6cGFzc3dvcmQ="},
        {"Authorization": "Bearer " + "x" * 28},
        {"Authorization": "bearer token", "X-Forwarded-For": "127.0.0.1"},
        {"Host": "127.0.0.1", "X-Original-URL": "/v2/health/live", "Origin": "http://localhost"},
    ]
    for headers in strangers:
        status = guarded.status(_request(route.method, _path(route), **json, **headers))
        if route.permission == "health":
            assert status in {200, 400}, headers
        else:
            assert status == 401, headers


@pytest.mark.parametrize("path", ["/", "/v2", "/docs", "/metrics", "/openapi.json", "/nothing"])
def test_no_other_method_opens_a_route(guarded, path):
    """A method that no rule names was allowed (CVE-2026-118624)."""
    for method in METHODS:
        status = guarded.status(_request(method, path))
        assert status in {400, 401, 404, 405, 501}, method


def test_the_token_opens_what_the_stranger_could_not(guarded):
    """Else the refusals above would say nothing."""
    bearer = {"Authorization": f"Bearer {guarded.token}"}

    for path in ("/v2", "/v2/models/hostile", "/metrics", "/openapi.json", "/docs"):
        assert guarded.status(_request("GET", path, **bearer)) == 200, path


def test_a_refused_request_leaves_no_mark(guarded, fingerprint):
    """A change of state without proof of who asks (CVE-2023-6014, 2024-25723, 2024-2213)."""
    before, logged = fingerprint(guarded.root), len(guarded.logged())

    for route in ROUTES:
        if route.method == "POST":
            status, body = guarded.post(_path(route), b'{"inputs": []}')
            assert status == 401, route.path
            assert b"hostile" not in body

    assert fingerprint(guarded.root) == before
    assert len(guarded.logged()) == logged


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example#localhost",
     "localhost@evil.example", "0.0.0.0", "2130706433", "[::ffff:127.0.0.1]", ""],
)  # fmt: skip
def test_a_name_that_was_pointed_at_this_machine_is_refused(server, host):
    """DNS rebinding: a missing Host check (CVE-2025-14279, 2023-43472)."""
    assert server.status(_request("GET", "/v2", Host=host)) in {400, 403}


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://localhost.evil.example"]
)
def test_a_page_of_another_site_cannot_post(server, fingerprint, origin):
    """Cross-site requests (CVE-2025-1473): refused before the body is read."""
    before = len(server.logged())

    for path in ("/invocations", "/feedback", "/v2/models/hostile/infer"):
        status, _ = server.post(path, b"[]", Origin=origin)
        assert status == 403, path

    assert len(server.logged()) == before


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_what_a_form_of_another_site_can_send_is_no_request(server, kind):
    """A form needs no leave of the browser's to be sent across sites: its types are not read."""
    body = b'{"dataframe_records": [{"number": 1}]}'

    for path in ("/invocations", "/feedback", "/v2/models/hostile/infer"):
        status, _ = server.post(path, body, Content_Type=kind)
        assert status == 415, path
