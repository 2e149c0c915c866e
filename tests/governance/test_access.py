"""Who may call a server: nobody by default, and never by guessing."""

from datetime import UTC, datetime, timedelta

import pytest

from loopline.errors import AccessError, SettingError
from loopline.governance.access import LOOK_SECONDS, Access, host_allowed, is_loopback

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def make(access, name="scoring", scopes=("predict",), **more):
    return access.make(name, scopes, made_at=NOW, **more)


def test_no_token_is_built_in(tmp_path):
    access = Access(tmp_path)

    assert not access.exists("predict")
    assert access.tokens() == []
    for guess in (None, "", "Bearer", "Bearer ", "Bearer None", "Bearer admin", "Basic YTpi"):
        assert not access.allows(guess, "predict")


def test_a_token_opens_its_scopes_and_no_other(tmp_path):
    access = Access(tmp_path)
    token = make(access, scopes=("predict", "feedback"))

    for scope, opens in {
        "predict": True, "feedback": True, "metrics": False, "admin": False,
    }.items():  # fmt: skip
        assert access.allows(f"Bearer {token}", scope) is opens
        assert access.exists(scope) is opens
    assert access.allows(f"bearer {token}", "predict")
    assert Access(tmp_path).allows(f"Bearer {token}", "predict")
    assert not access.allows(f"Basic {token}", "predict")
    assert not access.allows(token, "predict")
    assert not access.allows(f"Bearer {token}x", "predict")
    assert not access.allows(f"Bearer {token[:-1]}", "predict")


def test_there_are_several_tokens_for_a_scope_and_each_ends_by_itself(tmp_path):
    access = Access(tmp_path)
    first, second = make(access, "first"), make(access, "second")

    access.revoke("first")

    assert not access.allows(f"Bearer {first}", "predict")
    assert access.allows(f"Bearer {second}", "predict")
    assert [token.name for token in access.tokens()] == ["second"]


def test_tokens_differ_and_only_a_hash_is_kept(tmp_path):
    access = Access(tmp_path)
    tokens = {make(access, "a"), make(access, "b"), make(Access(tmp_path / "other"), "a")}

    assert len(tokens) == 3
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert not any(token.removeprefix("loopline-").encode() in kept for token in tokens)
    for path in (tmp_path / "keys" / "tokens").iterdir():
        assert path.stat().st_mode & 0o077 == 0
    for token in access.tokens():
        assert not access.allows(f"Bearer {token.digest}", "predict")


def test_another_process_s_change_is_seen_within_half_a_second_and_not_by_each_request(tmp_path):
    time = [100.0]
    running, elsewhere = Access(tmp_path, clock=lambda: time[0]), Access(tmp_path)
    assert running.find("Bearer anything at all") is None
    token = make(elsewhere)

    assert not running.allows(f"Bearer {token}", "predict")
    time[0] += LOOK_SECONDS
    assert running.allows(f"Bearer {token}", "predict")

    elsewhere.revoke("scoring")
    assert running.allows(f"Bearer {token}", "predict")
    time[0] += LOOK_SECONDS
    assert not running.allows(f"Bearer {token}", "predict")
    assert LOOK_SECONDS < 1


def test_a_token_made_anew_under_its_name_is_another(tmp_path):
    time = [100.0]
    running, elsewhere = Access(tmp_path, clock=lambda: time[0]), Access(tmp_path)
    old = make(elsewhere)
    assert running.allows(f"Bearer {old}", "predict")

    elsewhere.revoke("scoring")
    new = make(elsewhere)
    time[0] += LOOK_SECONDS

    assert not running.allows(f"Bearer {old}", "predict")
    assert running.allows(f"Bearer {new}", "predict")


def test_a_token_ends_at_its_time(tmp_path):
    time = [NOW.timestamp()]
    access = Access(tmp_path, now=lambda: time[0])
    token = make(access, expires_at=NOW + timedelta(days=90))

    time[0] += 90 * 86400 - 1
    assert access.allows(f"Bearer {token}", "predict")
    time[0] += 1
    assert not access.allows(f"Bearer {token}", "predict")
    assert not access.exists("predict")
    assert [kept.name for kept in access.tokens()] == ["scoring"]


def test_a_name_is_taken_once(tmp_path):
    token = make(Access(tmp_path))

    with pytest.raises(AccessError, match="There is a token 'scoring' already"):
        make(Access(tmp_path))
    assert Access(tmp_path).allows(f"Bearer {token}", "predict")


@pytest.mark.parametrize("name", ["", "../key", "a/b", "A", ".hidden", "a b", "x" * 65, "a\n"])
def test_a_name_is_never_a_path(tmp_path, name):
    with pytest.raises(AccessError, match="cannot be a token's name"):
        make(Access(tmp_path), name)
    with pytest.raises(AccessError, match=r"(?s)There is no token .* Tokens: none"):
        Access(tmp_path).revoke(name)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_token_for_nothing_is_refused(tmp_path):
    with pytest.raises(AccessError, match="at least one scope: predict, feedback, metrics, admin"):
        make(Access(tmp_path), scopes=())


def test_what_is_no_token_s_file_is_named_and_opens_nothing(tmp_path):
    make(Access(tmp_path))
    broken = tmp_path / "keys" / "tokens" / "odd.json"
    broken.write_text('{"name": "odd"}')

    with pytest.raises(AccessError, match=r"odd\.json is no token's file"):
        Access(tmp_path).find("Bearer anything at all")


def test_a_rate_has_a_burst_of_a_second_unless_another_is_named(tmp_path):
    access = Access(tmp_path)
    make(access, "a", rate=50.0)
    make(access, "b", rate=0.1)
    make(access, "c", rate=50.0, burst=7)
    make(access, "d")

    rates = [(token.rate, token.burst) for token in access.tokens()]
    assert rates == [(50.0, 50), (0.1, 1), (50.0, 7), (None, 1)]


def test_the_setting_replaces_every_token(tmp_path):
    made = make(Access(tmp_path))
    access = Access(tmp_path, token="correct horse battery staple")

    for scope in ("predict", "feedback", "metrics", "admin"):
        assert access.exists(scope)
        assert access.allows("Bearer correct horse battery staple", scope)
    assert not access.allows(f"Bearer {made}", "predict")


@pytest.mark.parametrize("weak", ["", "admin", "password", "fifteen-letters"])
def test_a_weak_token_is_refused(tmp_path, weak):
    with pytest.raises(SettingError, match=f"has {len(weak)} characters, and a token needs"):
        Access(tmp_path, token=weak)


@pytest.mark.parametrize(
    "header",
    [
        "localhost",
        "localhost:8080",
        "LocalHost:1",
        "127.0.0.1:8080",
        "[::1]:8080",
        "[::1]",
        "localhost.",
    ],
)
def test_a_host_header_that_names_this_machine_is_allowed(header):
    assert host_allowed(header)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        ":8080",
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "localhost@evil.example",
        "evil.example#localhost",
        "localhost:80:evil.example",
        "localhost:",
        "localhost:8080 ",
        "127.0.0.1.evil.example:80",
        "127.1",
        "0.0.0.0",
        "[::1",
        "[::1]x",
        "[localhost",
    ],
)
def test_any_other_host_header_is_refused(header):
    assert not host_allowed(header)


def test_a_name_can_be_allowed_besides():
    assert host_allowed("Scores.Example.test:443", ["scores.example.test"])
    assert not host_allowed("localhost", ["scores.example.test"])


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("example.test", False),
        ("", False),
    ],
)
def test_only_addresses_of_this_machine_are_loopback(address, expected):
    assert is_loopback(address) is expected
