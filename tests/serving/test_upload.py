"""Sealed segments go to the store once, whatever dies on the way, and never hold anybody up."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loopline.errors import StoreError
from loopline.serving import upload
from loopline.serving.log import HEADER, SEALED, LogWriter, final, frame, is_damaged, read_frames
from loopline.serving.upload import Uploader
from loopline.store.objects import Objects

SEGMENT = HEADER + frame(["e", 1, "kind", 400, 2, 3]) + frame(SEALED)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "home" / "log" / "churn" / "dev"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def store(tmp_path: Path) -> Objects:
    """A store outside the home."""
    return Objects(str(tmp_path / "elsewhere"))


def test_a_sealed_segment_is_moved_under_its_own_name(folder, store):
    (folder / "1-7-ab.log").write_bytes(SEGMENT)
    (folder / "notes.log").write_bytes(b"not ours")
    uploader = Uploader(folder, store)

    assert uploader.once() == 1

    assert store.get("log/churn/dev/1-7-ab.log") == SEGMENT
    assert [path.name for path in folder.iterdir()] == ["notes.log"]
    assert uploader.once() == 0


def test_what_is_being_written_stays_and_what_a_dead_writer_left_goes(folder, store):
    writer = LogWriter(folder, "durable")
    writer.append(["e", 1, "kind", 400, 2, 3])
    while not writer.frames:
        pass
    [open_one] = folder.glob("*.log")
    torn = SEGMENT[:-20]
    (folder / "1-7-ab.log").write_bytes(torn)
    uploader = Uploader(folder, store)

    assert uploader.once() == 1
    assert store.list("log") == ["log/churn/dev/1-7-ab.log"]
    assert open_one.exists()
    writer.close()
    assert uploader.once() == 1

    content = store.get(f"log/churn/dev/{open_one.name}")
    assert [payload[0] for payload, _ in read_frames(content)] == ["e", "s"]
    assert list(folder.iterdir()) == []


def test_nothing_leaves_a_home_whose_store_lies_in_it(folder, tmp_path):
    (folder / "1-7-ab.log").write_bytes(SEGMENT)
    uploader = Uploader(folder, Objects(str(tmp_path / "home" / "store")))

    uploader.start()

    assert (uploader.once(), uploader._thread) == (0, None)
    assert (folder / "1-7-ab.log").exists()
    assert not (tmp_path / "home" / "store").exists()


def test_an_empty_segment_is_removed_and_a_store_that_is_away_loses_nothing(
    folder, store, monkeypatch
):
    (folder / "1-7-ab.log").write_bytes(SEGMENT)
    (folder / "0-7-ab.log").write_bytes(HEADER)
    uploader = Uploader(folder, store)

    def away(*_):
        raise StoreError("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(store, "put", away)
        assert uploader.once() == 0
        assert uploader.failure == "the store is away"
        assert (folder / "1-7-ab.log").exists()
    assert uploader.once() == 1

    assert uploader.failure is None
    assert store.list("log") == ["log/churn/dev/1-7-ab.log"]


def test_another_process_that_uploads_the_same_is_let_be(folder, store):
    path = folder / "1-7-ab.log"
    path.write_bytes(SEGMENT)

    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert Uploader(folder, store).once() == 0


def test_without_locks_only_a_seal_says_that_a_segment_grows_no_more(folder, monkeypatch):
    def unknown(*_):
        raise OSError(95, "Operation not supported")

    sealed, torn = folder / "1-7-ab.log", folder / "2-7-ab.log"
    sealed.write_bytes(SEGMENT)
    torn.write_bytes(SEGMENT[:-1])
    monkeypatch.setattr("loopline.serving.log.fcntl.flock", unknown)

    with final(sealed) as first, final(torn) as second:
        assert (first, second) == (True, False)


def test_a_spoilt_segment_is_told_from_a_torn_one():
    spoilt = HEADER + b"\x00" * 30 + SEGMENT[len(HEADER) :]

    assert is_damaged(spoilt, len(HEADER))
    assert is_damaged(b"LOOPLOG9" + SEGMENT[8:], 0)
    assert not is_damaged(SEGMENT[:-20], len(HEADER))
    assert not is_damaged(SEGMENT, len(SEGMENT))


_KILLED = """
import os, sys
from pathlib import Path
from loopline.serving.upload import Uploader
from loopline.store.objects import Objects

objects = Objects(sys.argv[2])
put = objects.put

def killed(*arguments):
    put(*arguments)
    os.kill(os.getpid(), 9)

objects.put = killed
Uploader(Path(sys.argv[1]), objects).once()
"""


def test_killed_between_upload_and_removal_it_is_moved_once_more_to_the_same_place(folder, s3):
    path = folder / "1-7-ab.log"
    path.write_bytes(SEGMENT)
    objects = Objects(s3)

    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(folder), s3], check=False, env=dict(os.environ)
    )
    there = (path.exists(), objects.list("log"))
    again = Uploader(folder, objects).once()

    assert killed.returncode == -9
    assert there == (True, ["log/churn/dev/1-7-ab.log"])
    assert (again, path.exists()) == (1, False)
    assert objects.get("log/churn/dev/1-7-ab.log") == SEGMENT


def test_the_thread_uploads_and_its_end_takes_the_last_segment(folder, store, monkeypatch):
    monkeypatch.setattr(upload, "EVERY_SECONDS", 0.01)
    uploader = Uploader(folder, store)
    uploader.start()
    (folder / "1-7-ab.log").write_bytes(SEGMENT)
    while not uploader.uploaded:
        pass
    monkeypatch.setattr(upload, "EVERY_SECONDS", 60)
    (folder / "2-7-ab.log").write_bytes(SEGMENT)
    uploader.close()

    assert len(store.list("log")) == 2
