"""Who gets in, and what whoever does not is told."""

from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest

from loopline.governance.access import Access
from loopline.serving.guard import Bucket, Guard, Permission, Refusal

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
    refused = closed_guard.refusal(permission, {})
    assert refused is not None
    assert refused.headers == ((b"www-authenticate", b"Bearer"),)


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


def test_behind_a_platform_that_authenticates_whoever_comes_is_let_in(tmp_path: Path) -> None:
    guard = Guard(Access(tmp_path), needs_token=False, is_behind=True)

    for permission in ("health", "predict", "feedback", "metrics"):
        assert status(guard, permission, host="model.example") is None  # type: ignore[arg-type]
    assert guard.caller == "platform"


def test_strangers_cannot_fill_its_memory(open_guard: Guard) -> None:
    for number in range(1000):
        status(open_guard, "predict", host=f"evil-{number}.example")
        status(open_guard, "predict", host=f"localhost:{number + 1}")

    assert len(open_guard._hosts) <= 64
    assert status(open_guard, "predict", host="localhost:9999") is None


def test_the_log_says_how_a_caller_came_in(open_guard: Guard, closed_guard: Guard) -> None:
    assert (open_guard.caller, closed_guard.caller) == ("local", "token")


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def refusal(guard: Guard, token: str | None, address: str = "192.0.2.1") -> Refusal | None:
    given = {} if token is None else {b"authorization": f"Bearer {token}".encode()}
    return guard.refusal("predict", given, address)


def outcomes(guard: Guard, token: str | None, times: int, address: str = "192.0.2.1") -> list[int]:
    found = [refusal(guard, token, address) for _ in range(times)]
    return [200 if each is None else each.status for each in found]


def make(access: Access, name: str, *scopes: str, **more: float) -> str:
    made_at = datetime(2026, 3, 1, tzinfo=UTC)
    return access.make(name, scopes, made_at=made_at, **more)  # type: ignore[arg-type]


def test_a_good_token_for_something_else_is_told_what_it_opens(tmp_path: Path) -> None:
    access = Access(tmp_path)
    guard = Guard(access, needs_token=True)
    found = refusal(guard, make(access, "prometheus", "metrics"))

    assert found is not None
    assert found.status == 403
    assert found.message.startswith("The token 'prometheus' opens metrics, and this takes predict.")


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = Bucket(rate=4, burst=3, now=0)

    assert [bucket.wait(0) for _ in range(4)] == [0, 0, 0, 0.25]
    assert bucket.wait(0.125) == 0.125
    assert bucket.wait(0.25) == 0
    assert bucket.wait(0.25) == 0.25
    assert [bucket.wait(1000) for _ in range(4)] == [0, 0, 0, 0.25]  # a long rest saves no more


def test_a_token_gets_its_rate_and_its_burst_and_others_keep_theirs(
    tmp_path: Path, clock: Clock
) -> None:
    access = Access(tmp_path)
    guard = Guard(access, needs_token=True, clock=clock)
    slow = make(access, "slow", "predict", rate=2, burst=5)
    other = make(access, "other", "predict", rate=2, burst=5)

    assert outcomes(guard, slow, 7) == [200] * 5 + [429] * 2
    assert outcomes(guard, other, 5) == [200] * 5
    clock.now += 1
    assert outcomes(guard, slow, 3) == [200, 200, 429]
    clock.now += 60
    assert outcomes(guard, slow, 6) == [200] * 5 + [429]


def test_who_is_past_its_rate_is_told_when_to_come_back(tmp_path: Path, clock: Clock) -> None:
    access = Access(tmp_path)
    guard = Guard(access, needs_token=True, clock=clock)
    token = make(access, "hourly", "predict", rate=0.1, burst=1)
    assert refusal(guard, token) is None

    found = refusal(guard, token)

    assert found is not None
    assert found.headers == ((b"retry-after", b"10"),)
    assert found.message == "The token 'hourly' is past its rate. Try again in 10 s."


def test_workers_share_a_token_s_rate(tmp_path: Path, clock: Clock) -> None:
    access = Access(tmp_path)
    token = make(access, "shared", "predict", rate=8, burst=8)
    guards = [Guard(access, needs_token=True, workers=4, clock=clock) for _ in range(4)]

    assert sum(outcomes(guard, token, 9).count(200) for guard in guards) == 8
    clock.now += 1
    assert sum(outcomes(guard, token, 9).count(200) for guard in guards) == 8


def test_a_token_made_anew_has_its_new_rate(tmp_path: Path, clock: Clock) -> None:
    access = Access(tmp_path)
    guard = Guard(access, needs_token=True, clock=clock)
    old = make(access, "a", "predict", rate=1, burst=1)
    assert outcomes(guard, old, 2) == [200, 429]

    access.revoke("a")
    new = make(access, "a", "predict", rate=1, burst=3)

    assert outcomes(guard, new, 4) == [200, 200, 200, 429]


def test_failures_of_an_address_are_limited_and_no_other_address_pays(
    tmp_path: Path, clock: Clock
) -> None:
    guard = Guard(Access(tmp_path, TOKEN), needs_token=True, clock=clock)

    assert outcomes(guard, "a guess", 22) == [401] * 20 + [429] * 2
    assert outcomes(guard, None, 1) == [429]
    assert outcomes(guard, "a guess", 1, "192.0.2.2") == [401]
    clock.now += 2
    assert outcomes(guard, "a guess", 3) == [401, 401, 429]


def test_a_stranger_behind_the_same_proxy_locks_nobody_out(tmp_path: Path, clock: Clock) -> None:
    guard = Guard(Access(tmp_path, TOKEN), needs_token=True, clock=clock)
    outcomes(guard, "a guess", 50)

    assert outcomes(guard, TOKEN, 3) == [200] * 3


def test_strangers_cannot_fill_its_memory_with_addresses(tmp_path: Path, clock: Clock) -> None:
    guard = Guard(Access(tmp_path, TOKEN), needs_token=True, clock=clock)
    outcomes(guard, "a guess", 21, "192.0.2.1")
    for number in range(1500):
        outcomes(guard, "a guess", 1, f"198.51.100.{number}")
        if number % 500 == 0:  # one that keeps trying is not forgotten for the others
            assert outcomes(guard, "a guess", 1, "192.0.2.1") == [429]

    assert len(guard._failures) == 1024
