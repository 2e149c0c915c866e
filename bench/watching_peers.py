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
    return {
        "seconds": time.perf_counter() - began, "checks": len(expected), "holds": found.success
    }  # fmt: skip


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
    pa.DataFrameSchema(columns).validate(pl.read_parquet(first), lazy=True)
    return {"seconds": time.perf_counter() - began, "checks": CHECKS, "holds": True}


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
        "seconds": time.perf_counter() - began, "checks": len(found), "holds": not any(found)
    }  # fmt: skip


def loopline_checks(first: str, _second: str) -> dict[str, object]:
    """Conform and validate by a contract, as `loopline run` does with its source."""
    from datetime import UTC, datetime

    import polars as pl

    from loopline.contract.schema import Contract
    from loopline.data.validation import conform, validate

    numbers, texts, sets = _columns(first)
    began = time.perf_counter()
    columns: dict[str, object] = {
        name: {"type": "number", "minimum": -1e6, "maximum": 1e6}
        | ({"missing_at_most": _MISSING} if place < 32 else {})
        for place, name in enumerate(numbers)
    }
    columns |= {name: {"type": "category", "categories": sets[name]} for name in texts}
    contract = Contract.model_validate(
        {
            "project": "checks",
            "problem": {"task": "regression", "target": numbers[0]},
            "goals": [{"metric": "rmse", "at_most": 1}],
            "data": {"source": first, "columns": columns},
        }
    )
    found = validate(conform(pl.read_parquet(first), contract), contract, datetime.now(UTC))
    stated = [check for check in found.checks if not check.name.startswith("type ")]
    return {
        "seconds": time.perf_counter() - began,
        "checks": len(stated),
        "holds": all(check.passed for check in stated),
    }


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

    from loopline.counts.quality import Confusion, fairness, of_decisions

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
    """Add a month of stored hourly counts of a billion predictions, and compare them."""
    import os
    import tempfile

    import numpy as np

    from loopline.counts.kernel import Profile, count_column
    from loopline.counts.statistics import drift
    from loopline.monitoring import hours
    from loopline.monitoring.hours import INPUT, Cell
    from loopline.monitoring.windows import Window
    from loopline.store.database import Database

    rows, wide, length = 1_000_000_000, 5, 720
    draw = np.random.default_rng(1)
    names = [f"x{place}" for place in range(wide)]
    before = [draw.normal(30 + place, 4, 200_000) for place in range(wide)]
    profile = Profile({n: count_column(v) for n, v in zip(names, before, strict=True)})
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{os.path.join(folder, 'l.db')}")  # noqa: PTH118
        for place, name in enumerate(names):
            hour = count_column(draw.normal(30.5 + place, 4, rows // length), profile.columns[name])
            cells = {Cell("prod", 1, at, name, INPUT): hour for at in range(length)}
            with database.begin() as connection:
                hours.add(connection, "p", cells)
        seconds = []
        for _ in range(5):
            began = time.perf_counter()
            total = hours.total(database, "p", "prod", 1, Window(0, length))
            found = {name: drift(profile.columns[name], total[INPUT, name]) for name in names}
            seconds.append(time.perf_counter() - began)
        counted = sum(one.rows for one in found.values()) // wide
        database.close()
    return {
        "seconds": sorted(seconds)[2], "rows": counted, "columns": wide,
        "psi": [round(one.psi, 6) for one in found.values()],
    }  # fmt: skip


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
        fairlearn, loopline_fairness, month,
    )
}  # fmt: skip

if __name__ == "__main__":
    # The folder of this file has modules called like the libraries it measures.
    sys.path = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).parent]
    warnings.simplefilter("ignore")
    print(json.dumps(CONTENDERS[sys.argv[1]](*sys.argv[2:4])))
