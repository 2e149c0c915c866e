"""Segments: what was acknowledged is read back, and no disk fails a prediction."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loopline.serving import log as log_module
from loopline.serving.log import HEADER, LogWriter, frame, read_frames

ROW = ["p", "id-1", None, 1, 3, False, 120, "local", 1, [[1.5], ["AA"]], [["0"], [0.25]]]


def _frames(folder: Path) -> list[list[object]]:
    return [
        payload for segment in sorted(folder.glob("*.log")) for payload, _ in read_frames(segment)
    ]


def test_frames_come_back_as_written_and_a_clean_stop_seals(tmp_path):
    writer = LogWriter(tmp_path, "async")
    writer.append(ROW)
    writer.append(["e", 2, "RequestError", 400, 9])
    writer.close()

    assert _frames(tmp_path) == [ROW, ["e", 2, "RequestError", 400, 9], ["s"]]
    assert writer.frames == 2
    assert writer.lost == 0


def test_async_frames_are_on_disk_within_the_promised_time_without_anyone_waiting(tmp_path):
    writer = LogWriter(tmp_path, "async")
    writer.append(ROW)
    deadline = time.monotonic() + 2
    while not _frames(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.002)

    assert _frames(tmp_path) == [ROW]
    writer.close()


def test_a_segment_name_says_when_it_began_and_which_process_writes_it(tmp_path):
    before = time.time_ns() // 1000
    writer = LogWriter(tmp_path, "async")
    writer.append(ROW)
    writer.close()

    [segment] = tmp_path.glob("*.log")
    start, pid, random = segment.stem.split("-")
    assert before <= int(start) <= time.time_ns() // 1000
    assert int(pid) == os.getpid()
    assert len(random) == 8


@pytest.mark.parametrize("cut", [1, 7, 9, 30])
def test_reading_stops_at_a_torn_tail_and_goes_on_from_an_offset(tmp_path, cut):
    segment = tmp_path / "1-1-a.log"
    first, second = frame(["f", 1, []]), frame(ROW)
    segment.write_bytes(HEADER + first + second[:-cut] if cut < 30 else HEADER + first + second[:3])

    assert [payload for payload, _ in read_frames(segment)] == [["f", 1, []]]
    [(_, end)] = read_frames(segment)
    segment.write_bytes(HEADER + first + second)
    assert [payload for payload, _ in read_frames(segment, end)] == [ROW]


def test_a_changed_byte_ends_the_reading_before_its_frame(tmp_path):
    segment = tmp_path / "1-1-a.log"
    first, second = frame(["f", 1, []]), bytearray(frame(ROW))
    second[-1] ^= 1
    segment.write_bytes(HEADER + first + bytes(second) + frame(ROW))

    assert [payload for payload, _ in read_frames(segment)] == [["f", 1, []]]


def test_zeros_after_a_power_cut_end_the_reading(tmp_path):
    path = tmp_path / "1-1-ab.log"
    path.write_bytes(HEADER + frame(ROW) + bytes(4096))

    assert [payload for payload, _ in read_frames(path)] == [ROW]


def test_a_file_that_is_no_segment_has_no_frames(tmp_path):
    (tmp_path / "other.log").write_bytes(b"something else entirely")

    assert list(read_frames(tmp_path / "other.log")) == []


def test_off_writes_nothing_and_makes_no_folder(tmp_path):
    writer = LogWriter(tmp_path / "log", "off")
    writer.append(ROW)
    writer.close()

    assert not (tmp_path / "log").exists()


def test_a_full_segment_is_sealed_and_the_next_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(log_module, "_SEGMENT_BYTES", 100)

    async def write() -> None:
        writer = LogWriter(tmp_path, "durable")
        for _ in range(4):
            writer.append(ROW)
            assert await writer.committed()
        writer.close()

    asyncio.run(write())
    segments = sorted(tmp_path.glob("*.log"))
    assert len(segments) > 1
    for segment in segments:
        *_, (last, _) = read_frames(segment)
        assert last == ["s"]
    assert _frames(tmp_path).count(ROW) == 4


def test_many_writers_share_one_sync_and_each_is_told(tmp_path):
    syncs = []
    real = os.fdatasync

    async def write() -> int:
        writer = LogWriter(tmp_path, "durable")

        async def one(number: int) -> bool:
            writer.append(["f", number, []])
            return await writer.committed()

        told = await asyncio.gather(*[one(number) for number in range(200)])
        writer.close()
        return sum(told)

    log_module.os.fdatasync = lambda descriptor: (syncs.append(1), real(descriptor))[1]  # type: ignore[assignment]
    try:
        assert asyncio.run(write()) == 200
    finally:
        log_module.os.fdatasync = real
    assert len(syncs) < 50
    assert [payload[1] for payload in _frames(tmp_path)[:-1]] == list(range(200))


@pytest.mark.parametrize("written_before", [0, 5])
def test_a_full_disk_costs_frames_but_no_prediction_and_leaves_no_torn_frame(
    tmp_path, monkeypatch, written_before
):
    real, full = os.write, [False]

    def write(descriptor: int, data: bytes) -> int:
        if not full[0]:
            return real(descriptor, data)
        if written_before and len(data) > written_before and full[0] is True:
            full[0] = 1  # type: ignore[call-overload]
            return real(descriptor, bytes(data[:written_before]))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(log_module.os, "write", write)

    async def story() -> LogWriter:
        writer = LogWriter(tmp_path, "durable")
        writer.append(["f", 1, []])
        assert await writer.committed()
        full[0] = True
        writer.append(["f", 2, []])
        assert not await writer.committed()
        assert "No space left" in (writer.failure or "")
        full[0] = False
        writer.append(["f", 3, []])
        assert await writer.committed()
        writer.close()
        return writer

    writer = asyncio.run(story())
    assert [payload[1] for payload in _frames(tmp_path) if payload[0] == "f"] == [1, 3]
    assert (writer.frames, writer.lost, writer.failure) == (2, 1, None)


def test_a_frame_whose_batch_has_failed_already_is_not_taken_for_written(tmp_path, monkeypatch):
    """The thread may take a frame before who appended it asks whether it is on disk."""
    real, is_full = os.write, True

    def write(descriptor: int, data: bytes) -> int:
        if is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    monkeypatch.setattr(log_module.os, "write", write)

    async def story() -> list[bool]:
        nonlocal is_full
        writer = LogWriter(tmp_path, "durable")
        writer.append(["f", 1, []])
        deadline = time.monotonic() + 5
        while writer.waiting_bytes and time.monotonic() < deadline:
            await asyncio.sleep(0.002)
        is_full = False
        told = [await writer.committed()]
        writer.append(["f", 2, []])
        told.append(await writer.committed())
        writer.close()
        return told

    assert asyncio.run(story()) == [False, True]
    assert [payload[1] for payload in _frames(tmp_path) if payload[0] == "f"] == [2]


def test_what_the_disk_said_is_still_known_after_closing(tmp_path, monkeypatch):
    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(log_module.os, "write", full)
    writer = LogWriter(tmp_path, "async")
    writer.append(ROW)
    writer.close()

    assert writer.lost == 1
    assert writer.failure == f"No space left on device ({tmp_path})"


def test_a_slow_disk_bounds_the_memory_and_counts_what_it_drops(tmp_path, monkeypatch):
    monkeypatch.setattr(log_module, "_BACKLOG_BYTES", 1000)
    monkeypatch.setattr(log_module, "_GATHER_SECONDS", 0.3)
    writer = LogWriter(tmp_path, "async")
    for _ in range(100):
        writer.append(ROW)
    writer.close()

    assert writer.lost > 50
    assert writer.lost + writer.frames == 100
    assert _frames(tmp_path).count(ROW) == writer.frames


def test_a_dropped_frame_is_said_to_whoever_appends_it(tmp_path, monkeypatch):
    monkeypatch.setattr(log_module, "_BACKLOG_BYTES", 0)
    monkeypatch.setattr(log_module, "_GATHER_SECONDS", 0.3)
    writer = LogWriter(tmp_path, "async")

    assert [writer.append(["f", number, []]) for number in (1, 2)] == [True, False]
    writer.close()

    assert [payload[1] for payload in _frames(tmp_path) if payload[0] == "f"] == [1]


def test_who_waits_for_one_sync_is_told_together_and_one_that_gives_up_ends_no_other(tmp_path):
    async def write() -> list[object]:
        writer, told = LogWriter(tmp_path, "durable"), []
        writer.append(ROW)
        waiting = [asyncio.ensure_future(writer.committed()) for _ in range(3)]
        given_up = writer.committed()
        commit = given_up.send(None)
        commit._asyncio_future_blocking = False
        commit.then.append(lambda: told.append("called"))
        given_up.close()
        await asyncio.sleep(0)
        waiting[0].cancel()
        told += await asyncio.gather(*waiting, return_exceptions=True)
        writer.close()
        return told

    called, given_up, *others = asyncio.run(write())
    assert called == "called"
    assert isinstance(given_up, asyncio.CancelledError)
    assert others == [True, True]


def test_the_log_is_sealed_even_if_who_waited_for_it_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(log_module, "_GATHER_SECONDS", 0.1)
    writer = LogWriter(tmp_path, "durable")

    async def leave() -> None:
        writer.append(ROW)
        waiting = asyncio.ensure_future(writer.committed())
        await asyncio.sleep(0)
        waiting.cancel()

    monkeypatch.setattr(log_module.os, "fdatasync", lambda _: time.sleep(0.1))
    asyncio.run(leave())
    writer.close()

    assert _frames(tmp_path) == [ROW, ["s"]]


_ACKNOWLEDGING = """
import asyncio, sys
from pathlib import Path
from loopline.serving.log import LogWriter

async def main():
    writer = LogWriter(Path(sys.argv[1]), "durable")
    number = 0
    while True:
        number += 1
        writer.append(["f", number, []])
        if await writer.committed():
            sys.stdout.write(f"{number}\\n")
            sys.stdout.flush()

asyncio.run(main())
"""


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", _ACKNOWLEDGING, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(50)]
    process.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in process.stdout.read().splitlines() if line]
    process.stdout.close()
    process.wait(10)

    on_disk = {payload[1] for payload in _frames(tmp_path)}
    assert set(acknowledged) <= on_disk
    assert ["s"] not in _frames(tmp_path)
