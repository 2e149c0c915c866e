"""An example data set under Loopline's watch: chunk by chunk, outcomes three chunks later.

The sets come with what some model answered, and not with the model. So the version under watch is
one that passes the given answers on; what is learned of its errors is learned from the reference,
as NannyML learns it. Each chunk is six hours of a made-up month: the sets' own clocks would cut
them otherwise than NannyML does, and within four days nothing is known of how days differ, so that
rows are taken for independent, as the peers take them.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.examples_data import Made
from bench.load import BenchError
from bench.segments import write_segment
from loopline.counts.statistics import CHANCE
from loopline.model.bundle import open_bundle
from loopline.model.signature import decide
from loopline.monitoring import performance
from loopline.monitoring.hours import INPUT
from loopline.monitoring.reference import References
from loopline.monitoring.windows import HOUR, Window, microseconds
from loopline.pipeline.run import run
from loopline.project import Project
from loopline.registry.promotion import promote
from loopline.settings import Settings

ENVIRONMENT = "production"
FIRST = datetime(2026, 1, 5, tzinfo=UTC)
STEP, LATE, DAY = timedelta(hours=6), 3, timedelta(days=1)
_ROWS = 500
_MODEL = '''"""Passes on what the example's own model answered."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin


class Given(ClassifierMixin, BaseEstimator):
    def __init__(self, columns=()):
        self.columns = columns

    def fit(self, frame, truth):
        self.classes_ = np.unique(truth)
        return self

    def predict_proba(self, frame):
        found = frame[list(self.columns)].to_numpy(float)
        return np.column_stack([1 - found, found]) if found.shape[1] == 1 else found

    def predict(self, frame):
        return self.classes_[self.predict_proba(frame).argmax(axis=1)]


class GivenNumber(RegressorMixin, BaseEstimator):
    def __init__(self, column=""):
        self.column = column

    def fit(self, frame, truth):
        self.fitted_ = True
        return self

    def predict(self, frame):
        return frame[self.column].to_numpy(float)


def build():
    return {made}
'''


@dataclass
class Chunk:
    """What watching said of one chunk."""

    rows: int
    estimated: tuple[float, float, float] | None = None
    """The figure, and its interval."""
    realised: float | None = None
    psi: dict[str, float] = field(default_factory=dict)
    """By input."""
    distance: dict[str, float] = field(default_factory=dict)
    """By input: of Jensen and Shannon."""
    chance: list[str] = field(default_factory=list)
    """Inputs whose difference from the reference chance explains."""
    found: list[str] = field(default_factory=list)
    """Inputs named by a finding of drift that was open at the end of the chunk."""


def watched(made: Made, root: Path, judge_by: str = "interval") -> list[Chunk]:
    """Make the project, answer chunk by chunk, look at the end of each; tell what was seen."""
    project = _made(made, root, judge_by)
    replay = _Replay(project, made)
    pieces = list(made.chunks())
    seen = []
    for place, piece in enumerate(pieces):
        replay.answer(piece, place)
        if place >= LATE:
            replay.tell(pieces[place - LATE], place - LATE)
        seen.append(replay.look(piece.height, place))
    for place in range(max(len(pieces) - LATE, 0), len(pieces)):
        replay.tell(pieces[place], place)
    replay.look(0, len(pieces) + LATE)
    for place, chunk in enumerate(seen):
        chunk.realised = replay.realised(place)
    project.database.close()
    return seen


def _made(made: Made, root: Path, judge_by: str) -> Project:
    """Make a project of the reference rows, and promote its one version."""
    example = made.example
    root.mkdir(parents=True)
    before = _keyed(pl.read_parquet(made.tables[0]), -1)
    before.write_parquet(root / "reference.parquet")
    given = list(example.given.values())
    task = example.task
    if task == "regression":
        model, given = f'GivenNumber(column="{example.said}")', [example.said]
    else:
        ordered = [example.given[name] for name in sorted(example.given)]
        model = f"Given(columns={ordered!r})"
    (root / "model.py").write_text(_MODEL.replace("{made}", model))
    columns = {name: {"type": "number"} for name in [*made.numbers, *given]}
    columns |= {name: {"type": "category"} for name in made.texts}
    columns |= {"key": {"type": "text"}, "at": {"type": "time"}}
    kind = "number" if task == "regression" else "category"
    columns[example.target] = {"type": kind}
    problem: dict[str, Any] = {"task": task, "target": example.target}
    if task == "binary":
        problem["positive"] = "1"
    goal = {"metric": example.metric, "at_least": 0.0}
    if task == "regression":
        goal = {"metric": example.metric, "at_most": 1e9}
    named = example.name.replace("_", "-").lower()
    contract = {
        "project": named,
        "problem": problem,
        "goals": [goal],
        "data": {
            "source": "reference.parquet", "key": "key", "time": "at", "columns": columns,
            # Nothing is trained: what is learned of the errors is learned from validation rows.
            "split": {"by": "hash", "train": "10%", "validation": "80%", "test": "10%"},
        },
        "model": {"train": "model.py:build", "seed": 7},
        "environments": {"dev": {}, ENVIRONMENT: {}},
        "monitor": {
            "window": "6 hours", "drift": {"psi": 0.2}, "minimum_rows": 30, "minimum_labels": 30,
            "judge_by": judge_by,
        },
        "respond": [{"when": "drift", "do": "alert"}],
    }  # fmt: skip
    # JSON is YAML, from the second level on as everywhere.
    lines = [f"{name}: {json.dumps(value)}\n" for name, value in contract.items()]
    (root / "loopline.yaml").write_text("".join(lines).replace(f'"{named}"', named, 1))
    settings = Settings.read(root.resolve(), {"LOOPLINE_ACTOR": "bench", "LOOPLINE_MLFLOW": "off"})
    project = Project(root=root.resolve(), settings=settings)
    outcome = run(project, now=FIRST - DAY, progress=lambda *_: None)
    promote(
        project.registry, outcome.version.number, ENVIRONMENT,
        by="bench", why="the only model", now=FIRST - DAY, contract=project.contract,
    )  # fmt: skip
    return project


def _keyed(rows: pl.DataFrame, place: int) -> pl.DataFrame:
    """Return rows with a key each, and moments spread over the hours of their chunk."""
    first = microseconds(FIRST + place * STEP)
    step = STEP // timedelta(microseconds=1) // max(rows.height, 1)
    return rows.with_row_index("n").select(
        pl.exclude("n"),
        key=pl.format("{}-{}", pl.lit(place), "n"),
        at=(pl.lit(first) + pl.col("n").cast(pl.Int64) * step).cast(pl.Datetime("us", "UTC")),
    )


class _Replay:
    """One project, what its log gets, and its watcher."""

    def __init__(self, project: Project, made: Made) -> None:
        self._project, self._made = project, made
        self._references = References(project.registry)
        self._watch = project.watcher()
        known = project.registry.get(1)
        bundle = open_bundle(project.objects, project.keys, known.bundle, known.bundle_digest)
        self._signature = bundle.signature
        self._segments = 0

    def answer(self, piece: pl.DataFrame, place: int) -> None:
        """Log the given answers as the server logs its own."""
        rows, example = _keyed(piece, place), self._made.example
        ordered = [example.given[name] for name in sorted(example.given)] or [example.said]
        scores = rows.select(ordered).to_numpy().astype(float)
        said = decide(self._signature, scores if len(ordered) > 1 else scores[:, 0])
        answers = [said.tolist(), *scores.T.tolist()]
        plain = rows.with_columns(pl.col("at").dt.epoch("us"))
        logged = [plain[each.name].to_list() for each in self._signature.inputs if each.logged]
        arrivals = plain["at"].to_list()
        self._segment(
            [
                "p", f"r{place}x{begin}", None, arrivals[begin], 1, False, 300, "bench",
                len(said[begin : begin + _ROWS]),
                *([of[begin : begin + _ROWS] for of in every] for every in (logged, answers)),
            ]
            for begin in range(0, len(said), _ROWS)
        )  # fmt: skip

    def tell(self, piece: pl.DataFrame, place: int) -> None:
        """Log what turned out true of a chunk."""
        target = self._made.example.target
        rows = _keyed(piece, place).filter(pl.col(target).is_not_null())
        late = microseconds(FIRST + (place + LATE) * STEP)
        known = [[None, key, _plain(truth), late] for key, truth in rows["key", target].iter_rows()]
        if known:
            self._segment([["f", late, known]])

    def look(self, rows: int, place: int) -> Chunk:
        """Look at the end of a chunk.

        Raises:
            BenchError: some of the log waits, so that what is seen would be of nothing.
        """
        seen = self._watch.once(FIRST + (place + 1) * STEP - timedelta(seconds=1))
        if seen.waiting.size:
            raise BenchError(f"The log of {self._made.example.name} waits: {seen.notes}")
        chunk = Chunk(rows)
        for version in seen.watched:
            inputs = [one for one in version.drift if one.kind == INPUT]
            chunk.psi = {one.column: one.figures["psi"] for one in inputs}
            chunk.distance = {one.column: one.figures["jensen_shannon"] for one in inputs}
            chunk.chance = [one.column for one in inputs if one.figures["p_value"] >= CHANCE]
            if version.estimation is not None:
                found = version.estimation.metrics.get(self._made.example.metric)
                chunk.estimated = found and (found.value, found.low, found.high)
        opened = [one for one in seen.findings if one.kind == "drift"]
        chunk.found = sorted({name for one in opened for name in one.columns or (one.subject,)})
        return chunk

    def realised(self, place: int) -> float | None:
        """Return the figure of a chunk, by the outcomes that came."""
        first = microseconds(FIRST + place * STEP) // HOUR
        window = Window(first, first + STEP // timedelta(hours=1))
        known, database = self._references(1), self._project.database
        real = performance.measure(self._project.contract, known, database, ENVIRONMENT, [window])
        return None if real is None else real.metrics.get(self._made.example.metric)

    def _segment(self, payloads: Iterator[Any] | list[Any]) -> None:
        self._segments += 1
        folder = self._project.settings.home / "log" / self._project.contract.project / ENVIRONMENT
        write_segment(folder, self._segments, payloads)


def _plain(truth: Any) -> Any:
    return str(truth) if isinstance(truth, int | np.integer) else truth
