"""Work on Spark's executors: in order, a few at a time, and its errors come back as they were."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loopline.compute.spark import Spark
from loopline.errors import DataError, MissingExtraError, StoreError

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

WORK = """
import contextlib
import os

from loopline.errors import DataError, MissingExtraError, StoreError


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
def squares(spark: Spark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A class of work that both this process and the executors can import."""
    file = tmp_path / "work_on_spark.py"
    file.write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    spark.session.sparkContext.addPyFile(str(file))
    import work_on_spark  # type: ignore[import-not-found]

    yield work_on_spark.Squares
    del sys.modules["work_on_spark"]


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
