"""Regularised linear models: logistic regression, and ridge regression.

Numbers have their gaps filled with the median, with a column beside that says so, and are
scaled; every category, a missing one and the rare ones together get a column of their own.
"""

from typing import Any, ClassVar

import numpy as np

from loopline.training.candidates.base import Parameters, Range, Takes, Task

__all__ = ["Linear"]


class Linear:
    """Logistic regression for classes, ridge regression for numbers."""

    takes: ClassVar[Takes] = "matrix"
    defaults: ClassVar[Parameters] = {"regularisation": 1.0}
    space: ClassVar[dict[str, Range]] = {"regularisation": Range(0.01, 1000.0)}

    def build(self, task: Task, parameters: Parameters) -> Any:
        """Return a pipeline; `regularisation` is the weight of the squared coefficients."""
        from sklearn.compose import ColumnTransformer
        from sklearn.impute import SimpleImputer
        from sklearn.linear_model import LogisticRegression, Ridge
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        categories = np.array(task.categories)
        fill = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
        parts = [
            ("number", Pipeline([("fill", fill), ("scale", StandardScaler())]), ~categories),
            ("category", OneHotEncoder(handle_unknown="ignore"), categories),
        ]
        prepare = ColumnTransformer(
            [(name, step, np.flatnonzero(where).tolist()) for name, step, where in parts]
        )
        weight = parameters["regularisation"]
        if task.signature.task == "regression":
            model: Any = Ridge(alpha=weight)
        else:
            model = LogisticRegression(C=1 / weight, max_iter=1000)
        return Pipeline([("prepare", prepare), ("model", model)])
