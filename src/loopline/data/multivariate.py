"""Whether two tables can be told apart by all their columns together.

Each column alone may look as before while what they say of each other has changed. A classifier of
boosted trees learns on a bounded sample of both tables which one a row is from (Lopez-Paz and
Oquab, Revisiting Classifier Two-Sample Tests, 2017): its area under the ROC curve on rows that it
did not learn from is 0.5 where nothing changed, and comes with its interval.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa

from loopline.counts import quality
from loopline.counts.figure import Figure
from loopline.counts.kernel import ColumnCounts, Profile
from loopline.counts.saved import Profiled
from loopline.errors import SourceError

if TYPE_CHECKING:
    from loopline.compute.base import Compute
    from loopline.data.counting import Counting, Part

SAMPLE = 10_000
"""Rows of each table."""
FEWEST = 100
_EVERY = 2**64 - 1
_MARGIN = 10.0
"""Standard deviations by which more rows are drawn than are wanted, and those beyond left out."""
_FOLDS = 3
_TELLING = 5
TOLD_APART = 0.55
"""An area whose whole interval is above it: a difference that is there, and not a small one."""


KEPT = 5_000
"""Training rows that a version keeps to be told from, where its contract asks."""


@dataclass(frozen=True)
class Rows:
    """A sample of rows as the classifier sees them: no text, no key, no value by its name."""

    names: tuple[str, ...]
    matrix: np.ndarray
    """float32: numbers as they are, categories by how frequent their value is in the reference."""

    def to_bytes(self) -> bytes:
        """Return the rows as bytes."""
        return msgspec.msgpack.encode([self.names, self.matrix.astype("<f4").tobytes()])

    @classmethod
    def from_bytes(cls, content: bytes) -> "Rows":
        """Read what `to_bytes` wrote."""
        names, cells = msgspec.msgpack.decode(content)
        return cls(tuple(names), np.frombuffer(cells, "<f4").reshape(-1, len(names)))


@dataclass(frozen=True)
class Apart:
    """How well two tables are told from each other."""

    roc_auc: Figure
    rows: int
    """Of both, in the sample."""
    drifted: bool
    telling: Mapping[str, float]
    """Columns that tell most, and how much of the area is lost without what they say."""


class Sample:
    """Rows drawn evenly from a table of any size: which ones depends on their places alone."""

    def __init__(self, size: int = SAMPLE, most: int = _EVERY) -> None:
        """A row whose key is above `most` is not among them: most rows need not be looked at."""
        self._size = size
        self._most = np.uint64(most)
        self._keys = np.empty(0, np.uint64)
        self._rows: list[pa.Table] = []

    def __len__(self) -> int:
        return min(len(self._keys), self._size)

    def add(self, batch: pa.RecordBatch, first: int) -> None:
        """Offer rows, the first of which is at the place `first` of the table."""
        keys = _scattered(np.arange(first, first + batch.num_rows, dtype=np.uint64))
        most = self._keys.max() if len(self._keys) >= self._size else self._most
        chosen = np.flatnonzero(keys <= most)
        if len(chosen):
            # Through a list: Arrow would import pandas to look at an array of numpy's.
            rows = pa.Table.from_batches([batch]).take(pa.array(chosen.tolist(), pa.int64()))
            self._hold(keys[chosen], rows)

    def merge(self, later: "Sample") -> None:
        """Take what was drawn from later rows."""
        if len(later):
            rows = later.table()
            self._hold(later._keys, rows)

    def table(self) -> pa.Table:
        """Return the rows drawn, in the table's order."""
        self._shrink()
        return pa.concat_tables(self._rows, promote_options="permissive")

    def _hold(self, keys: np.ndarray, rows: pa.Table) -> None:
        self._rows.append(rows)
        self._keys = np.concatenate([self._keys, keys])
        if len(self._keys) > 2 * self._size:
            self._shrink()

    def _shrink(self) -> None:
        table = pa.concat_tables(self._rows, promote_options="permissive")
        places = np.sort(np.argsort(self._keys, kind="stable")[: self._size])
        self._keys = self._keys[places]
        self._rows = [table.take(pa.array(places.tolist(), pa.int64()))]


def apart(reference: Profiled, first: pa.Table, second: pa.Table, *, seed: int = 7) -> Apart:
    """Tell a sample of the second table from one of the first, by all columns.

    Texts are left out: a key differs in every row, and tells nothing.

    Raises:
        SourceError: there are too few rows, or no column that can tell anything.
    """
    names = [name for name, kind in reference.types.items() if kind != "text"]
    rows = min(first.num_rows, second.num_rows)
    if rows < FEWEST or not names:
        raise SourceError(
            f"Tables are told apart by {FEWEST} rows of each and more, and by columns other than "
            f"text: here are {rows} rows and {len(names)} such columns. Leave out --multivariate."
        )
    both = [
        np.column_stack([_column(reference, name, each[name]) for name in names])
        for each in (first, second)
    ]
    return tell(names, both[0], both[1], seed=seed)


def tell(
    names: Sequence[str],
    first: np.ndarray,
    second: np.ndarray,
    *,
    limit: float = TOLD_APART,
    seed: int = 7,
) -> Apart:
    """Tell rows of the second matrix from those of the first; `names` are their columns.

    They are apart where the whole interval of the area is above `limit`.
    """
    truth = np.repeat([0, 1], [len(first), len(second)])
    scores, lost = _out_of_fold(np.concatenate([first, second]), truth, seed)
    area = quality.roc_auc(quality.count_scores(scores, truth))
    order = np.argsort(-lost, kind="stable")[:_TELLING]
    telling = {names[place]: float(lost[place]) for place in order if lost[place] > 0.005}
    return Apart(area, len(truth), area.low > limit, telling)


def drawn(names: Sequence[str], columns: Mapping[str, np.ndarray], profile: Profile) -> Rows:
    """Return `KEPT` rows of columns of numpy arrays, drawn evenly, as the classifier sees them."""
    size = len(columns[names[0]])
    order = np.argsort(_scattered(np.arange(size, dtype=np.uint64)), kind="stable")
    places = np.sort(order[:KEPT])
    chosen = {name: columns[name][places] for name in names}
    return seen(names, chosen, profile)


def seen(names: Sequence[str], columns: Mapping[str, np.ndarray], profile: Profile) -> Rows:
    """Return columns of numpy arrays (float64, or objects of text) as the classifier sees them."""
    matrix = [
        _frequencies(profile.columns[name], columns[name].tolist())
        if columns[name].dtype.kind == "O"
        else columns[name]
        for name in names
    ]
    return Rows(tuple(names), np.column_stack(matrix).astype(np.float32))


def _out_of_fold(matrix: np.ndarray, truth: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's score by a model that did not see it, and what each column is worth."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits

    scores, lost = np.zeros(len(truth)), np.zeros(matrix.shape[1])
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    # On a busy machine threads that wait for each other cost ten times what they gain.
    with threadpool_limits(1):
        for learn, judge in folds.split(matrix, truth):
            model = HistGradientBoostingClassifier(max_iter=40, random_state=seed)
            model.fit(matrix[learn], truth[learn])
            scores[judge] = model.predict_proba(matrix[judge])[:, 1]
            found = permutation_importance(
                model, matrix[judge], truth[judge], scoring="roc_auc", n_repeats=1,
                random_state=seed,
            )  # fmt: skip
            lost += found.importances_mean / _FOLDS
    return scores, lost


def _column(reference: Profiled, name: str, column: pa.ChunkedArray) -> np.ndarray:
    """Return a column as numbers: a category by how frequent its value is in the reference."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if reference.types[name] in {"category", "boolean"}:
        return _frequencies(reference.profile.columns[name], column.cast(pa.string()).to_pylist())
    if reference.types[name] == "time":
        column = column.cast(pa.timestamp("us")).cast(pa.int64())
    values = column.cast(pa.float64(), safe=False).to_pylist()
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _frequencies(counted: ColumnCounts, texts: Sequence[str | None]) -> np.ndarray:
    """Return each text's place by frequency in the reference; -1 for one that is not there."""
    frequent = sorted(counted.named, key=lambda value: -counted.named[value])
    places = {value: float(place) for place, value in enumerate(frequent)}
    return np.array([np.nan if text is None else places.get(text, -1.0) for text in texts])


def sample(
    work: "Counting", opened: "Callable[[], Iterable[Part]]", rows: int, compute: "Compute"
) -> pa.Table:
    """Return a sample of a table of about `rows` rows, in the types that they are counted in.

    The same rows wherever they are drawn. `opened` gives the table's parts, once more where its
    rows have become fewer.
    """
    expected = SAMPLE + _MARGIN * SAMPLE**0.5
    limits = [int(expected / rows * _EVERY)] if expected < rows else []
    found = Sample()
    for most in [*limits, _EVERY]:
        found = Sample()
        for drawn in compute.map(_Sampling(work, most), _located(opened())):
            found.merge(drawn)
        if len(found) == SAMPLE:
            break
    return found.table()


def _located(parts: "Iterable[Part]") -> "Iterator[tuple[Part, int]]":
    """Yield parts, and where their first rows are."""
    first = 0
    for part in parts:
        yield part, first
        first += part.piece.rows


@dataclass(frozen=True)
class _Sampling:
    """Draws rows of parts."""

    work: "Counting"
    most: int

    @contextmanager
    def open(self) -> "Iterator[Callable[[tuple[Part, int]], Sample]]":
        """Return what draws from a part."""
        yield self._draw

    def _draw(self, located: "tuple[Part, int]") -> Sample:
        part, first = located
        drawn = Sample(most=self.most)
        for batch in self.work.batches(part):
            drawn.add(batch, first)
            first += batch.num_rows
        return drawn


def _scattered(places: np.ndarray) -> np.ndarray:
    """Return numbers that look drawn (splitmix64), one for each place."""
    with np.errstate(over="ignore"):
        found: Any = places + np.uint64(0x9E3779B97F4A7C15)
        found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    scattered: np.ndarray = found ^ (found >> np.uint64(31))
    return scattered
