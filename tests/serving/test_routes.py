"""Routes: whose a path is, whose a body, and whose words an error has."""

from typing import Any

import pytest

from loopline.errors import ServingError
from loopline.serving.app import ROUTES
from loopline.serving.reading import RefusedError
from loopline.serving.routes import Host, Reply, Request, Route, Table, health_paths


async def _nothing(host: Host, request: Request) -> Reply:
    return Reply(200, b"")


class _Text:
    home = ""
    routes = (
        Route("POST", "/speak", "predict", "Speak", takes=("text/plain", "")),
        Route("GET", "/things/{name}", "predict", "A thing", _nothing),
    )

    @staticmethod
    def error(status: int, message: str) -> bytes:
        return b"text"


class _Shout:
    home = "/shout"
    routes = (
        Route("POST", "/speak", "predict", "Shout", takes=("text/plain",), claims=bytes.isupper),
        Route("POST", "/speak", "predict", "Shout", takes=("text/loud",)),
        Route("POST", "$SHOUT_PATH", "predict", "Shout", takes=("",)),
        Route("POST", "/extra", "predict", "Shout", takes=("",), only_if="EXTRA"),
    )

    @staticmethod
    def error(status: int, message: str) -> bytes:
        return b"shout"


class _Elsewhere:
    routes = (Route("POST", "/else", "predict", "Speak", same_as="/speak"),)


def table(**environment: str) -> Table:
    kinds: dict[str, Any] = {"text": _Text, "shout": _Shout, "elsewhere": _Elsewhere}
    return Table("churn", (), kinds, environment)


@pytest.mark.parametrize("path", ["/speak", "/else"])
def test_type_and_body_say_whose_a_request_is(path: str) -> None:
    place = table().exact("POST", path)

    assert place is not None
    assert place.speaker("text/plain", b"HELLO").dialect == "shout"
    assert place.speaker("text/plain", b"hello").dialect == "text"
    assert place.speaker("", b"HELLO").dialect == "text"
    assert place.speaker("text/loud", b"hello").dialect == "shout"
    assert set(place.takes) == {"text/plain", "", "text/loud"}
    assert place.error(400, "") == b"text"  # whoever takes what names no type


def test_an_error_is_written_as_the_nearest_home_writes_it() -> None:
    made = table()

    assert made.form("/nothing")(404, "") == b"text"
    assert made.form("/shout/nothing")(404, "") == b"shout"


def test_a_route_may_hang_on_the_environment() -> None:
    plain = table()
    named = table(SHOUT_PATH="/speak", EXTRA="1")
    place = named.exact("POST", "/speak")

    assert plain.exact("POST", "/extra") is None
    assert named.exact("POST", "/extra") is not None
    assert place is not None
    assert place.speaker("", b"hello").dialect == "shout"  # the platform's path replaces ours
    assert table(EXTRA="yes").exact("POST", "/extra") is None
    assert {route.path for route in named.routes} >= {"/speak", "/extra", "/else"}


def test_a_name_in_the_path_is_read_and_no_more_than_one_segment() -> None:
    place, version, name = table().search("HEAD", "/things/a.b")

    assert (place.route.summary, version, name) == ("A thing", None, "a.b")
    for path in ("/things/", "/things/a/b", "/things"):
        with pytest.raises(RefusedError) as refused:
            table().search("GET", path)
        assert refused.value.status == 404
    with pytest.raises(RefusedError) as refused:
        table().search("PUT", "/things/a")
    assert (refused.value.status, refused.value.headers) == (405, ((b"allow", b"GET"),))


def test_routes_of_one_path_agree_on_who_may() -> None:
    class Open:
        routes = (Route("POST", "/speak", "health", "A hole", takes=("text/x",)),)

    with pytest.raises(ServingError, match="/speak differ in their permission"):
        Table("churn", (), {"text": _Text, "hole": Open}, {})  # type: ignore[dict-item]


def test_platforms_ask_for_health_where_they_are_told_to() -> None:
    ready = health_paths(ROUTES, "ready", {"AIP_HEALTH_ROUTE": "/vertex"})

    assert set(ready) == {"/readyz", "/v2/health/ready", "/ping", "/health", "/vertex"}
    assert set(health_paths(ROUTES, "live", {})) == {"/livez", "/v2/health/live"}
