"""Traffic at half capacity while versions change and workers are killed; nothing may be lost.

Every period sees a canary, a promotion, a rollback and a worker killed by SIGKILL. Several workers
answer on one address, and a replica with a home of its own follows the same store, which is a real
S3 server or a folder. The log is durable; a watcher folds it meanwhile. Afterwards every request is
judged by what the callers wrote down: it was answered, by the version that the release names for
its key, with that version's values; and its prediction is in the folded table exactly once.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from bench.callers import COLUMNS
from bench.ended import ended, say
from bench.load import BenchError, Server, ask, free_port
from bench.peers import INFER, PROJECT, environment, loopline, make_project, tensors
from bench.s3 import s3
from bench.verdict import SWITCH_SECONDS, Act, Kill, Verdict, counted, judge

_REPLICA_RATE = 50.0
_KEY = "flight_id"
_ACTS = ("canary", "promotion", "rollback", "kill")
_CANARY = 0.25


@dataclass
class Found:
    """Everything that one soak found."""

    minutes: float
    rate: float
    capacity: float
    acts: int
    kills: int
    servers: dict[str, Verdict] = field(default_factory=dict)
    acknowledged: int = 0
    folded: int = 0
    missing: int = 0
    repeated: int = 0
    resident_mib: list[float] = field(default_factory=list)
    load: tuple[float, ...] = ()
    """The machine's load averages, once a period and at the end."""
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """What should not have happened, in words."""
        said = []
        for name, one in self.servers.items():
            said += [f"{name}: {n} requests ended as {what}" for what, n in one.failed.items()]
            if one.misrouted:
                said.append(f"{name}: {one.misrouted} requests were answered by another version")
            late = [seconds for seconds in one.switch_seconds if seconds > SWITCH_SECONDS]
            if late:
                said.append(f"{name}: {len(late)} releases took up to {max(late):.2f} s")
        if self.missing:
            said.append(f"{self.missing} acknowledged predictions are not in the folded log")
        if self.repeated:
            said.append(f"{self.repeated} acknowledged predictions are there more than once")
        return said


def kill_worker(server: int, turn: int) -> Kill:
    """Kill one of a server's workers; return whose connections it had just then.

    It is stopped first, so that it takes no more meanwhile.

    Raises:
        BenchError: it has no workers.
    """
    children = sorted(
        int(child)
        for task in Path(f"/proc/{server}/task").iterdir()
        for child in (task / "children").read_text().split()
    )
    if not children:
        raise BenchError(f"Process {server} has no workers to kill.")
    process = children[turn % len(children)]
    os.kill(process, signal.SIGSTOP)
    ports = _callers_of(process)
    os.kill(process, signal.SIGKILL)
    return Kill(time.monotonic_ns() // 1000, process, ports)


def _callers_of(process: int) -> frozenset[int]:
    """Return the remote ports of the connections that a process holds."""
    inodes = set()
    for link in Path(f"/proc/{process}/fd").iterdir():
        target = str(link.readlink())
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    rows = Path(f"/proc/{process}/net/tcp").read_text().splitlines()[1:]
    fields = [row.split() for row in rows]
    remote = {int(row[2].rpartition(":")[2], 16) for row in fields if row[9] in inodes}
    return frozenset(remote - {0})  # what listens has none


class _Releases:
    """Promotes and rolls back as a person would, and notes when the documents were written."""

    def __init__(self, root: Path, environ: Mapping[str, str]) -> None:
        from loopline.project import Project
        from loopline.registry.versions import Registry
        from loopline.settings import Settings
        from loopline.store.objects import Objects

        moments: list[tuple[int, int]] = []

        class Timed(Objects):
            def create(self, key: str, data: bytes) -> None:
                began = time.monotonic_ns() // 1000
                super().create(key, data)
                if key.startswith("releases/"):
                    moments.append((began, time.monotonic_ns() // 1000))

        settings = Settings.read(root, environ)
        self.project = Project(root, settings)
        objects = Timed(settings.store_url)
        self._registry = Registry(self.project.ledger, objects, self.project.keys)
        self._moments = moments

    def act(self, kind: str) -> Act:
        """Do one of `canary`, `promotion` and `rollback`."""
        from loopline.registry import promotion
        from loopline.registry.release import WHOLE, Part

        by, now = "soak", datetime.now(UTC)
        before = len(self._moments)
        if kind == "rollback":
            released = promotion.rollback(self._registry, "dev", by=by, why="soak", now=now)
        else:
            released = promotion.promote(
                self._registry, 2, "dev", by=by, why="soak", now=now,
                contract=self.project.contract,
                part=Part(share=_CANARY) if kind == "canary" else WHOLE,
            )  # fmt: skip
        if len(self._moments) != before + 1:
            raise BenchError(f"The {kind} wrote {len(self._moments) - before} releases.")
        shares = tuple((one.version, one.share) for one in released.serves if one.share)
        return Act(kind, *self._moments[-1], shares)


def prepare(folder: Path, trained_on: int) -> tuple[Path, list[Mapping[str, Any]]]:
    """Make a project with two versions of one model; return its folder and rows to ask for."""
    rows = make_project(folder, trained_on)
    model = folder / "model.py"
    text = model.read_text()
    fewer = text.replace("max_iter=200", "max_iter=120")
    if fewer == text:
        raise BenchError("The second version would be the first again.")
    model.write_text(fewer)
    subprocess.run(
        loopline("run"), cwd=folder, env=environment(), stdout=sys.stderr, check=True, timeout=1800
    )
    return folder, rows


def move_store(root: Path, environ: Mapping[str, str]) -> None:
    """Copy a project's store, with its paths unchanged, to where `environ` says."""
    from loopline.store.objects import Objects

    there = Objects(environ["LOOPLINE_STORE"])
    here = root / ".loopline" / "store"
    for path in sorted(here.rglob("*")):
        if path.is_file():
            there.put(path.relative_to(here).as_posix(), path.read_bytes())


@contextmanager
def _set(environ: Mapping[str, str]) -> Iterator[None]:
    """Have this process find `environ` in its environment too."""
    before = dict(os.environ)
    os.environ.update(environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Soak:
    """One run: servers, callers, acts, kills, and the judgement."""

    def __init__(
        self,
        root: Path,
        rows: Sequence[Mapping[str, Any]],
        options: argparse.Namespace,
        environ: Mapping[str, str],
        stack: ExitStack,
    ) -> None:
        """`environ` says where the store is, if not in the home."""
        self._root = root
        self._scratch = root.parent
        self._options = options
        self._environ = {**environment(), **environ}
        self._stack = stack
        self._keys = [str(row[_KEY]) for row in rows]
        self._bodies = [tensors([row]) for row in rows]
        self._releases = _Releases(root, self._environ)
        self._acts: list[Act] = []
        self._kills: list[Kill] = []
        self._home = self._scratch / "replica"
        trusted = root / ".loopline" / "keys" / "trusted"
        shutil.copytree(trusted, self._home / "keys" / "trusted")

    def run(self) -> Found:
        """Serve, disturb, stop, fold and judge."""
        options = self._options
        workers, port = self._serve("workers", self._environ, options.workers)
        away = {
            **self._environ,
            "LOOPLINE_HOME": str(self._home),
            "LOOPLINE_STORE": self._releases.project.settings.store_url,
            "LOOPLINE_DATABASE": self._releases.project.settings.database_url,
        }
        replica, replica_port = self._serve("replica", away, 1)
        plan = self._plan([port, replica_port])
        capacity = self._call("capacity", port, plan, rate=0.0, seconds=options.calibrate)()
        rate = options.rate or capacity["asked"] / capacity["seconds"] / 2
        say(f"Capacity {rate * 2:,.0f}/s with these callers; {rate:,.0f}/s from now on.")
        found = Found(options.minutes, rate, rate * 2, 0, 0)
        watcher = self._watch(self._environ, "--every", f"{max(2, options.period // 2):.0f}s")
        seconds = options.minutes * 60
        waits = [
            self._call("workers", port, plan, rate=rate, seconds=seconds),
            self._call("replica", replica_port, plan, rate=_REPLICA_RATE, seconds=seconds),
        ]
        self._disturb(workers, seconds, found)
        for wait in waits:
            wait()
        workers.stop()
        replica.stop()
        watcher.send_signal(signal.SIGTERM)
        watcher.wait(300)
        self._fold(away)
        self._judge(found)
        return found

    def _serve(self, name: str, environ: Mapping[str, str], workers: int) -> tuple[Server, int]:
        port = free_port()
        command = loopline(
            "serve", "--port", str(port), "--log", "durable", "--workers", str(workers)
        )
        log = self._scratch / f"{name}.log"
        server = Server(command, folder=self._root, environment=environ, log=log)
        self._stack.callback(server.stop)
        server.first_answer(port, INFER, self._bodies[0])
        return server, port

    def _plan(self, ports: Sequence[int]) -> str:
        """Have each version answer each body once; return what the callers are to ask and get."""
        expected = {}
        for version in (2, 1):
            if version == 1:
                self._acts.append(self._releases.act("rollback"))
            for port in ports:
                self._until_answered_by(version, port)
            answers = ask(ports[0], INFER, self._bodies)
            expected[str(version)] = [
                answer.partition(b'"outputs":')[2].decode() for answer in answers
            ]
        bodies = [body.decode() for body in self._bodies]
        return json.dumps({"path": INFER, "bodies": bodies, "expected": expected})

    def _until_answered_by(self, version: int, port: int) -> None:
        wanted = f'"model_version":"{version}"'.encode()
        until = time.monotonic() + 20
        # Each answer comes over a new connection, and so from any of the workers.
        while not all(wanted in ask(port, INFER, self._bodies[:1])[0] for _ in range(12)):
            if time.monotonic() > until:
                raise BenchError(f"Version {version} does not answer within 20 s.")

    def _call(
        self, name: str, port: int, plan: str, *, rate: float, seconds: float
    ) -> Callable[[], dict[str, float]]:
        """Start callers; return what waits for their end, and how it went."""
        out = self._scratch / f"{name}.csv"
        clients = self._options.clients if name != "replica" else 4
        process = subprocess.Popen(
            [
                sys.executable, "-m", "bench.callers", "--port", str(port), "--rate", str(rate),
                "--seconds", str(seconds), "--clients", str(clients), "--out", str(out),
            ],
            cwd=Path(__file__).resolve().parents[1],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        self._stack.callback(_ended, process)
        assert process.stdin is not None
        process.stdin.write(plan)
        process.stdin.close()

        def wait() -> dict[str, float]:
            assert process.stdout is not None
            said: dict[str, float] = json.loads(process.stdout.read() or "{}")
            if process.wait(60):
                raise BenchError(f"The callers of {name} failed; their message is above.")
            return said

        return wait

    def _disturb(self, workers: Server, seconds: float, found: Found) -> None:
        """Each period: canary, promotion, rollback, and a worker killed."""
        start, period = time.monotonic(), self._options.period
        for number in range(int(seconds / period)):
            for place, kind in enumerate(_ACTS):
                due = start + (number + (place + 0.5) / len(_ACTS)) * period
                time.sleep(max(0.0, due - time.monotonic()))
                if kind == "kill":
                    found.resident_mib.append(round(workers.usage().resident_mib, 1))
                    self._kills.append(kill_worker(workers.process, number))
                    found.kills += 1
                else:
                    self._acts.append(self._releases.act(kind))
                    found.acts += 1
            found.load = (*found.load, os.getloadavg()[0])
            resident, load = found.resident_mib[-1], found.load[-1]
            say(f"  period {number + 1}: {resident} MiB, load {load:.1f}")

    def _watch(self, environ: Mapping[str, str], *options: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            loopline("watch", "--json", *options),
            cwd=self._root,
            env=dict(environ),
            stdout=subprocess.PIPE if "--once" in options else subprocess.DEVNULL,
            text=True,
        )
        self._stack.callback(_ended, process)
        return process

    def _fold(self, away: Mapping[str, str]) -> None:
        """Fold what is left, here and of the replica's home, until nothing is."""
        for environ in (self._environ, away):
            for _ in range(20):
                said, _ = self._watch(environ, "--once").communicate(timeout=600)
                seen = json.loads(said)["folded"]
                if seen["held"]:
                    raise BenchError(f"The log cannot be folded: {seen['held']}")
                if seen["is_alone"] and not seen["predictions"]:
                    break
            else:
                raise BenchError("The fold does not come to an end.")

    def _judge(self, found: Found) -> None:
        import polars as pl

        from loopline.monitoring.fold import table

        found.events = [asdict(event) for event in self._acts]
        found.events += [asdict(kill) | {"ports": sorted(kill.ports)} for kill in self._kills]
        acknowledged = []
        for name in ("workers", "replica"):
            asked = pl.read_csv(
                self._scratch / f"{name}.csv",
                schema=dict.fromkeys(COLUMNS, pl.String) | dict.fromkeys(COLUMNS[:4], pl.Int64),
            )
            kills = self._kills if name == "workers" else []
            found.servers[name] = judge(asked, self._acts, kills, self._keys)
            acknowledged.append(asked.filter(pl.col("outcome") == "200")["prediction"])
        every = pl.concat(acknowledged)
        scan = self._releases.project.tables.scan(table(PROJECT))
        folded = scan.select("prediction_id").collect()
        found.acknowledged, found.folded = len(every), len(folded)
        found.missing, found.repeated = counted(every, folded)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return 0 when nothing was lost, misrouted or late."""
    return ended(partial(_measured, _options(arguments)))


def _measured(options: argparse.Namespace) -> int:
    found = soak(options)
    if options.json:
        print(json.dumps(asdict(found) | {"faults": found.faults}, indent=1))
    else:
        _print(found)
    return int(bool(found.faults))


def soak(options: argparse.Namespace) -> Found:
    """Prepare, run and judge.

    Raises:
        BenchError: it could not be carried out; a fault that it found is no error.
    """
    with tempfile.TemporaryDirectory(prefix="loopline-soak-") as made, ExitStack() as stack:
        folder = Path(options.keep or made)
        root, rows = prepare(folder / PROJECT, options.trained_on)
        environ: dict[str, str] = {}
        if options.store == "s3":
            environ = stack.enter_context(s3(folder / "s3"))
            stack.enter_context(_set(environ))  # the store's client reads it
            move_store(root, environ)
        return Soak(root, rows, options, environ, stack).run()


def _ended(process: "subprocess.Popen[str]") -> None:
    """End a process that may have ended, and let go of what it wrote to."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _print(found: Found) -> None:
    print(
        f"{found.minutes:g} minutes at {found.rate:,.0f} requests a second, half of what was "
        f"answered at most; {found.acts} releases and {found.kills} workers killed; load average "
        f"{min(found.load):.1f} to {max(found.load):.1f}."
    )
    for name, one in found.servers.items():
        slowest = max(one.switch_seconds, default=0.0)
        print(
            f"{name}: {one.asked:,} asked, {one.answered:,} answered, {one.in_flight} cut off in "
            f"flight on a killed worker, {sum(one.failed.values())} failed otherwise, "
            f"{one.misrouted} misrouted; the slowest switch {slowest:.2f} s; at least "
            f"{one.processes} processes answered between two releases; p50 {one.p50_ms:.2f}, p99 "
            f"{one.p99_ms:.1f}, longest {one.longest_ms:.0f} ms."
        )
    print(
        f"{found.acknowledged:,} acknowledged predictions: {found.missing} missing from the folded "
        f"log's {found.folded:,}, {found.repeated} there more than once."
    )
    if found.resident_mib:
        first, last = found.resident_mib[0], found.resident_mib[-1]
        print(
            f"Resident, all processes: {first:.0f} MiB before the first kill, {last:.0f} before "
            "the last."
        )
    for fault in found.faults:
        print(f"FAULT   {fault}")
    if not found.faults:
        print("Nothing was lost, misrouted or late.")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--period", type=float, default=60.0, help="seconds between two kills")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rate", type=float, default=0.0, help="default half of what is measured")
    parser.add_argument("--calibrate", type=float, default=5.0, help="seconds to measure that")
    parser.add_argument("--trained-on", type=int, default=20_000)
    parser.add_argument("--store", choices=["s3", "folder"], default="s3")
    parser.add_argument("--keep", type=Path, help="an empty folder to work in, and to leave")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
