"""The fold is exactly once: whatever kills it, whoever else folds, however the log is cut."""

import fcntl
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from loopline.compute.base import Compute
from loopline.compute.spark import Spark
from loopline.compute.threads import Threads
from loopline.counts.kernel import ColumnCounts, count_arrays
from loopline.errors import UnknownVersionError
from loopline.model.signature import Input, Signature
from loopline.monitoring import fold as fold_module
from loopline.monitoring import hours
from loopline.monitoring.fold import Fold, stored_name
from loopline.monitoring.reference import Reference
from loopline.monitoring.windows import HOUR, Window
from loopline.serving.log import HEADER, SEALED, frame
from loopline.serving.upload import Uploader
from loopline.store.database import Database, counts, leases, spans
from loopline.store.objects import Objects
from loopline.store.tables import Tables

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
INPUTS = ("age", "credit_amount", "purpose", "housing", "num_dependents")
TYPES = {"age": "number", "credit_amount": "number", "purpose": "category", "housing": "category",
         "num_dependents": "number"}  # fmt: skip
START = 380_000 * HOUR  # a day in 2013


@pytest.fixture(scope="session")
def credit(german_credit_csv: Path) -> pl.DataFrame:
    frame = pl.read_csv(german_credit_csv).rename(str.strip)
    renamed = {
        "age_in_years": "age", "number_of_people_being_liable_to_provide_maintenance_for":
        "num_dependents",
    }  # fmt: skip
    frame = frame.rename({old: new for old, new in renamed.items() if old in frame.columns})
    return frame.select(
        *[pl.col(name).cast(pl.Float64) for name, kind in TYPES.items() if kind == "number"],
        *[pl.col(name).cast(pl.String) for name, kind in TYPES.items() if kind == "category"],
    ).select(INPUTS)


@pytest.fixture(scope="session")
def reference(credit: pl.DataFrame) -> Reference:
    signature = Signature(
        "credit",
        "binary",
        tuple(Input(name, TYPES[name]) for name in INPUTS),  # type: ignore[arg-type]
        (),
        ("bad", "good"),
        0.5,
    )
    columns = {
        name: np.array(credit[name].to_list(), None if TYPES[name] == "number" else object)
        for name in INPUTS
    }
    profile = count_arrays({**columns, "probability": np.linspace(0, 1, len(credit))})
    return Reference(1, signature, profile, None)


def frames(credit: pl.DataFrame, *, rows: int, batch: int = 3, version: int = 1) -> list[list[Any]]:
    """Real applicants as the server logs them, some hours apart, with an error and an outcome."""
    found: list[list[Any]] = []
    for place in range(0, rows, batch):
        part = credit[place : place + batch]
        size = len(part)
        arrival = START + place * HOUR // 7
        scores = [((place + row) * 37 % 100) / 100 for row in range(size)]
        labels = ["good" if score >= 0.5 else "bad" for score in scores]
        columns = [part[name].to_list() for name in INPUTS]
        found.append(
            ["p", f"r{place}", None, arrival, version, False, 200 + place, "me", size, columns,
             [labels, scores]]
        )  # fmt: skip
        if place % 4 == 0:
            found.append(["e", arrival, "RequestError", 400, 90, version])
            found.append(["f", arrival, [[f"r{place}-0", None, "good", None]]])
    return found


@dataclass
class Place:
    """Where one log is folded to."""

    root: Path
    reference: Reference

    def fold(
        self,
        uploaded: Objects | None = None,
        tables: Objects | None = None,
        compute: Compute | None = None,
    ) -> Fold:
        self.tables = Tables(tables or Objects((self.root / "store").as_uri()))
        self.database = Database(f"sqlite:///{self.root / 'loopline.db'}")
        return Fold(
            self.root / "log",
            "credit",
            lambda version: self.reference,
            self.tables,
            self.database,
            uploaded=uploaded,
            compute=compute,
        )

    def write(self, name: str, content: bytes, environment: str = "dev") -> Path:
        path = self.root / "log" / "credit" / environment / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def everything(self) -> tuple[list[str], dict[Any, Any], int]:
        """Prediction ids in the table, every stored count, and the outcomes."""
        ids = self.tables.read("predictions/credit")["prediction_id"].sort().to_list()
        with self.database.read() as connection:
            rows = connection.execute(select(counts)).all()
            closed = connection.execute(select(spans).where(spans.c.payload.is_not(None))).all()
        assert closed, "every day of 2013 is over"
        for span in closed:
            self._is_the_sum_of_its_hours(span, rows)
        outcomes = len(self.tables.read("labels/credit"))
        return ids, {tuple(row[:6]): row.payload for row in rows}, outcomes

    def _is_the_sum_of_its_hours(self, span: Any, rows: Sequence[Any]) -> None:
        sums: dict[tuple[str, str], hours.Counts] = {}
        for row in rows:
            same = (row.environment, row.version) == (span.environment, span.version)
            if same and span.start <= row.hour < span.start + span.hours * HOUR:
                key = (row.slice, row.column)
                sums[key] = hours.plus(sums.get(key), hours.decode(row.slice, row.payload))
        first = span.start // HOUR
        whole = Window(first, first + span.hours)
        found = hours.total(self.database, "credit", span.environment, span.version, whole)
        assert found == sums


def framed(payloads: list[list[Any]]) -> bytes:
    return HEADER + b"".join(frame(payload) for payload in payloads)


@pytest.fixture
def place(tmp_path: Path, reference: Reference) -> Place:
    (tmp_path / "home").mkdir()
    return Place(tmp_path / "home", reference)


@pytest.fixture(scope="module")
def expected(
    tmp_path_factory: pytest.TempPathFactory, credit: pl.DataFrame, reference: Reference
) -> tuple[list[str], dict[Any, Any], int]:
    """What one undisturbed fold of sixty applicants gives."""
    place = Place(tmp_path_factory.mktemp("expected"), reference)
    place.write("1-1-a", framed(frames(credit, rows=60)))
    place.fold()()
    return place.everything()


def test_a_fold_keeps_every_prediction_and_counts_it_in_its_hour(
    place: Place, credit: pl.DataFrame
) -> None:
    place.write("1-1-a", framed(frames(credit, rows=60)))

    done = place.fold()()

    assert (done.predictions, done.labels, done.errors, done.segments) == (60, 5, 5, 1)
    table = place.tables.read("predictions/credit").sort("arrival", "prediction_id")
    assert len(table) == 60
    assert sorted(table["age"].to_list()) == sorted(credit["age"][:60].to_list())
    window = Window(380_000, 380_001)
    first = hours.total(place.database, "credit", "dev", 1, window)
    assert first[hours.ROWS, ""] == {"whole": 9}  # 0, 3 and 6 sevenths of an hour, three rows each
    ages = first[hours.INPUT, "age"]
    assert isinstance(ages, ColumnCounts)
    purposes = first[hours.INPUT, "purpose"]
    assert isinstance(purposes, ColumnCounts)
    assert ages.rows == 9
    assert purposes.named == dict(sorted(credit["purpose"][:9].value_counts().iter_rows()))


def test_counts_of_hours_add_up_to_the_count_of_all_rows(
    place: Place, credit: pl.DataFrame, reference: Reference
) -> None:
    place.write("1-1-a", framed(frames(credit, rows=60)))
    place.fold()()

    found = hours.total(place.database, "credit", "dev", 1, Window(0, 10**6))

    for name in INPUTS:
        kind = None if TYPES[name] == "number" else object
        values = {name: np.array(credit[name][:60].to_list(), kind)}
        alone = count_arrays(values, reference.profile).columns[name]
        assert found[hours.INPUT, name] == alone


def test_folding_again_changes_nothing(
    place: Place, credit: pl.DataFrame, expected: tuple[Any, ...]
) -> None:
    place.write("1-1-a", framed(frames(credit, rows=60)))
    place.fold()()

    again = place.fold()()

    assert (again.predictions, again.segments) == (0, 0)
    assert place.everything() == expected


class _KilledError(BaseException):
    """Stands for kill -9: nothing catches it, nothing after it runs."""


_STEPS = ["before anything", "predictions written", "outcomes written", "counts added", "moved"]


@pytest.mark.parametrize("step", _STEPS)
@pytest.mark.parametrize("grows", [False, True])
def test_killed_at_any_step_the_next_fold_makes_it_whole(
    place: Place,
    credit: pl.DataFrame,
    expected: tuple[Any, ...],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    grows: bool,
) -> None:
    payloads = frames(credit, rows=60)
    place.write("1-1-a", framed(payloads[:20] if grows else payloads))
    fold = place.fold()
    with monkeypatch.context() as patch:
        _kill_at(step, patch, place)
        with pytest.raises(_KilledError):
            fold()
    if grows:  # the server went on writing meanwhile
        place.write("1-1-a", framed(payloads))
    later = datetime.now(UTC) + timedelta(hours=1)

    place.fold()(lambda: later)

    assert place.everything() == expected


def _kill_at(step: str, patch: pytest.MonkeyPatch, place: Place) -> None:
    write, add, move = place.tables.write, hours.add, fold_module._move
    if step == "before anything":
        patch.setattr(place.tables, "write", _dies(write, before=True))
    elif step in ("predictions written", "outcomes written"):
        patch.setattr(place.tables, "write", _dies(write, after=step.partition(" ")[0]))
    elif step == "counts added":
        patch.setattr(hours, "add", _dies(add))
    else:
        patch.setattr(fold_module, "_move", _dies(move))


def _dies(function: Any, *, before: bool = False, after: str = "") -> Callable[..., Any]:
    def dies(*arguments: Any, **named: Any) -> Any:
        if before:
            raise _KilledError
        done = function(*arguments, **named)
        if after == "outcomes" and not str(arguments[0]).startswith("labels"):
            return done
        raise _KilledError

    return dies


_PROCESS = """
import os, sys, pickle
from pathlib import Path
from loopline.monitoring.fold import Fold
from loopline.store.database import Database
from loopline.store.objects import Objects
from loopline.store.tables import Tables

root = Path(sys.argv[1])
reference = pickle.loads((root / "reference").read_bytes())
tables = Tables(Objects((root / "store").as_uri()))
write = tables.write

def killed(*arguments, **named):
    write(*arguments, **named)
    os.kill(os.getpid(), 9)

tables.write = killed
Fold(root / "log", "credit", lambda _: reference, tables, Database(f"sqlite:///{root}/loopline.db"))()
"""


def test_a_real_kill_between_table_and_counts_loses_and_doubles_nothing(
    place: Place, credit: pl.DataFrame, expected: tuple[Any, ...], reference: Reference
) -> None:
    import pickle

    place.write("1-1-a", framed(frames(credit, rows=60)))
    (place.root / "reference").write_bytes(pickle.dumps(reference))

    killed = subprocess.run([sys.executable, "-c", _PROCESS, str(place.root)], check=False)
    refused = place.fold()()
    place.fold()(lambda: datetime.now(UTC) + timedelta(hours=1))

    assert killed.returncode == -9
    assert not refused.is_alone  # its lease has not run out
    assert place.everything() == expected


def test_a_folder_that_lost_its_lease_while_it_slept_adds_nothing(
    place: Place, credit: pl.DataFrame, expected: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write("1-1-a", framed(frames(credit, rows=60)))
    sleeper = place.fold()
    other = Place(place.root, place.reference)
    add = hours.add

    def overtaken(*arguments: Any) -> None:
        raise AssertionError("the sleeper must not add")

    begin = place.database.begin

    def slow_begin() -> Any:
        # The sleeper has written its tables and wakes up after another has folded everything.
        monkeypatch.setattr(place.database, "begin", begin)
        monkeypatch.setattr(hours, "add", add)
        other.fold()(lambda: datetime.now(UTC) + timedelta(hours=1))
        monkeypatch.setattr(hours, "add", overtaken)
        return begin()

    place.database.take_lease("fold/credit", sleeper._holder, now=datetime.now(UTC), seconds=1)
    monkeypatch.setattr(place.database, "take_lease", lambda *_, **__: True)
    monkeypatch.setattr(place.database, "begin", slow_begin)
    sleeper()

    assert place.everything() == expected


def test_two_folders_at_once_give_the_same_integers(
    place: Place, credit: pl.DataFrame, expected: tuple[Any, ...]
) -> None:
    from threading import Thread

    place.write("1-1-a", framed(frames(credit, rows=60)))
    places = [Place(place.root, place.reference) for _ in range(3)]
    threads = [Thread(target=one.fold()) for one in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    place.fold()()

    assert place.everything() == expected


@st.composite
def cuts(draw: st.DrawFn) -> list[tuple[int, int]]:
    """For each frame: its segment, and at which of four folds it is there already."""
    size = 30
    segments = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    times = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    return list(zip(segments, sorted(times), strict=True))


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(cuts=cuts())
def test_any_partition_and_any_interleaving_give_the_same_integers(
    tmp_path_factory: pytest.TempPathFactory,
    credit: pl.DataFrame,
    reference: Reference,
    expected: tuple[Any, ...],
    cuts: list[tuple[int, int]],
) -> None:
    place = Place(tmp_path_factory.mktemp("cut"), reference)
    payloads = frames(credit, rows=60)
    assert len(payloads) == len(cuts)
    fold = place.fold()

    for time in range(4):
        for segment in range(4):
            there = [
                payload
                for payload, (where, since) in zip(payloads, cuts, strict=True)
                if where == segment and since <= time
            ]
            place.write(f"{segment + 1}-7-b", framed(there))
        fold()

    ids, stored, outcomes = place.everything()
    assert ids == expected[0]
    assert outcomes == expected[2]
    assert stored == expected[1]


def test_a_torn_tail_waits_until_it_is_whole(
    place: Place, credit: pl.DataFrame, expected: tuple[Any, ...]
) -> None:
    whole = framed(frames(credit, rows=60))
    place.write("1-1-a", whole[: len(whole) // 2])

    place.fold()()
    place.write("1-1-a", whole)
    place.fold()()

    assert place.everything() == expected


def test_many_small_files_become_few_and_stay_folded(
    place: Place, credit: pl.DataFrame, expected: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads = frames(credit, rows=60)
    fold = place.fold()
    compact = place.tables.compact
    monkeypatch.setattr(place.tables, "compact", lambda key: compact(key, files=4))
    for size in range(3, len(payloads) + 1, 3):
        place.write("1-1-a", framed(payloads[:size]))
        fold()

    place.fold()()

    files = list((place.root / "store" / "predictions" / "credit").glob("*.parquet"))
    assert len(place.tables.scan("predictions/credit").collect()) == 60
    assert place.everything() == expected
    assert len(files) > len(place.tables._open("predictions/credit").file_uris())


def test_predictions_of_an_unknown_version_wait_in_the_log(
    place: Place, credit: pl.DataFrame
) -> None:
    place.write("1-1-a", framed(frames(credit, rows=6, version=9)))
    place.write("2-1-b", framed(frames(credit, rows=6)))
    fold = place.fold()

    def known(version: int) -> Reference:
        if version == 9:
            raise UnknownVersionError("There is no version '9'.")
        return place.reference

    fold._reference = known
    done = fold()
    fold._reference = lambda version: place.reference
    later = fold()

    assert done.predictions == 6
    assert done.held == {"credit/dev/1-1-a.log": "There is no version '9'."}
    assert later.predictions == 6


def test_events_far_from_their_arrival_are_counted_apart(
    place: Place, credit: pl.DataFrame, reference: Reference
) -> None:
    signature = Signature(
        "credit", "binary", (*reference.signature.inputs, Input("asked", "time")), (),
        ("bad", "good"), 0.5, time="asked",
    )  # fmt: skip
    place.reference = Reference(1, signature, reference.profile, None)
    [payload] = [one for one in frames(credit, rows=3) if one[0] == "p"]
    payload[9].append([payload[3], 0, None])  # now, 1970, and unknown
    place.write("1-1-a", framed([payload]))

    done = place.fold()()

    found = hours.total(place.database, "credit", "dev", 1, Window(0, 10**6))
    ages = found[hours.INPUT, "age"]
    assert done.implausible == 1
    assert found[hours.ROWS, ""] == {"whole": 2, "apart": 1}
    assert isinstance(ages, ColumnCounts)
    assert ages.rows == 2
    assert len(place.tables.read("predictions/credit")) == 3


def test_an_input_that_changes_its_type_gets_a_column_of_its_own(
    place: Place, credit: pl.DataFrame, reference: Reference
) -> None:
    place.write("1-1-a", framed([one for one in frames(credit, rows=3) if one[0] == "p"]))
    place.fold()()
    inputs = tuple(
        Input(each.name, "category" if each.name == "age" else each.type)
        for each in reference.signature.inputs
    )
    changed = Signature("credit", "binary", inputs, (), ("bad", "good"), 0.5)
    place.reference = Reference(2, changed, count_arrays({}), None)
    [payload] = [one for one in frames(credit, rows=3, version=2) if one[0] == "p"]
    payload[1] = "later"
    payload[9][0] = ["young", "old", None]
    place.write("2-1-b", framed([payload]))

    place.fold()()

    table = place.tables.read("predictions/credit").sort("prediction_id")
    assert table["age_text"].to_list() == ["young", "old", None, None, None, None]
    assert table["age"].null_count() == 3


def test_inputs_called_like_our_own_columns_are_kept_beside_them() -> None:
    assert stored_name("label", pl.String(), pl.Schema()) == "input_label"
    assert stored_name("Score", pl.String(), pl.Schema()) == "input_Score"
    assert stored_name("age", pl.Float64(), pl.Schema({"age": pl.Float64()})) == "age"


def test_names_that_are_no_environment_or_segment_are_left_alone(
    place: Place, credit: pl.DataFrame
) -> None:
    content = framed(frames(credit, rows=3))
    place.write("1-1-a", content, environment="Not an environment")
    place.write("notes", b"these are notes", environment="dev")

    done = place.fold()()

    assert done.segments == 0


_FOLDER = """
import os, pickle, random, sys, time
from datetime import UTC, datetime
from pathlib import Path
from loopline.monitoring import fold
from loopline.store.database import Database
from loopline.store.objects import Objects
from loopline.store.tables import Tables

root, database, store, seed = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
fold.LEASE_SECONDS = 0.5
reference = pickle.loads((root / "reference").read_bytes())
objects = Objects(store)
tables = Tables(objects)
chance = random.Random(seed)

def deadly(function):
    def call(*arguments, **named):
        if chance.random() < 0.08:
            os.kill(os.getpid(), 9)
        return function(*arguments, **named)
    return call

if seed:
    tables._commit = deadly(tables._commit)
    fold.hours.add = deadly(fold.hours.add)
    fold._move = deadly(fold._move)
log, database = root / "log", Database(database)
folding = fold.Fold(log, "credit", lambda _: reference, tables, database, uploaded=objects)
print("ready", flush=True)
sys.stdin.readline()
mine = 0
while True:
    done = folding()
    mine += done.predictions
    if done.is_alone and not done.segments:
        break
    time.sleep(0.05)
print(mine)
"""


def _fold_by_four(root: Path, database: str, store: str) -> tuple[list[int], list[int]]:
    """Fold by four processes of which two are killed wherever they are; exit codes, and shares."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _FOLDER, str(root), database, store, str(seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for seed in (0, 0, 7, 11)
    ]  # fmt: skip
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.communicate(timeout=120)[0] for process in started]
    return [process.returncode for process in started], [int(text) for text in told if text]


def _month(place: Place, credit: pl.DataFrame, reference: Reference, segments: int) -> None:
    """Write sixty applicants, over and over under new ids, as segments of three replicas."""
    import pickle

    (place.root / "reference").write_bytes(pickle.dumps(reference))
    for number in range(segments):
        payloads = [
            ["p", f"s{number}{payload[1]}", *payload[2:]] if payload[0] == "p" else payload
            for payload in frames(credit, rows=60)
            if payload[0] != "f"
        ]
        outcomes = ["f", START, [[f"s{number}r0-0", None, "good", None]]]
        place.write(f"{number + 1}-{number % 3 + 1}-a", framed([*payloads, outcomes]))


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_four_processes_fold_one_month_and_two_are_killed_at_random(
    tmp_path: Path, credit: pl.DataFrame, reference: Reference, database: str, request: Any
) -> None:
    alone, shared = Place(tmp_path / "alone", reference), Place(tmp_path / "shared", reference)
    for place in (alone, shared):
        place.root.mkdir()
        _month(place, credit, reference, 24)
    alone.fold()()
    url = f"sqlite:///{shared.root / 'loopline.db'}"
    if database == "postgresql":
        url = _own_database(request.getfixturevalue("postgresql"))

    codes, folded = _fold_by_four(shared.root, url, str(shared.root / "store"))

    shared.fold()
    shared.database = Database(url)
    assert codes == [0, 0, -9, -9]
    assert min(folded) > 0
    assert sum(folded) < 24 * 60  # those that were killed had done something
    assert shared.everything() == alone.everything()
    shared.database.close()


def test_spark_folds_the_month_that_one_process_folds_also_where_it_dies_on_the_way(
    tmp_path: Path, credit: pl.DataFrame, reference: Reference, spark: Spark,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    alone, shared = Place(tmp_path / "alone", reference), Place(tmp_path / "shared", reference)
    for place in (alone, shared):
        place.root.mkdir()
        _month(place, credit, reference, 6)
    alone.fold()()
    fold = shared.fold(compute=spark)
    added = []

    def dies_at_the_third(*arguments: Any) -> None:
        added.append(arguments)
        if len(added) == 3:
            raise _KilledError
        add(*arguments)

    add = hours.add
    with monkeypatch.context() as patch:
        patch.setattr(hours, "add", dies_at_the_third)
        with pytest.raises(_KilledError):  # its executors have written all rows by then
            fold()

    done = fold()

    assert (done.segments, done.predictions) == (4, 4 * 60)
    assert shared.everything() == alone.everything()


def test_segments_are_folded_elsewhere_from_the_home_and_the_store_with_what_they_need_sent_along(
    place: Place, credit: pl.DataFrame, expected: tuple[Any, ...]
) -> None:
    payloads = frames(credit, rows=60)
    place.write("1-1-a", framed(payloads[:12]))
    elsewhere = Objects(str(place.root.parent / "elsewhere"))
    elsewhere.put("log/credit/dev/2-9-c.log", framed(payloads[12:])[:-5])  # torn
    fold = place.fold(elsewhere, compute=Threads(1))
    asked = []
    fold._reference = lambda version: asked.append(version) or place.reference
    last = payloads[-1]

    done = fold()
    elsewhere.put("log/credit/dev/3-9-d.log", framed([last, SEALED]))
    fold()

    assert (done.segments, done.is_alone, done.held) == (2, True, {})
    assert asked == [1]
    assert place.everything() == expected
    assert fold.waiting().size == 0


def test_what_cannot_be_folded_elsewhere_waits_and_what_another_folds_is_left_to_it(
    place: Place, credit: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads = frames(credit, rows=6)
    place.write("1-1-a", framed(frames(credit, rows=3, version=9)))
    place.write("2-1-b", framed([["p", 1], *payloads]))
    place.write("3-1-c", framed(payloads))
    fold = place.fold(compute=Threads(1))

    def known(version: int) -> Reference:
        if version == 9:
            raise UnknownVersionError("There is no version '9'.")
        return place.reference

    fold._reference = known
    now = datetime.now(UTC)
    place.database.take_lease("fold/credit/dev/3-1-c.log", "another", now=now, seconds=60)

    done = fold()
    place.database.give_lease("fold/credit/dev/3-1-c.log", "another")
    freed = fold()

    assert done.held["credit/dev/1-1-a.log"] == "There is no version '9'."
    assert "is none that a server wrote" in done.held["credit/dev/2-1-b.log"]
    assert (done.is_alone, done.predictions) == (False, 0)
    assert (freed.is_alone, freed.predictions) == (True, 6)


def test_leases_are_renewed_while_segments_are_folded_elsewhere(
    place: Place, credit: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write("1-1-a", framed(frames(credit, rows=3)))
    monkeypatch.setattr(fold_module, "LEASE_SECONDS", 0.3)
    taken: list[str] = []

    class Slow(Threads):
        def map(self, *arguments: Any) -> Any:
            until = len(taken) + 2
            while len(taken) < until:
                threading.Event().wait(0.01)
            return super().map(*arguments)

    fold = place.fold(compute=Slow(1))
    take = place.database.take_lease
    monkeypatch.setattr(
        place.database,
        "take_lease",
        lambda name, *a, **n: taken.append(name) or take(name, *a, **n),
    )

    assert fold().predictions == 3
    assert set(taken) == {"fold/credit/dev/1-1-a.log"}
    with place.database.read() as connection:
        assert connection.execute(select(leases)).all() == []


def _own_database(server: str) -> str:
    import psycopg

    name = f"fold_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"create database {name}")
    return f"{server.rpartition('/')[0]}/{name}"


def test_a_segment_in_both_places_counts_once_and_folds_from_either(
    place: Place, credit: pl.DataFrame, expected: tuple[Any, ...]
) -> None:
    payloads = frames(credit, rows=60)
    here = place.write("1-1-a", framed(payloads[:12]))
    place.write("2-1-b", framed(payloads[12:20]))
    elsewhere = Objects(str(place.root.parent / "elsewhere"))
    elsewhere.put("log/credit/dev/1-1-a.log", here.read_bytes())
    elsewhere.put("log/credit/dev/3-9-c.log", framed(payloads[20:]))
    elsewhere.put("log/credit/dev/notes.log", b"not ours")
    elsewhere.put("log/credit/dev/deeper/4-9-d.log", framed(payloads[:3]))
    fold = place.fold(elsewhere)

    done = fold()
    here.unlink()
    again = fold()

    assert (done.segments, again.segments) == (3, 0)
    assert place.everything() == expected


def test_a_segment_is_followed_from_the_home_into_the_store_without_a_gap(
    place: Place, credit: pl.DataFrame, expected: tuple[Any, ...]
) -> None:
    payloads = frames(credit, rows=60)
    path = place.write("1-1-a", framed(payloads[:11]))
    elsewhere = Objects(str(place.root.parent / "elsewhere"))
    fold = place.fold(elsewhere)
    fold()
    path.write_bytes(framed([*payloads, SEALED]))

    moved = Uploader(path.parent, elsewhere).once()
    fold()

    assert (moved, path.exists()) == (1, False)
    assert place.everything() == expected


def test_what_is_folded_whole_goes_a_day_later_from_both_places(
    place: Place, credit: pl.DataFrame, expected: tuple[Any, ...]
) -> None:
    payloads = frames(credit, rows=60)
    sealed = place.write("1-1-a", framed([*payloads[:20], SEALED]))
    elsewhere = Objects(str(place.root.parent / "elsewhere"))
    elsewhere.put("log/credit/dev/2-1-b.log", framed([*payloads[20:25], SEALED]))
    elsewhere.put("log/credit/dev/3-1-c.log", framed(payloads[25:])[:-5])
    fold = place.fold(elsewhere)
    fold()
    now = datetime.now(UTC)

    early = fold(lambda: now + timedelta(hours=23))
    late = fold(lambda: now + timedelta(hours=25))
    last = fold(lambda: now + timedelta(hours=25))

    assert (early.removed, late.removed, last.removed) == (0, 3, 0)
    assert not sealed.exists()
    assert elsewhere.list("log") == []
    place.write("1-1-a", framed([*payloads[:20], SEALED]))  # a server brings it once more
    elsewhere.put("log/credit/dev/2-1-b.log", framed([*payloads[20:25], SEALED]))
    again = fold()
    assert (again.predictions, again.segments) == (0, 0)


def test_what_still_grows_waits_or_is_spoilt_stays_however_old(
    place: Place, credit: pl.DataFrame
) -> None:
    payloads = frames(credit, rows=6)
    whole = framed([*payloads, SEALED])
    spoilt = place.write("1-1-a", whole[:60] + b"\xff" + whole[61:])
    unknown = place.write("2-1-b", framed([*frames(credit, rows=3, version=9), SEALED]))
    elsewhere = Objects(str(place.root.parent / "elsewhere"))
    elsewhere.put("log/credit/dev/4-1-d.log", spoilt.read_bytes())
    growing = place.write("3-1-c", whole)
    fold = place.fold(elsewhere)

    def known(version: int) -> Reference:
        if version == 9:
            raise UnknownVersionError("There is no version '9'.")
        return place.reference

    fold._reference = known
    with growing.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        fold()
        done = fold(lambda: datetime.now(UTC) + timedelta(days=9))

    assert done.removed == 0
    assert spoilt.exists()
    assert unknown.exists()
    assert growing.exists()
    assert "It is damaged after byte 0, and what follows" in done.held["credit/dev/4-1-d.log"]


_REMOVER = """
import os, pickle, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from loopline.monitoring.fold import Fold
from loopline.store.database import Database
from loopline.store.objects import Objects
from loopline.store.tables import Tables

root, store = Path(sys.argv[1]), sys.argv[2]
reference = pickle.loads((root / "reference").read_bytes())
objects = Objects(store)
objects.delete = lambda key: os.kill(os.getpid(), 9)
database = Database(f"sqlite:///{root}/loopline.db")
tables = Tables(objects)
fold = Fold(root / "log", "credit", lambda _: reference, tables, database, uploaded=objects)
fold()
fold(lambda: datetime.now(UTC) + timedelta(days=2))
"""


def test_in_a_real_store_replicas_are_folded_elsewhere_and_a_kill_before_removal_doubles_nothing(
    tmp_path: Path,
    credit: pl.DataFrame,
    reference: Reference,
    expected: tuple[Any, ...],
    s3: str,
) -> None:
    import pickle

    payloads = frames(credit, rows=60)
    objects = Objects(s3)
    for replica, part in enumerate((payloads[:11], payloads[11:17], payloads[17:])):
        home = Place(tmp_path / f"replica{replica}", reference)
        path = home.write(f"{replica + 1}-1-a", framed([*part, SEALED]))
        assert Uploader(path.parent, objects).once() == 1
    watcher = Place(tmp_path / "watcher", reference)
    watcher.root.mkdir()
    (watcher.root / "reference").write_bytes(pickle.dumps(reference))

    killed = subprocess.run([sys.executable, "-c", _REMOVER, str(watcher.root), s3], check=False)
    there = len(objects.list("log"))
    fold = watcher.fold(objects, tables=objects)
    done = fold(lambda: datetime.now(UTC) + timedelta(days=2))

    assert (killed.returncode, there) == (-9, 3)
    assert (done.predictions, done.removed, objects.list("log")) == (0, 3, [])
    assert watcher.everything() == expected
