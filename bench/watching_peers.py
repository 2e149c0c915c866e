"""What each contender does with two Parquet files, as its own documentation says to.

Run by path, each in the environment that has it: `python watching_peers.py NAME A B`. The last
line is JSON: `seconds` of the work alone, without imports and, of those that want a frame in
memory, without reading it; and what it found, where that can be compared.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

_MISSING = 0.05
CHECKS = 82
"""40 ranges, 10 sets of values and 32 shares of missing values."""


def decode(first: str, second: str) -> dict[str, object]:
    """Decode both files and look at nothing: what no tool that reads them can go below."""
    import pyarrow.parquet as pq

    began = time.perf_counter()
    for place in (first, second):
        for _ in pq.ParquetFile(place).iter_batches(131072):
            pass
    return {"seconds": time.perf_counter() - began}


def scipy(first: str, second: str) -> dict[str, object]:
    """Read a column of both, compare it exactly, and go on with the next."""
    import numpy as np
    import pyarrow.parquet as pq
    from scipy import stats

    began = time.perf_counter()
    drifted = []
    files = [pq.ParquetFile(place) for place in (first, second)]
    for name in files[0].schema_arrow.names:
        one, other = (file.read([name]).to_pandas()[name].dropna() for file in files)
        if one.dtype.kind == "f":
            found = stats.ks_2samp(one.to_numpy(), other.to_numpy())
            stats.wasserstein_distance(one.to_numpy(), other.to_numpy())
            is_apart = found.statistic > 0.1
        else:
            counts = [column.value_counts() for column in (one, other)]
            names = counts[0].index.union(counts[1].index)
            table = np.array([each.reindex(names, fill_value=0).to_numpy() for each in counts])
            is_apart = stats.chi2_contingency(table).pvalue < 1e-6
        if is_apart:
            drifted.append(name)
    return {"seconds": time.perf_counter() - began, "drifted": drifted}


def evidently(first: str, second: str) -> dict[str, object]:
    """Run Evidently's preset for data drift."""
    import pandas as pd
    from evidently import Report
    from evidently.presets import DataDriftPreset

    one, other = (pd.read_parquet(place) for place in (first, second))
    began = time.perf_counter()
    Report([DataDriftPreset()]).run(other, one).dict()
    return {"seconds": time.perf_counter() - began}


def nannyml(first: str, second: str) -> dict[str, object]:
    """Run NannyML's univariate drift, the whole second file as one chunk."""
    import nannyml as nml
    import pandas as pd

    one, other = (pd.read_parquet(place) for place in (first, second))
    numbers = [name for name in one.columns if one[name].dtype.kind == "f"]
    began = time.perf_counter()
    calculator = nml.UnivariateDriftCalculator(
        column_names=list(one.columns),
        treat_as_categorical=[name for name in one.columns if name not in numbers],
        continuous_methods=["kolmogorov_smirnov", "jensen_shannon", "wasserstein"],
        categorical_methods=["chi2", "jensen_shannon"],
        chunk_size=len(other),
    )
    calculator.fit(one)
    calculator.calculate(other).to_df()
    return {"seconds": time.perf_counter() - began}


def great_expectations(first: str, _second: str) -> dict[str, object]:
    """Validate one suite on a pandas frame."""
    import great_expectations as gx
    import pandas as pd
    from great_expectations import expectations as gxe

    began = time.perf_counter()
    frame = pd.read_parquet(first)
    numbers, texts, sets = _columns(first)
    expected = [
        *(
            gxe.ExpectColumnValuesToBeBetween(column=n, min_value=-1e6, max_value=1e6)
            for n in numbers
        ),
        *(gxe.ExpectColumnValuesToBeInSet(column=n, value_set=sets[n]) for n in texts),
        *(gxe.ExpectColumnValuesToNotBeNull(column=n, mostly=1 - _MISSING) for n in numbers[:32]),
    ]
    context = gx.get_context(mode="ephemeral")
    suite = gx.ExpectationSuite(name="checks", expectations=expected)
    source = context.data_sources.add_pandas("here")
    batch = source.add_dataframe_asset("table").add_batch_definition_whole_dataframe("all")
    found = batch.get_batch(batch_parameters={"dataframe": frame}).validate(suite)
    failing = sum(not one.success for one in found.results)
    return {"seconds": time.perf_counter() - began, "checks": len(expected), "failing": failing}


def pandera(first: str, _second: str) -> dict[str, object]:
    """Validate one schema on a polars frame."""
    import pandera.polars as pa
    import polars as pl

    began = time.perf_counter()
    numbers, texts, sets = _columns(first)
    missing = pa.Check(
        lambda data: data.lazyframe.select(pl.col(data.key).is_null().mean() <= _MISSING),
        ignore_na=False,
    )
    between = pa.Check.in_range(-1e6, 1e6)
    columns = {
        name: pa.Column(float, [between, *[missing] * (place < 32)], nullable=True)
        for place, name in enumerate(numbers)
    } | {name: pa.Column(str, pa.Check.isin(sets[name])) for name in texts}
    failing = 0
    try:
        pa.DataFrameSchema(columns).validate(pl.read_parquet(first), lazy=True)
    except pa.errors.SchemaErrors as errors:
        failing = len(errors.schema_errors)
    return {"seconds": time.perf_counter() - began, "checks": CHECKS, "failing": failing}


def polars(first: str, _second: str) -> dict[str, object]:
    """Write every check as an expression, and collect them in one lazy pass."""
    import polars as pl

    began = time.perf_counter()
    numbers, texts, sets = _columns(first)
    wrong = [(~pl.col(name).is_between(-1e6, 1e6)).sum() for name in numbers]
    wrong += [(~pl.col(name).cast(pl.Enum(sets[name]), strict=False).is_not_null()).sum().alias(
        f"{name} in set") for name in texts]  # fmt: skip
    wrong += [
        (pl.col(name).is_null().mean() > _MISSING).cast(pl.UInt32).alias(f"{name} missing")
        for name in numbers[:32]
    ]
    found = pl.scan_parquet(first).select(wrong).collect().row(0)
    return {
        "seconds": time.perf_counter() - began, "checks": len(found),
        "failing": sum(map(bool, found)),
    }  # fmt: skip


def loopline_checks(first: str, _second: str) -> dict[str, object]:
    """Read, type and validate by a contract, as `loopline run` does with its source."""
    from datetime import UTC, datetime

    from loopline.data.conforming import conform
    from loopline.data.sources.base import read
    from loopline.data.validation import examine
    from loopline.settings import Settings

    began = time.perf_counter()
    wanted = contract(first)
    conformed = conform(read(wanted, Path(), Settings.read(Path())), wanted)
    found = examine(conformed, wanted, datetime.now(UTC))
    stated = [check for check in found.checks if not check.name.startswith("type ")]
    return {
        "seconds": time.perf_counter() - began, "checks": _stated(len(stated)),
        "failing": sum(not check.passed for check in stated),
    }  # fmt: skip


def loopline_stage(first: str, _second: str) -> dict[str, object]:
    """Read and count by a contract, as `loopline run` does at each stage after its source."""
    import polars as pl

    from loopline.data.quality import tally

    began = time.perf_counter()
    wanted = contract(first)
    types = {name: str(column.type) for name, column in wanted.data.columns.items()}
    frame = pl.scan_parquet(first).collect()
    found = tally("training", frame, types, wanted)
    return {
        "seconds": time.perf_counter() - began, "checks": _stated(len(found)),
        "failing": sum(not one.passed for one in found),
    }  # fmt: skip


def contract(first: str) -> Any:
    """Return the 82 checks as a contract has them; what fails is told, and nothing set apart."""
    from loopline.contract.schema import Contract

    numbers, texts, sets = _columns(first)
    columns: dict[str, object] = {
        name: {"type": "number", "minimum": -1e6, "maximum": 1e6, "on_fail": "warn"}
        | ({"missing_at_most": _MISSING} if place < 32 else {})
        for place, name in enumerate(numbers)
    }
    columns |= {n: {"type": "category", "categories": sets[n], "on_fail": "warn"} for n in texts}
    return Contract.model_validate(
        {
            "project": "checks",
            "problem": {"task": "regression", "target": numbers[0]},
            "goals": [{"metric": "rmse", "at_most": 1}],
            "data": {"source": str(Path(first).absolute()), "columns": columns},
        }
    )


def _stated(found: int) -> int:
    """Return how many checks a person wrote: a range has two limits, and is one of the 82."""
    return found - 40


def fairlearn(_first: str, _second: str) -> dict[str, object]:
    """Work out ten metrics by group of three features, as fairlearn's documentation does."""
    from fairlearn.metrics import (
        MetricFrame,
        count,
        false_negative_rate,
        false_positive_rate,
        selection_rate,
        true_negative_rate,
        true_positive_rate,
    )
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, precision_score

    truth, said, features = people()
    metrics = {
        "count": count, "selection_rate": selection_rate, "accuracy": accuracy_score,
        "recall": true_positive_rate, "specificity": true_negative_rate,
        "false_positive_rate": false_positive_rate, "false_negative_rate": false_negative_rate,
        "precision": precision_score, "f1": f1_score, "balanced_accuracy": balanced_accuracy_score,
    }  # fmt: skip
    began = time.perf_counter()
    found = {}
    for name, groups in features.items():
        frame = MetricFrame(metrics=metrics, y_true=truth, y_pred=said, sensitive_features=groups)
        found[name] = float(frame.difference()["selection_rate"])
    return {"seconds": time.perf_counter() - began, "gaps": found}


def loopline_fairness(_first: str, _second: str) -> dict[str, object]:
    """Count decisions by group once, and work the same metrics out of the counts."""
    import numpy as np

    from loopline.counts.decisions import Confusion, fairness, of_decisions

    truth, said, features = people()
    began = time.perf_counter()
    found = {}
    for name, groups in features.items():
        names, places = np.unique(groups, return_inverse=True)
        table = np.bincount(places * 4 + truth * 2 + said, minlength=4 * len(names))
        parts = {
            str(group): Confusion(((int(a), int(b)), (int(c), int(d))))
            for group, (a, b, c, d) in zip(names, table.reshape(-1, 4), strict=True)
        }
        for part in parts.values():
            of_decisions(part)
        found[name] = fairness(parts)["demographic_parity_difference"]
    return {"seconds": time.perf_counter() - began, "gaps": found}


def month(_first: str, _second: str) -> dict[str, object]:
    """Compare a month of a billion predictions of fifty columns, from the counts that were stored.

    Each hour is its own draw, stored by what the fold calls, and spans of hours are closed as it
    closes them. The window begins at noon, and not where a day or a week does.
    """
    import os
    import tempfile
    from datetime import UTC, datetime

    from loopline.counts.statistics import drift
    from loopline.monitoring import hours, spans
    from loopline.monitoring.hours import INPUT, OF_OUTCOMES, Cell
    from loopline.monitoring.windows import Window
    from loopline.store.database import Database

    first, length = 394_200, 720
    window = Window(first + 12, first + 12 + length)
    columns = reference_columns()
    shares = {name: shares_of(after) for name, (_, after) in columns.items()}
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{os.path.join(folder, 'l.db')}")  # noqa: PTH118
        for hour in range(first, first + length + 24):
            rows = _HOURLY + (first + 12 <= hour < first + 12 + _LEFT)
            cells = {
                Cell("prod", 1, hour, name, INPUT): hour_of(after, shares[name], rows, hour)
                for name, (_, after) in columns.items()
            }
            with database.begin() as connection:
                hours.add(connection, "p", cells)
        closed = 0
        while now_closed := spans.close(
            database, "p", datetime(2026, 1, 1, tzinfo=UTC), OF_OUTCOMES
        ):
            closed += now_closed
        took: dict[str, list[float]] = {"seconds": [], "cpu": []}
        for _ in range(7):
            began, cpu = time.perf_counter(), time.process_time()
            total = hours.total(database, "p", "prod", 1, window)
            found = {n: drift(before, total[INPUT, n]) for n, (before, _) in columns.items()}
            took["seconds"].append(time.perf_counter() - began)
            took["cpu"].append(time.process_time() - cpu)
        database.close()
    return {
        "seconds": sorted(took["seconds"])[3], "cpu_ms": round(sorted(took["cpu"])[3] * 1e3, 1),
        "rows": {one.rows for one in found.values()}.pop(), "columns": len(found),
        "spans": closed, "drifted": sorted(n for n, one in found.items() if one.psi > 0.2),
    }  # fmt: skip


_HOURLY, _LEFT = divmod(1_000_000_000, 720)
_LEVELS = (5, 8, 12, 20, 40, 80, 150, 300, 600, 1000)
_MOVED = (1, 9, 17, 25)


def reference_columns() -> dict[str, tuple[Any, Any]]:
    """Return forty columns of numbers and ten of categories: counted before, and after it.

    Four of them have moved, by one.
    """
    import numpy as np

    from loopline.counts.kernel import count_column

    draw = np.random.default_rng(1)
    rows = 400_000
    shapes: list[Callable[[int], Any]] = [
        lambda place: draw.normal(place, 1 + place / 9, rows),
        lambda _: draw.lognormal(0, 1, rows),
        lambda _: draw.poisson(4, rows).astype(float),
        lambda _: draw.exponential(3, rows) * (draw.random(rows) > 0.8),
    ]
    found = {}
    for place in range(40):
        before, after = shapes[place % 4](place), shapes[place % 4](place) + (place in _MOVED)
        before[draw.random(rows) < 0.03] = np.nan
        after[draw.random(rows) < 0.03] = np.nan
        counted = count_column(before)
        found[f"n{place}"] = counted, count_column(after, counted)
    for place, levels in enumerate(_LEVELS):
        texts = np.array([f"v{number}" for number in range(levels)], object)
        counted = count_column(texts[draw.integers(0, levels, rows)])
        found[f"c{place}"] = counted, count_column(texts[draw.integers(0, levels, rows)], counted)
    return found


def shares_of(counted: Any) -> Any:
    """Return the share of each cell and named value of a column, the missing last."""
    import numpy as np

    both = np.concatenate([counted.counts, list(counted.named.values()), [counted.missing]])
    return both / both.sum()


def hour_of(like: Any, shares: Any, rows: int, seed: int) -> Any:
    """Return the counts of so many rows drawn by chance, as an hour that looks like `like`."""
    from dataclasses import replace

    import numpy as np

    drawn = np.random.default_rng(seed).multinomial(rows, shares)
    cells, names = len(like.cells), list(like.named)
    numbers = drawn[cells:-1].tolist()
    is_there = drawn[:cells] > 0
    return replace(
        like, cells=like.cells[is_there], counts=drawn[:cells][is_there], missing=int(drawn[-1]),
        named={name: number for name, number in zip(names, numbers, strict=True) if number},
    )  # fmt: skip


def people() -> tuple[object, object, dict[str, object]]:
    """Return 100,000 decisions, what turned out true, and three features of people."""
    import numpy as np

    draw = np.random.default_rng(3)
    truth = (draw.random(100_000) < 0.3).astype(int)
    said = np.where(draw.random(100_000) < 0.8, truth, draw.integers(0, 2, 100_000))
    return (
        truth,
        said,
        {name: draw.integers(0, n, 100_000) for name, n in (("sex", 2), ("age", 8), ("place", 40))},
    )


def _columns(place: str) -> tuple[list[str], list[str], dict[str, list[str]]]:
    import pyarrow.parquet as pq

    schema = pq.ParquetFile(place).schema_arrow
    numbers = [field.name for field in schema if str(field.type) == "double"]
    texts = [field.name for field in schema if str(field.type) != "double"]
    known = json.loads(Path(place).with_name("sets.json").read_text())
    return numbers, texts, {name: known[name] for name in texts}


CONTENDERS: dict[str, Callable[[str, str], dict[str, object]]] = {
    each.__name__: each
    for each in (
        decode, scipy, evidently, nannyml, great_expectations, pandera, polars, loopline_checks,
        loopline_stage, fairlearn, loopline_fairness, month,
    )
}  # fmt: skip

if __name__ == "__main__":
    # The folder of this file has modules called like the libraries it measures.
    sys.path = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).parent]
    warnings.simplefilter("ignore")
    print(json.dumps(CONTENDERS[sys.argv[1]](*sys.argv[2:4])))
