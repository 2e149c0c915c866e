"""What NannyML and Evidently say of two tables: run by path, each in the environment that has it.

    python examples_peers.py NAME FOLDER

The folder has `reference.parquet`, `current.parquet` and `spec.json`, which says what each column
is and how many rows a chunk has. The last line printed is JSON.
"""

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

THRESHOLD = 0.1
"""NannyML's default: a Jensen-Shannon distance above it is an alert."""


def nannyml(folder: Path) -> dict[str, Any]:
    """Run NannyML with its defaults: drift of each column, performance estimated and realised."""
    import nannyml as nml

    reference, current, spec = _tables(folder)
    numbers, texts, size = spec["numbers"], spec["texts"], spec["chunk"]
    drift = nml.UnivariateDriftCalculator(
        column_names=[*numbers, *texts], treat_as_categorical=texts, chunk_size=size
    )
    found = _of_current(drift.fit(reference).calculate(current))
    at_once = nml.UnivariateDriftCalculator(
        column_names=[*numbers, *texts], treat_as_categorical=texts, chunk_size=len(current)
    )
    whole = _of_current(at_once.fit(reference).calculate(current))
    distance = {name: found[name, "jensen_shannon", "value"].tolist() for name in numbers + texts}
    once = {name: whole[name, "jensen_shannon", "value"].tolist()[0] for name in numbers + texts}
    return {"chunks": distance, "whole": once, **_performance(nml, reference, current, spec)}


def _performance(nml: Any, reference: Any, current: Any, spec: dict[str, Any]) -> dict[str, Any]:
    """Return the estimated and realised figure of each chunk."""
    if spec["task"] is None:
        return {}
    known = {"y_true": spec["target"], "y_pred": spec["said"], "chunk_size": spec["chunk"]}
    problem = {
        "binary": "classification_binary", "multiclass": "classification_multiclass",
        "regression": "regression",
    }[spec["task"]]  # fmt: skip
    metric = spec["metric"]
    if spec["task"] == "regression":
        estimator = nml.DLE(
            feature_column_names=spec["numbers"] + spec["texts"], metrics=[metric], **known
        )
    else:
        given = spec["given"]
        known["y_pred_proba"] = given if len(given) > 1 else next(iter(given.values()))
        estimator = nml.CBPE(problem_type=problem, metrics=[metric], **known)
    calculator = nml.PerformanceCalculator(problem_type=problem, metrics=[metric], **known)
    estimated = _of_current(estimator.fit(reference).estimate(current))
    realised = _of_current(calculator.fit(reference).calculate(current))
    return {
        "estimated": estimated[metric, "value"].tolist(),
        "low": estimated[metric, "lower_confidence_boundary"].tolist(),
        "high": estimated[metric, "upper_confidence_boundary"].tolist(),
        "realised": realised[metric, "value"].tolist(),
    }


def _of_current(found: Any) -> Any:
    """Return a frame of the current table's chunks; those of the reference are in there too."""
    return found.filter(period="analysis").to_df()


def evidently(folder: Path) -> dict[str, Any]:
    """Run Evidently's preset for data drift with its defaults."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    reference, current, spec = _tables(folder)
    columns = DataDefinition(numerical_columns=spec["numbers"], categorical_columns=spec["texts"])
    named = spec["numbers"] + spec["texts"]
    one, other = (
        Dataset.from_pandas(frame[named], data_definition=columns) for frame in (reference, current)
    )
    found = Report([DataDriftPreset()]).run(other, one).dict()
    whole = {}
    for metric in found["metrics"]:
        config = metric.get("config", {})
        if config.get("type") == "evidently:metric_v2:ValueDrift":
            name, limit = config["column"], float(config["threshold"])
            value, method = float(metric["value"]), str(config["method"])
            drifted = value < limit if "p_value" in method else value >= limit
            whole[name] = {"value": value, "method": method, "drifted": drifted}
    return {"whole": whole}


def _tables(folder: Path) -> tuple[Any, Any, dict[str, Any]]:
    import pandas as pd

    spec = json.loads((folder / "spec.json").read_text())
    # NannyML's estimator of losses takes no texts as pandas 3 keeps them.
    pd.set_option("future.infer_string", False)
    one, other = (pd.read_parquet(folder / f"{name}.parquet") for name in ("reference", "current"))
    return one, other, spec


CONTENDERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    each.__name__: each for each in (nannyml, evidently)
}

if __name__ == "__main__":
    # The folder of this file has modules called like the libraries it asks.
    sys.path = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).parent]
    warnings.simplefilter("ignore")
    print(json.dumps(CONTENDERS[sys.argv[1]](Path(sys.argv[2]))))
