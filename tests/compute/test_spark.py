"""Work on Spark's executors: in order, a few at a time, and its errors come back as they were."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from loopline.compute.base import Stage
from loopline.compute.spark import Spark
from loopline.compute.threads import Threads
from loopline.errors import DataError, MissingExtraError, StoreError

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

WORK = """
import contextlib
import os

import pyarrow as pa

from loopline.errors import DataError, MissingExtraError, StoreError


class Digits:
    # A row of each number below the item, by its last digit.
    @contextlib.contextmanager
    def open(self):
        yield self.rows

    def rows(self, below):
        if below == 13:
            raise DataError("13 is no number to count to.")
        numbers = list(range(below))
        yield pa.RecordBatch.from_pydict({"digit": [n % 10 for n in numbers], "number": numbers})


class Highest:
    # A row of each digit's highest number, which the order brings last, by odd or even.
    @contextlib.contextmanager
    def open(self):
        yield self.rows

    def rows(self, batches):
        last = {}
        for batch in batches:
            last |= dict(zip(*(column.to_pylist() for column in batch.columns)))
        odd = [digit % 2 for digit in last]
        yield pa.RecordBatch.from_pydict({"odd": odd, "last": list(last.values())})


class Sums:
    @contextlib.contextmanager
    def open(self):
        yield lambda batches: sum(sum(batch.column("last").to_pylist()) for batch in batches)


class Squares:
    def __init__(self, opens=True):
        self.opens = opens

    @contextlib.contextmanager
    def open(self):
        if not self.opens:
            raise MissingExtraError("nothing here to square with")
        yield self.square

    def square(self, number):
        if number == 13:
            raise DataError("13 cannot be squared.")
        if number == 9:
            raise StoreError("There is no 9.")
        return number * number, os.getpid()
"""


@pytest.fixture
def work(spark: Spark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module of work that both this process and the executors can import."""
    file = tmp_path / "work_on_spark.py"
    file.write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    spark.session.sparkContext.addPyFile(str(file))
    import work_on_spark  # type: ignore[import-not-found]

    yield work_on_spark
    del sys.modules["work_on_spark"]


@pytest.fixture
def squares(work: Any) -> Any:
    """Work that squares numbers, and cannot do some."""
    return work.Squares


def test_what_came_of_each_item_is_in_the_items_order_and_was_made_elsewhere(spark, squares):
    done = list(spark.map(squares(), range(20, 40)))

    assert [number for number, _ in done] == [n * n for n in range(20, 40)]
    assert os.getpid() not in {process for _, process in done}


def test_items_are_taken_as_they_are_needed(spark, squares):
    taken = []

    def items() -> Iterator[int]:
        for number in range(100, 100_000):
            taken.append(number)
            yield number

    done = spark.map(squares(), items())
    next(done)

    assert len(taken) == 4 * spark.session.sparkContext.defaultParallelism
    done.close()


def test_an_error_of_the_work_is_raised_as_it_was(spark, squares):
    with pytest.raises(DataError, match=r"^13 cannot be squared\.$"):
        list(spark.map(squares(), range(10, 20)))


def test_of_what_an_executor_does_not_reach_it_is_said_that_it_was_one(spark, squares):
    with pytest.raises(StoreError, match=r"^There is no 9\. This was said by an executor of Spark"):
        list(spark.map(squares(), [9]))


def test_an_error_of_opening_it_is_raised_as_it_was(spark, squares):
    with pytest.raises(MissingExtraError, match=r"^nothing here to square with$"):
        list(spark.map(squares(opens=False), range(3)))


@pytest.mark.parametrize("on", ["spark", "threads"])
def test_rows_are_brought_together_and_sorted_stage_by_stage(spark, work, on):
    compute = spark if on == "spark" else Threads(2)
    numbers = pa.schema([("digit", pa.int64()), ("number", pa.int64())])
    lasts = pa.schema([("odd", pa.int64()), ("last", pa.int64())])
    stages = [
        Stage(numbers, "digit", ("digit", "number"), work.Highest()),
        Stage(lasts, "odd", ("last",), work.Sums()),
    ]

    found = list(compute.gather(work.Digits(), [5, 31, 28], stages))

    assert sum(found) == 30 + sum(range(21, 30))
    assert list(compute.gather(work.Digits(), [0], stages)) == []
    assert list(compute.gather(work.Digits(), [], stages)) == []
    with pytest.raises(DataError, match=r"^13 is no number to count to\.$"):
        list(compute.gather(work.Digits(), [5, 13], stages))


def test_the_session_there_is_is_used(spark):
    assert Spark().session is spark.session
    assert spark.name.startswith("Spark (local[")


def test_without_pyspark_one_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)

    with pytest.raises(MissingExtraError, match=r'pip install "loopline\[spark\]"'):
        Spark()


def test_without_java_one_error_says_what_to_install(tmp_path):
    pytest.importorskip("pyspark.sql")
    code = "from loopline.compute.spark import Spark; Spark()"

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    *_, last = done.stderr.splitlines()
    assert last.startswith("loopline.errors.SettingError: Spark runs on Java")
    assert "openjdk-17-jre-headless" in last
