"""Bytes by key: whole or not at all, one winner, and no way out of the store."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loopline.errors import AlreadyExistsError, StoreError
from loopline.store.objects import Objects


def test_what_is_put_is_got_back_and_replaced(objects):
    objects.put("bundles/churn/1/plan.bin", b"old")
    objects.put("bundles/churn/1/plan.bin", b"\x00new\xff")

    assert objects.get("bundles/churn/1/plan.bin") == b"\x00new\xff"


def test_an_absent_key_is_none_or_an_error_that_names_it(objects):
    assert objects.find("releases/churn/dev/1.json") is None
    with pytest.raises(StoreError, match=r"nothing under releases/churn/dev/1\.json in file://"):
        objects.get("releases/churn/dev/1.json")


def test_create_leaves_what_is_there(objects):
    objects.create("releases/churn/dev/1.json", b"first")

    with pytest.raises(AlreadyExistsError, match="left as it is"):
        objects.create("releases/churn/dev/1.json", b"second")

    assert objects.get("releases/churn/dev/1.json") == b"first"


def test_list_gives_the_keys_below_a_folder_in_order(objects):
    for key in ("a/2", "a/10", "a/b/c", "ab/1"):
        objects.put(key, b"")

    assert objects.list("a") == ["a/10", "a/2", "a/b/c"]
    assert objects.list("a/") == objects.list("a")
    assert objects.list() == ["a/10", "a/2", "a/b/c", "ab/1"]
    assert objects.list("nothing/here") == []


def test_a_store_that_nothing_was_written_to_is_empty_and_not_made(tmp_path):
    objects = Objects((tmp_path / "new").as_uri())

    assert objects.list() == []
    assert not (tmp_path / "new").exists()


def test_delete_removes_and_does_not_mind_absence(objects):
    objects.put("a/b", b"1")

    objects.delete("a/b")
    objects.delete("a/b")

    assert objects.find("a/b") is None


def test_a_folder_with_a_space_and_a_percent_sign_is_decoded_once(tmp_path):
    folder = tmp_path / "my 100%25 store"
    objects = Objects(folder.as_uri())

    objects.put("a", b"1")

    assert (folder / "a").read_bytes() == b"1"
    assert objects.uri("a") == str(folder / "a")


def test_of_two_processes_that_create_the_same_keys_each_key_has_one_winner(tmp_path):
    script = """
import sys
from loopline.errors import AlreadyExistsError
from loopline.store.objects import Objects
objects, won = Objects(sys.argv[1]), 0
for number in range(1, 101):
    try:
        objects.create(f"releases/churn/dev/{number}.json", sys.argv[2].encode())
        won += 1
    except AlreadyExistsError:
        pass
print(won)
"""
    url = (tmp_path / "store").as_uri()
    writers = [
        subprocess.Popen([sys.executable, "-c", script, url, who], stdout=subprocess.PIPE)
        for who in ("ada", "bob")
    ]
    won = [int(writer.communicate(timeout=60)[0]) for writer in writers]

    objects = Objects(url)
    winners = [objects.get(key) for key in objects.list()]
    assert len(winners) == 100
    assert [winners.count(b"ada"), winners.count(b"bob")] == won


def test_kill_minus_9_leaves_the_old_or_the_new_content_and_nothing_else_in_sight(tmp_path):
    script = """
import sys
from loopline.store.objects import Objects
objects = Objects(sys.argv[1])
turn = 0
while True:
    objects.put("bundles/plan.bin", bytes([turn % 250]) * 4_000_000)
    turn += 1
    print(turn, flush=True)
"""
    url = (tmp_path / "store").as_uri()
    objects = Objects(url)
    for wait in (0.0, 0.003, 0.006, 0.011):
        writer = subprocess.Popen([sys.executable, "-c", script, url], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(wait)
        writer.send_signal(signal.SIGKILL)
        writer.communicate(timeout=10)

        content = objects.get("bundles/plan.bin")
        assert len(content) == 4_000_000
        assert len(set(content)) == 1
        assert objects.list() == ["bundles/plan.bin"]


class TestPathsFilesArchives:
    """THREATS.md, first table: a client's string must not become a path or a scheme."""

    @pytest.mark.parametrize(
        "key",
        [
            # CVE-2023-1177 and its family: absolute, parent, drive letters, Windows separators
            "../secret",
            "a/../../secret",
            "a/..",
            ".",
            "a/./b",
            "/etc/passwd",
            "..\\secret",
            "a\\b",
            "C:/windows/win.ini",
            "file://./etc/passwd",
            "//proc/self/environ",
            "a//b",
            "a/",
            "",
            # CVE-2024-1560: encoded once, twice
            "%2e%2e/secret",
            "%252e%252e%252fsecret",
            "a/..%2fsecret",
            # CVE-2024-1593, 1483, 2928: parameters, fragments, queries
            "a;/../b",
            "a#/../b",
            "a?x=../b",
            # CVE-2024-8859: schemes
            "s3:etc/passwd",
            "~root/.ssh/id_rsa",
            # CVE-2026-44345: control characters; look-alikes of dots and slashes
            "a\nb",
            "a\x00b",
            "releases/churn\n",
            "a/\uff0e\uff0e/b",
            "a\u2215b",
            "x" * 201,
        ],
    )
    def test_a_clients_path_is_refused_at_every_door_and_nothing_changes(self, tmp_path, key):
        (tmp_path / "secret").write_bytes(b"secret")
        objects = Objects((tmp_path / "store").as_uri())
        objects.put("a/b", b"1")
        before = sorted(tmp_path.rglob("*"))

        doors = [
            lambda: objects.get(key),
            lambda: objects.find(key),
            lambda: objects.put(key, b"x"),
            lambda: objects.create(key, b"x"),
            lambda: objects.delete(key),
            lambda: objects.uri(key),
        ]
        for door in doors:
            with pytest.raises(StoreError, match="is not a key"):
                door()
        if key not in ("", "a/"):  # as a prefix these mean the whole and the folder a
            with pytest.raises(StoreError, match="is not a key"):
                objects.list(key)

        assert sorted(tmp_path.rglob("*")) == before
        assert (tmp_path / "secret").read_bytes() == b"secret"

    @pytest.mark.parametrize(
        "url",
        [
            "http://example.test/store",
            "ftp://example.test/store",
            "file://./etc",
            "file://host/etc",
            "file:///data/../etc",
            "file:///data/%2e%2e/etc",
            "file:///data?x=1",
            "file:///data#x",
            "s3://",
            "s3://bucket/../other",
            "s3://bucket/a?versionId=1",
            "/data\nx",
            "",
        ],
    )
    def test_a_store_url_with_another_scheme_or_a_way_around_is_refused(self, url):
        with pytest.raises(StoreError, match=r"is not a .*URL"):
            Objects(url)

    def test_a_temporary_file_has_a_name_that_cannot_be_guessed_or_listed(
        self, objects, monkeypatch
    ):
        drafts: list[Path] = []
        replace = Path.replace

        def spy(self: Path, target: Path) -> Path:
            drafts.append(self)
            assert objects.list() == []
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", spy)
        objects.put("a", b"1")
        objects.delete("a")
        objects.put("a", b"1")

        assert len({draft.name for draft in drafts}) == 2
