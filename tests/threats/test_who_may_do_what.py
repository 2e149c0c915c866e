"""THREATS, who may do what: nothing is open by accident, asked through the real server.

Each test names the class of hole and the public records of it in other systems.
"""

import stat

import pytest

from loopline.serving.app import ROUTES

THERE = [route for route in ROUTES if route.path.startswith("/")]
"""Those whose path a platform names by a variable are the same functions elsewhere."""
SHOWN = {"{model}": "hostile", "{version}": "1"}
NO = {401, 429}
"""Who asked in vain too often is told so, and gets as little."""
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


@pytest.mark.parametrize("route", THERE, ids=lambda route: f"{route.method} {route.path}")
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
            assert status in NO, headers


@pytest.mark.parametrize("path", ["/", "/v2", "/docs", "/metrics", "/openapi.json", "/nothing"])
def test_no_other_method_opens_a_route(guarded, path):
    """A method that no rule names was allowed (CVE-2026-118624)."""
    for method in METHODS:
        status = guarded.status(_request(method, path))
        assert status in NO | {400, 404, 405, 501}, method


def test_the_token_opens_what_the_stranger_could_not(guarded):
    """Else the refusals above would say nothing."""
    bearer = {"Authorization": f"Bearer {guarded.token}"}

    for path in ("/v2", "/v2/models/hostile", "/metrics", "/openapi.json", "/docs"):
        assert guarded.status(_request("GET", path, **bearer)) == 200, path


def test_a_refused_request_leaves_no_mark(guarded, fingerprint):
    """A change of state without proof of who asks (CVE-2023-6014, 2024-25723, 2024-2213)."""
    before, logged = fingerprint(guarded.root), len(guarded.logged())

    for route in THERE:
        if route.method == "POST":
            status, body = guarded.post(_path(route), b'{"inputs": []}')
            assert status in NO, route.path
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


def test_what_is_there_is_no_strangers_to_learn(guarded):
    """Objects shown before anybody asked who asks (CVE-2026-2651, 2025-15381, 2024-4263)."""
    for path in (
        "/nothing",
        "/v2/models/other",
        "/v2/models/hostile/versions/9",
        "/v2/models/a/b/c",
    ):
        answer = guarded.raw(_request("GET", path))
        assert int(answer.split(b" ", 2)[1]) in NO, path
        assert b"hostile" not in answer, path
        assert b"docs" not in answer, path


@pytest.mark.parametrize("token", ["x", "password", "secret-of-15-ch"])
def test_a_server_with_a_weak_token_does_not_start(typed, token):
    """A weak password was accepted (CVE-2026-2635, 2025-11200); the refusal does not repeat it."""
    done = typed("serve", "--port", "0", LOOPLINE_TOKEN=token)

    assert done.exit_code == 1
    assert "at least 16" in str(done.exception)
    assert token == "x" or token not in str(done.exception)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "model.example"])
def test_a_server_that_others_reach_does_not_start_without_a_token(typed, host):
    """Open by default, and on every address (CVE-2023-48022): refused before a port is taken."""
    done = typed("serve", "--port", "0", "--host", host)

    assert done.exit_code == 1
    assert "LOOPLINE_TOKEN" in str(done.exception)


@pytest.mark.parametrize(
    "headers",
    [
        {"X_Loopline_Validate": "false"}, {"X_Skip_Validation": "1"},
        {"X_HTTP_Method_Override": "GET"},
        {"X_Forwarded_For": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1;host=localhost"},
        {"X_Forwarded_Host": "localhost"}, {"Cookie": "admin=1"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("extra", ["", ', "params": {"validate": false, "skip_checks": true}'])
def test_nothing_a_caller_says_switches_a_check_off(server, guarded, headers, extra):
    """A tag set by the client switched validation off (CVE-2026-2614)."""
    body = f'{{"instances": [{{"number": "no number"}}]{extra}}}'.encode()

    assert server.post("/invocations?validate=false", body, **headers)[0] in {400, 404}
    assert server.post("/invocations", body, **headers)[0] == 400
    assert server.post("/invocations", body, Host="evil.example", **headers)[0] == 403
    assert guarded.post("/invocations", body, **headers)[0] in NO


def test_an_author_cannot_let_a_version_in_alone(typed, fingerprint):
    """Object checks missing (CVE-2026-2651): not by asking, approving, or another spelling."""
    path = typed.root / "loopline.yaml"
    contract = path.read_text(encoding="utf-8")
    path.write_text(contract.replace("production: {}", "production: {approvals: 1}"), "utf-8")
    asked = typed("model", "promote", "1", "--to", "production")
    assert asked.exit_code == 0, asked.exception
    before = fingerprint(typed.root / ".loopline" / "store")

    for actor in ("ada", "ADA", "Ada"):
        for command in (("approve", "1"), ("promote", "1", "--to", "production")):
            typed("model", *command, LOOPLINE_ACTOR=actor)

    assert fingerprint(typed.root / ".loopline" / "store") == before
    assert typed.project().registry.serving("production") is None
    assert typed("model", "approve", "1", LOOPLINE_ACTOR="grace").exit_code == 0
    assert typed.project().registry.serving("production").number == 1


def test_a_history_that_was_changed_is_named(typed):
    """A row of the ledger that says another thing than was decided."""
    project = typed.project()
    with project.database.begin() as connection:
        connection.exec_driver_sql(
            "update events set payload = replace(payload, '\"gate_passed\":true', "
            "'\"gate_passed\":false') where kind = 'version.registered'"
        )
    project.database.close()

    done = typed("audit", "verify")

    assert done.exit_code == 1
    assert "version.registered" in str(done.exception)


def test_keys_and_logs_are_their_owners_alone(server):
    """Secrets that others on the machine can read: mode 0600, whatever the umask."""
    home = server.root / ".loopline"
    server.post("/feedback", b'{"prediction_id": "a", "label": "no <b>"}')
    private = [home / "keys" / "signing.pem", *(home / "log").rglob("*.log")]

    assert len(private) > 1
    for path in private:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_key_that_others_can_read_signs_nothing(typed, fingerprint):
    """A private key with open permissions proves nothing: refused, and not repeated."""
    key = typed.root / ".loopline" / "keys" / "signing.pem"
    key.chmod(0o640)
    before = fingerprint(typed.root / ".loopline" / "store")

    done = typed("model", "promote", "1", "--to", "staging")

    assert done.exit_code == 1
    assert "can be read by others" in str(done.exception)
    assert "PRIVATE KEY" not in str(done.exception)
    assert fingerprint(typed.root / ".loopline" / "store") == before


def test_the_private_key_is_in_its_file_and_nowhere_else(trained, server):
    """A key that was packed, logged or shown (CVE-2026-24123): not even a part of its text."""
    key = trained.typed.root / ".loopline" / "keys" / "signing.pem"
    [secret] = [line for line in key.read_text().splitlines() if "-" not in line]
    pieces = [secret[-24:].encode(), b"PRIVATE KEY"]
    holding = [
        path.name
        for root in (trained.typed.root, server.root / ".loopline" / "log")
        for path in root.rglob("*")
        if path.is_file() and any(piece in path.read_bytes() for piece in pieces)
    ]
    shown = [
        trained.typed(*command).output
        for command in (("audit", "list", "--json"), ("model", "show", "1", "--json"), ("status",))
    ]

    assert holding == ["signing.pem"]
    assert not [text for text in (trained.said, *shown) if pieces[0].decode() in text]
