"""Who gets in, and what whoever does not is told."""

from pathlib import Path
from typing import get_args

import pytest

from loopline.governance.access import Access
from loopline.serving.guard import Guard, Permission

TOKEN = "a token of some length"


@pytest.fixture
def open_guard(tmp_path: Path) -> Guard:
    return Guard(Access(tmp_path), needs_token=False)


@pytest.fixture
def closed_guard(tmp_path: Path) -> Guard:
    return Guard(Access(tmp_path, TOKEN), needs_token=True)


def status(guard: Guard, permission: Permission, **headers: str) -> int | None:
    given = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    refusal = guard.refusal(permission, given)
    return None if refusal is None else refusal.status


def test_health_is_open_to_all(open_guard: Guard, closed_guard: Guard) -> None:
    for guard in (open_guard, closed_guard):
        assert status(guard, "health") is None
        assert status(guard, "health", host="evil.example", origin="https://evil.example") is None


@pytest.mark.parametrize("permission", set(get_args(Permission)) - {"health"})
def test_where_a_token_is_needed_nothing_else_opens(
    closed_guard: Guard, permission: Permission
) -> None:
    assert status(closed_guard, permission, authorization=f"Bearer {TOKEN}") is None
    assert status(closed_guard, permission, authorization=f"bearer {TOKEN}") is None
    for wrong in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer ", "Bearer \xff\xfe"):
        assert status(closed_guard, permission, authorization=wrong) == 401
    assert status(closed_guard, permission, host="localhost") == 401


def test_with_a_token_any_host_may_be_called(closed_guard: Guard) -> None:
    header = f"Bearer {TOKEN}"

    assert status(closed_guard, "predict", authorization=header, host="model.example") is None


def test_without_a_token_the_host_decides(open_guard: Guard) -> None:
    for host in ("localhost:8080", "127.0.0.1:8080", "[::1]:8080", "localhost"):
        assert status(open_guard, "predict", host=host) is None
        assert status(open_guard, "predict", host=host) is None  # and again, from memory
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "a:b:c"):
        assert status(open_guard, "predict", host=host) == 403
        assert status(open_guard, "predict", host=host) == 403
    assert status(open_guard, "predict") == 403


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://localhost:3000", None),
        ("http://127.0.0.1", None),
        ("https://evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_a_page_of_another_site_is_kept_out_though_its_host_is_right(
    open_guard: Guard, origin: str, expected: int | None
) -> None:
    assert status(open_guard, "predict", host="localhost:8080", origin=origin) == expected


def test_strangers_cannot_fill_its_memory(open_guard: Guard) -> None:
    for number in range(1000):
        status(open_guard, "predict", host=f"evil-{number}.example")
        status(open_guard, "predict", host=f"localhost:{number + 1}")

    assert len(open_guard._hosts) <= 64
    assert status(open_guard, "predict", host="localhost:9999") is None


def test_the_log_says_how_a_caller_came_in(open_guard: Guard, closed_guard: Guard) -> None:
    assert (open_guard.caller, closed_guard.caller) == ("local", "token")
