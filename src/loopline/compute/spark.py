"""Spark: each piece is an item of a data frame, and `mapInArrow` does the work where Spark runs.

The work travels as bytes in a broadcast: the model's plan, verified before it left, and nothing of
what trained it. Executors read their pieces and write their parts themselves, so sources and OUT
must be where they can reach them; only receipts come back. What has to come together (a key's rows,
a prediction and its outcome) Spark shuffles and sorts, on its disks where memory is short.
"""

import contextlib
import os
import pickle
import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from loopline.compute.base import Done, Item, Stage, Work
from loopline.errors import SettingError, StoreError
from loopline.extras import require

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Spark"]

_WAVES = 4
"""Items for each core in one job: enough that none waits for the slowest, few enough to hold."""
_MOST_TASKS = 10_000
_FAILED, _DONE = "~failed", "~done"
"""Columns beside the rows that are brought together: an error of ours, and what the last made."""


class Spark:
    """Runs work in a Spark session: the one there is, or one made here."""

    def __init__(self, session: Any = None, master: str | None = None) -> None:
        """Take a session; without one the active session, else one on this machine's cores.

        `master` is the URL of a cluster; its workers have this Python, or that of PYSPARK_PYTHON.

        Raises:
            MissingExtraError: pyspark is not installed, or pandas, which `mapInArrow` asks for.
            SettingError: there is no Java to start one with.
        """
        self.session = session or _session(master)

    @property
    def name(self) -> str:
        """As people read it."""
        return f"Spark ({self.session.sparkContext.master})"

    def map(self, work: Work[Item, Done], items: Iterable[Item]) -> Iterator[Done]:
        """Do `work` on every item, in order; a few for each core at a time."""
        context = self.session.sparkContext
        sent = context.broadcast(pickle.dumps(work))
        each = max(1, context.defaultParallelism) * _WAVES
        numbered = iter(enumerate(items))
        try:
            while wave := list(islice(numbered, each)):
                rows = [(number, pickle.dumps(item)) for number, item in wave]
                # One item a task: repartitioning by itself would put several into one.
                spread = context.parallelize(rows, len(rows))
                frame = self.session.createDataFrame(spread, "number long, item binary")
                with warnings.catch_warnings():
                    # It wants pandas there, asks it for nothing, and warns of its version.
                    warnings.filterwarnings("ignore", "PySpark does not yet", FutureWarning)
                    mapped = frame.mapInArrow(_Mapped(sent), "number long, done binary")
                found = mapped.collect()
                for row in sorted(found, key=lambda row: row.number):
                    done: Done = pickle.loads(row.done)  # noqa: S301 - what our own work made
                    if isinstance(done, _Failed):
                        raise _told(done.error)
                    yield done
        finally:
            sent.unpersist()

    def gather(
        self,
        work: "Work[Item, Iterator[pa.RecordBatch]]",
        items: Iterable[Item],
        stages: Sequence[Stage],
    ) -> Iterator[Any]:
        """Bring rows together by Spark's shuffle, and do each stage's work where they come to."""
        import pyarrow as pa

        schemas = [_with_failed(stage.schema) for stage in stages]
        schemas.append(pa.schema([(_DONE, pa.binary()), (_FAILED, pa.binary())]))
        sent: list[Any] = []
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "PySpark does not yet", FutureWarning)
                from pyspark.sql.pandas.types import from_arrow_schema

                frame = self._spread(work, items, schemas[0], sent)
                for place, stage in enumerate(stages, start=1):
                    if stage.more is not None:
                        frame = frame.union(self._spread(*stage.more, schemas[place - 1], sent))
                    together = frame.repartition(f"`{stage.by}`")
                    ordered = together.sortWithinPartitions(*(f"`{name}`" for name in stage.order))
                    made: Any = _Together(
                        self._broadcast(stage.work, sent),
                        schemas[place],
                        is_last=place == len(stages),
                    )
                    frame = ordered.mapInArrow(made, from_arrow_schema(schemas[place]))
            for row in frame.toLocalIterator():
                failed = row[_FAILED]
                if failed is not None:
                    raise _told(pickle.loads(failed))  # noqa: S301 - our own error
                yield pickle.loads(row[_DONE])  # noqa: S301 - what our own work made
        finally:
            for each in sent:
                each.unpersist()

    def _broadcast(self, work: Work[Any, Any], sent: list[Any]) -> Any:
        sent.append(self.session.sparkContext.broadcast(pickle.dumps(work)))
        return sent[-1]

    def _spread(
        self,
        work: "Work[Item, Iterator[pa.RecordBatch]]",
        items: Iterable[Item],
        schema: "pa.Schema",
        sent: list[Any],
    ) -> Any:
        """Return a frame of the rows that `work` makes of every item."""
        from pyspark.sql.pandas.types import from_arrow_schema

        rows = [(pickle.dumps(item),) for item in items]
        tasks = min(max(len(rows), 1), _MOST_TASKS)
        spread = self.session.sparkContext.parallelize(rows, tasks)
        frame = self.session.createDataFrame(spread, "item binary")
        made: Any = _Spread(self._broadcast(work, sent), schema)
        return frame.mapInArrow(made, from_arrow_schema(schema))


def _with_failed(schema: "pa.Schema") -> "pa.Schema":
    import pyarrow as pa

    return schema.append(pa.field(_FAILED, pa.binary()))


class _Failed:
    """An error of ours on its way back: Spark would bury it in its own."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _told(error: Exception) -> Exception:
    """Say of what an executor does not reach that it was one: here the file may well be."""
    if type(error) is not StoreError:
        return error
    return StoreError(
        f"{error} This was said by an executor of Spark: what they read and write must lie where "
        "all of them reach it, in an object store or on a disk that they share."
    )


def _raise(error: Exception, _item: Any) -> Any:
    raise error


class _Mapped:
    """What `mapInArrow` is given."""

    def __init__(self, sent: Any) -> None:
        self._sent = sent

    def __call__(self, batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
        import pyarrow as pa

        from loopline.errors import LooplineError

        work: Work[Any, Any] = pickle.loads(self._sent.value)  # noqa: S301 - our own broadcast
        with contextlib.ExitStack() as opened:
            try:
                do = opened.enter_context(work.open())
            except LooplineError as error:
                do = partial(_raise, error)
            for batch in batches:
                done = []
                for item in batch.column("item").to_pylist():
                    try:
                        made: Any = do(pickle.loads(item))  # noqa: S301 - our own item
                    except LooplineError as error:
                        made = _Failed(error)
                    done.append(pickle.dumps(made))
                yield pa.RecordBatch.from_arrays(
                    [batch.column("number"), pa.array(done, pa.binary())], ["number", "done"]
                )


class _Spread:
    """Makes rows of items; an error goes along as a row of its own."""

    def __init__(self, sent: Any, schema: "pa.Schema") -> None:
        self._sent, self._schema = sent, schema

    def __call__(self, batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
        from loopline.errors import LooplineError

        work: Work[Any, Any] = pickle.loads(self._sent.value)  # noqa: S301 - our own broadcast
        try:
            with work.open() as do:
                for batch in batches:
                    for item in batch.column("item").to_pylist():
                        for made in do(pickle.loads(item)):  # noqa: S301 - our own item
                            yield _padded(made, self._schema)
        except LooplineError as error:
            yield _as_row(error, self._schema)


class _Together:
    """Does a stage's work on the rows of one place."""

    def __init__(self, sent: Any, schema: "pa.Schema", *, is_last: bool) -> None:
        self._sent, self._schema, self._is_last = sent, schema, is_last

    def __call__(self, batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
        import pyarrow as pa

        from loopline.errors import LooplineError

        first = next(batches, None)
        if first is None:
            return
        work: Work[Any, Any] = pickle.loads(self._sent.value)  # noqa: S301 - our own broadcast
        try:
            with work.open() as do:
                made = do(_unfailed(chain([first], batches)))
                if self._is_last:
                    done = pa.array([pickle.dumps(made)], pa.binary())
                    yield _padded(pa.RecordBatch.from_arrays([done], [_DONE]), self._schema)
                    return
                for each in made:
                    yield _padded(each, self._schema)
        except LooplineError as error:
            yield _as_row(error, self._schema)


def _unfailed(batches: "Iterable[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
    """Yield rows; raise an error that came among them."""
    for batch in batches:
        for failed in batch.column(_FAILED).drop_null().to_pylist():
            raise pickle.loads(failed)  # noqa: S301 - our own error
        yield batch.drop_columns([_FAILED])


def _padded(batch: "pa.RecordBatch", schema: "pa.Schema") -> "pa.RecordBatch":
    """Return rows that came through, in the types that Spark was told."""
    import pyarrow as pa

    arrays = [
        pa.nulls(batch.num_rows, field.type) if field.name == _FAILED
        else batch.column(field.name).cast(field.type)
        for field in schema
    ]  # fmt: skip
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _as_row(error: Exception, schema: "pa.Schema") -> "pa.RecordBatch":
    import pyarrow as pa

    said = pa.array([pickle.dumps(error)], pa.binary())
    arrays = [said if field.name == _FAILED else pa.nulls(1, field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _session(master: str | None) -> Any:
    sql = require("pyspark.sql", extra="spark")
    require("pandas", extra="spark")
    active = sql.SparkSession.getActiveSession()
    if active is not None:
        there = active.sparkContext.master
        if master not in {None, there}:
            raise SettingError(
                f"A Spark session runs on {there} in this process, and {master} was asked for. "
                "Stop it, or leave out the master."
            )
        return active
    builder = sql.SparkSession.builder.appName("loopline").config("spark.ui.enabled", "false")
    conf = require("pyspark", extra="spark").SparkConf()
    if master is not None or not conf.contains(
        "spark.master"
    ):  # spark-submit and platforms say where they run
        if "JAVA_HOME" not in os.environ and shutil.which("java") is None:
            raise SettingError(
                "Spark runs on Java, and there is none on PATH. Install Java 17 (Debian: apt-get "
                "install openjdk-17-jre-headless), or set JAVA_HOME, or leave out --on spark."
            )
        python = os.environ.get("PYSPARK_PYTHON", sys.executable)
        builder = (
            builder.master(master or "local[*]")
            .config("spark.pyspark.python", python)
            .config("spark.pyspark.driver.python", sys.executable)
        )
        if master is None or "://127.0.0.1" in master:
            builder = builder.config("spark.driver.host", "127.0.0.1")
            builder = builder.config("spark.driver.bindAddress", "127.0.0.1")
    return builder.getOrCreate()
