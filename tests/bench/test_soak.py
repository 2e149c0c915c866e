"""What judges a soak is itself judged, by requests whose verdict is worked out by hand."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import polars as pl
import pytest
from bench.callers import COLUMNS
from bench.load import BenchError
from bench.soak import Found, kill_worker
from bench.verdict import Act, Kill, counted, judge

SECOND = 1_000_000
OLD = Act("rollback", 0, 10, ((1, 1.0),))
NEW = Act("promotion", 5 * SECOND, 5 * SECOND + 10_000, ((2, 1.0),))
CANARY = Act("canary", 5 * SECOND, 5 * SECOND + 10_000, ((1, 0.75), (2, 0.25)))
WORKER, OTHER = "0" * 16 + "aaaaaaaa", "0" * 16 + "bbbbbbbb"


def asked(*rows: tuple[float, int, str, str]) -> pl.DataFrame:
    """Requests, each 1 ms: seconds when sent, place of the key, version, outcome."""
    return pl.DataFrame(
        [
            (round(at * SECOND), 1000, 40_000 + number, place, version, outcome, WORKER)
            for number, (at, place, version, outcome) in enumerate(rows)
        ],
        schema=dict.fromkeys(COLUMNS[:4], pl.Int64) | dict.fromkeys(COLUMNS[4:], pl.String),
        orient="row",
    )


def test_a_key_belongs_to_the_version_in_whose_share_its_checksum_falls():
    # CRC-32 of "a" is 0xE8B7BE43, 0.91 of the whole; of "b" it is 0x71BEEFF9, 0.44.
    assert (CANARY.version("a"), CANARY.version("b")) == (2, 1)
    assert NEW.version("a") == 2


def test_an_old_answer_is_right_for_a_second_and_misrouted_after_it():
    found = judge(
        asked((1, 0, "1", "200"), (5.5, 0, "1", "200"), (5.6, 0, "2", "200"), (7, 0, "2", "200")),
        [OLD, NEW], [], ["a"],
    )  # fmt: skip
    late = judge(asked((1, 0, "1", "200"), (6.5, 0, "1", "200")), [OLD, NEW], [], ["a"])
    early = judge(asked((4, 0, "2", "200"), (7, 0, "2", "200")), [OLD, NEW], [], ["a"])

    assert (found.misrouted, found.failed, found.answered) == (0, {}, 4)
    assert found.switch_seconds == pytest.approx([0.49])
    assert (late.misrouted, late.switch_seconds) == (1, pytest.approx((1.49,)))
    assert early.misrouted == 1


def test_an_answer_by_what_is_just_being_released_is_neither_wrong_nor_old():
    slow = Act("promotion", 5 * SECOND, 6 * SECOND, ((2, 1.0),))

    found = judge(asked((1, 0, "1", "200"), (5.5, 0, "2", "200")), [OLD, OLD, slow], [], ["a"])

    assert found.misrouted == 0
    assert found.switch_seconds == (0.0, 0.0)


def test_a_canary_answers_its_own_keys_alone():
    right = asked((7, 0, "2", "200"), (7, 1, "1", "200"))
    wrong = asked((7, 0, "1", "200"), (7, 1, "2", "200"))

    assert judge(right, [OLD, CANARY], [], ["a", "b"]).misrouted == 0
    assert judge(wrong, [OLD, CANARY], [], ["a", "b"]).misrouted == 2


def test_only_what_a_killed_worker_held_may_be_cut_off():
    kill = Kill(9 * SECOND, 77, frozenset({40_000, 40_001}))
    lost = asked((9, 0, "", "lost"), (20, 0, "", "lost"), (9, 0, "", "lost"), (9, 0, "", "503"))

    found = judge(lost, [OLD], [kill], ["a"])

    # The first was at the killed worker; the second long after it, the third elsewhere.
    assert found.in_flight == 1
    assert found.failed == {"lost": 2, "503": 1}


def test_other_values_than_before_are_a_failure_and_workers_are_told_apart():
    rows = asked((7, 0, "2", "200"), (7.1, 0, "2", "200"), (7.2, 0, "2", "wrong"))
    two = rows.with_columns(prediction=pl.Series([WORKER, OTHER, OTHER]))

    found = judge(two, [OLD, NEW], [], ["a"])

    assert found.failed == {"wrong": 1}
    assert found.processes == 2


def test_predictions_are_looked_for_in_the_folded_log():
    folded = pl.DataFrame({"prediction_id": ["a", "b", "b", "unacknowledged"]})

    assert counted(pl.Series(["a", "b", "c"]), folded) == (1, 1)


def test_a_fault_is_said_in_words():
    good = judge(asked((7, 0, "2", "200")), [OLD, NEW], [], ["a"])
    bad = judge(asked((8, 0, "1", "200"), (9, 0, "", "timeout")), [OLD, NEW], [], ["a"])

    assert Found(1, 1, 2, 1, 0, {"workers": good}).faults == []
    assert Found(1, 1, 2, 1, 0, {"workers": bad}, missing=2, repeated=3).faults == [
        "workers: 1 requests ended as timeout",
        "workers: 1 requests were answered by another version",
        "workers: 1 releases took up to 2.99 s",
        "2 acknowledged predictions are not in the folded log",
        "3 acknowledged predictions are there more than once",
    ]


_PARENT = """
import os, socket, sys, time
listener = socket.create_server(("127.0.0.1", 0))
child = os.fork()
if child == 0:
    kept = listener.accept()
    print(listener.getsockname()[1], "held", flush=True)
    time.sleep(60)
print(listener.getsockname()[1], child, flush=True)
os.waitpid(child, 0)
"""


@pytest.fixture
def parent() -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def test_a_killed_worker_is_one_of_the_servers_and_its_connections_are_known(parent):
    assert parent.stdout is not None
    port, child = map(int, parent.stdout.readline().split())

    with closing(socket.create_connection(("127.0.0.1", port))) as held:
        parent.stdout.readline()  # the child has it
        kill = kill_worker(parent.pid, 5)
        local = held.getsockname()[1]

    assert (kill.process, kill.ports) == (child, frozenset({local}))
    assert parent.wait(10) == 0  # the parent saw it end
    with pytest.raises(ProcessLookupError):
        os.kill(child, signal.SIGCONT)


def test_a_server_without_workers_is_said_to_have_none():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        with pytest.raises(BenchError, match="has no workers"):
            kill_worker(process.pid, 0)
        process.kill()
