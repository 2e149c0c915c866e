"""Who may call a server: nobody by default, and never by guessing."""

import pytest

from loopline.errors import SettingError
from loopline.governance.access import Access, host_allowed, is_loopback


def test_no_token_is_built_in(tmp_path):
    access = Access(tmp_path)

    assert not access.exists("predict")
    for guess in (None, "", "Bearer", "Bearer ", "Bearer None", "Bearer admin", "Basic YTpi"):
        assert not access.allows(guess, "predict")


def test_a_token_opens_its_scope_and_no_other(tmp_path):
    access = Access(tmp_path)
    token = access.make("predict")

    assert access.allows(f"Bearer {token}", "predict")
    assert access.allows(f"bearer {token}", "predict")
    assert Access(tmp_path).allows(f"Bearer {token}", "predict")
    assert not access.allows(f"Bearer {token}", "metrics")
    assert not access.allows(f"Basic {token}", "predict")
    assert not access.allows(token, "predict")
    assert not access.allows(f"Bearer {token}x", "predict")
    assert not access.allows(f"Bearer {token[:-1]}", "predict")


def test_tokens_differ_and_only_a_hash_is_kept(tmp_path):
    access = Access(tmp_path)
    tokens = {
        access.make("predict"),
        access.make("metrics"),
        Access(tmp_path / "b").make("predict"),
    }

    assert len(tokens) == 3
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert not any(token.removeprefix("loopline-").encode() in kept for token in tokens)
    for path in (tmp_path / "keys" / "tokens").iterdir():
        assert path.stat().st_mode & 0o077 == 0
        assert not access.allows(f"Bearer {path.read_text()}", "predict")


def test_a_token_that_was_replaced_or_revoked_is_dead_at_once(tmp_path):
    running = Access(tmp_path)
    old = running.make("predict")
    assert running.allows(f"Bearer {old}", "predict")

    new = Access(tmp_path).make("predict")
    assert not running.allows(f"Bearer {old}", "predict")
    assert running.allows(f"Bearer {new}", "predict")

    Access(tmp_path).revoke("predict")
    assert not running.allows(f"Bearer {new}", "predict")


def test_the_setting_replaces_every_token(tmp_path):
    made = Access(tmp_path).make("predict")
    access = Access(tmp_path, token="correct horse battery staple")

    assert access.exists("metrics")
    assert access.allows("Bearer correct horse battery staple", "predict")
    assert access.allows("Bearer correct horse battery staple", "metrics")
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
