"""A project with versions in production and traffic in its log, without training anything."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from loopline.counts.kernel import count_arrays
from loopline.evaluation import expectation
from loopline.model.bundle import write
from loopline.model.signature import Input, Signature
from loopline.monitoring.channels.base import Alert
from loopline.pipeline.workspace import Workspace
from loopline.registry.promotion import promote
from loopline.registry.versions import ModelVersion
from loopline.response.watch import Pass, Watch
from loopline.serving.log import HEADER, frame
from loopline.settings import Settings

CONTRACT = """
project: credit
problem:
  task: binary
  target: credit_risk
  positive: "1"
  costs: {currency: EUR, false_positive: 5, false_negative: 1}
goals:
  - {metric: roc_auc, at_least: 0.7}
  - {metric: cost_per_prediction, below_baseline_by: 5%}
  - {metric: latency_p99, at_most: 25 ms}
data:
  source: none.csv
  key: applicant
  columns: {housing: {type: category}, applicant: {type: text, feature: false}}
fairness:
  - {by: housing, metric: selection_rate, ratio_at_least: 0.3, minimum_rows: 20}
environments:
  dev: {}
  production: {}
monitor: {window: 10 days, drift: {psi: 0.2}, minimum_rows: 100, minimum_labels: 150}
respond:
  - {when: goal missed, do: [alert, retrain], cool_down: 30 days}
  - {when: new_category_rate > 20%, do: [alert, rollback], cool_down: 1 hour}
  - {when: error_rate > 1%, do: rollback, cool_down: 1 hour}
"""
INPUTS = {
    "age_in_years": "number",
    "credit_amount": "number",
    "purpose": "category",
    "housing": "category",
    "applicant": "text",
}
START = datetime(2013, 5, 1, tzinfo=UTC)


@dataclass
class Told:
    """A channel that remembers."""

    name: str = "memory"
    waits: bool = True
    follows: bool = False
    alerts: list[Alert] = field(default_factory=list)

    def send(self, alert: Alert) -> None:
        self.alerts.append(alert)


@dataclass
class World:
    """One project: its versions, its traffic, its watcher."""

    space: Workspace
    rows: pl.DataFrame
    told: Told = field(default_factory=Told)
    retrain: Callable[[datetime], ModelVersion] | None = None
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def watch(self) -> Watch:
        return Watch(self.space, self.retrain, [self.told])

    def look(self, now: datetime) -> Pass:
        return self.watch().once(now)

    def amend(self, *changes: tuple[str, str]) -> None:
        """Edit the contract: texts and what replaces them."""
        path = self.space.root / "loopline.yaml"
        text = path.read_text()
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        path.write_text(text)
        self.space = Workspace(self.space.root, self.space.settings)

    def version(
        self,
        *,
        digest: str = "",
        reasons: tuple[str, ...] = (),
        more: Mapping[str, bytes] = MappingProxyType({}),
    ) -> ModelVersion:
        """Register a version that was made from the real rows; `more` are files of its bundle."""
        number = next(self._numbers)
        signature = Signature(
            "credit",
            "binary",
            tuple(Input(name, kind) for name, kind in INPUTS.items()),  # type: ignore[arg-type]
            (),
            ("0", "1"),
            0.5,
            key="applicant",
        )
        columns = {
            name: np.array(self.rows[name].to_list(), float if kind == "number" else object)
            for name, kind in INPUTS.items()
            if kind != "text"
        }
        scores = np.array(self.rows["score"].to_list())
        files = {
            "signature.json": msgspec.json.encode(signature),
            "profile.bin": count_arrays({**columns, "probability": scores}).to_bytes(),
            "expectation.json": msgspec.json.encode(_expectation(self.rows, signature)),
            "baseline.json": msgspec.json.encode(
                {"name": "everyone", "threshold": 0.0, "constant": 0.7}
            ),
            **more,
        }
        prefix = f"bundles/credit/{number}"
        return self.space.registry.register(
            digest=digest or f"{number:064x}",
            bundle=prefix,
            bundle_digest=write(self.space.objects, self.space.keys, prefix, files),
            run=f"run-{number}",
            snapshot="snap-1",
            runtime="plan",
            reasons=reasons,
            now=START,
        )

    def serve(self, version: ModelVersion, environment: str = "production") -> None:
        promote(
            self.space.registry, version.number, environment,
            by="ada", why="test", now=START, contract=self.space.contract,
        )  # fmt: skip

    def traffic(
        self,
        version: int,
        at: datetime,
        *,
        rows: int = 200,
        change: Callable[[pl.DataFrame], pl.DataFrame] = lambda frame: frame,
        environment: str = "production",
        errors: int = 0,
    ) -> dict[str, str]:
        """Log real applicants as scored at `at`; return what will turn out true of each."""
        number = next(self._numbers)
        part = change(self.rows.sample(rows, seed=number))
        arrival = int(at.timestamp() * 1e6)
        payloads: list[list[Any]] = []
        for place, row in enumerate(part.iter_rows(named=True)):
            values = [[row[name]] for name in INPUTS]
            said = [["1" if row["score"] >= 0.5 else "0"], [row["score"]]]
            request = f"r{number}x{place}"
            payloads.append(
                ["p", request, None, arrival, version, False, 300 + place, "t", 1, values, said]
            )
        error = ["e", arrival, "RuntimeUnavailableError", 503, 90, version]
        self._segment(payloads + [error] * errors, environment)
        return {f"r{number}x{place}-0": label for place, label in enumerate(part["credit_risk"])}

    def outcomes(self, truth: dict[str, str], at: datetime) -> None:
        """Log what turned out."""
        observed = int(at.timestamp() * 1e6)
        rows = [[name, None, label, observed] for name, label in truth.items()]
        self._segment([["f", observed, rows]], "production")

    def _segment(self, payloads: list[list[Any]], environment: str) -> None:
        folder = self.space.settings.home / "log" / "credit" / environment
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{next(self._numbers)}-1-ab.log"
        path.write_bytes(HEADER + b"".join(frame(payload) for payload in payloads))

    def kinds(self, prefix: str = "") -> list[str]:
        return [e.kind for e in self.space.ledger.events() if e.kind.startswith(prefix)]


@lru_cache
def _learned(truth: tuple[float, ...], scores: tuple[float, ...], signature: Signature) -> Any:
    return expectation.fit(signature, {}, np.array(truth), np.array(scores))


def _expectation(rows: pl.DataFrame, signature: Signature) -> Any:
    truth = rows["credit_risk"].cast(pl.Float64).to_list()
    return _learned(tuple(truth), tuple(rows["score"].to_list()), signature)


@pytest.fixture(scope="session")
def applicants(german_credit_csv: Path) -> pl.DataFrame:
    """Real rows, and a score that knows something of their outcome."""
    raw = pl.read_csv(german_credit_csv).with_columns(good=pl.col("credit_risk") == 1)
    known = raw.drop("credit_risk", "good").to_dummies(pl.selectors.string())
    seen = StandardScaler().fit_transform(known.to_numpy())
    model = LogisticRegression(max_iter=300).fit(seen, raw["good"])
    scores = model.predict_proba(seen)[:, 1]
    return raw.select(
        *[
            pl.col(name).cast(pl.Float64 if kind == "number" else pl.String)
            for name, kind in INPUTS.items()
            if kind != "text"
        ],
        pl.col("good").cast(pl.Int8).cast(pl.String).alias("credit_risk"),
        pl.Series("score", scores),
        pl.format("a-{}", pl.int_range(pl.len())).alias("applicant"),
    )


@pytest.fixture
def world(tmp_path: Path, applicants: pl.DataFrame) -> World:
    (tmp_path / "loopline.yaml").write_text(CONTRACT)
    environ = {"LOOPLINE_ACTOR": "ada"}
    return World(Workspace(tmp_path, Settings.read(tmp_path, environ)), applicants)


@pytest.fixture
def day() -> Callable[[float], datetime]:
    """A moment so many days after the project began to serve."""
    return lambda number: START + timedelta(days=number)
