"""The trained estimator itself: what a plan is proven against, and what answers without one."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from loopline.data.columns import Columns
from loopline.data.row_steps import evaluate
from loopline.extras import require
from loopline.model.signature import Signature, matrix


@dataclass(frozen=True)
class Original:
    """A fitted estimator and what it takes."""

    estimator: Any
    takes: Literal["matrix", "frame"]
    """The float64 code matrix, or a pandas DataFrame with a column per feature."""
    signature: Signature

    def scores(self, columns: Columns) -> np.ndarray:
        """Return probabilities (binary: of the positive class) or predictions."""
        make = matrix if self.takes == "matrix" else frame
        return self.answer(make(self.signature, columns))

    def answer(self, inputs: Any) -> np.ndarray:
        """Return the scores of inputs that are made already."""
        if self.signature.task == "regression":
            predicted = np.asarray(self.estimator.predict(inputs), np.float64)
            return predicted.reshape(len(predicted))
        found = np.asarray(self.estimator.predict_proba(inputs), np.float64)
        return found[:, 1] if self.signature.task == "binary" else found

    def signed(self, signature: Signature) -> "Original":
        """Return the same estimator under a signature that has its threshold."""
        return replace(self, signature=signature)


def frame(signature: Signature, columns: Columns) -> Any:
    """Return a pandas DataFrame of the features: float64 numbers, texts with NaN for missing.

    Raises:
        MissingExtraError: pandas, which only a team's own estimator needs, is not installed.
    """
    pd = require("pandas", extra="own-model")
    rows = len(next(iter(columns.values())))
    seen = {}
    for feature in signature.features:
        values = (
            columns[feature.name]
            if feature.steps is None
            else evaluate(feature.steps, columns, rows)
        )
        if feature.kind == "category":
            values = np.array([np.nan if v is None else v for v in values.tolist()], dtype=object)
            seen[feature.name] = pd.Series(values, dtype=object)
        else:
            seen[feature.name] = pd.Series(np.asarray(values, np.float64))
    return pd.DataFrame(seen)
