"""Gradient boosted trees on histograms: categories and missing values as they are."""

from typing import Any, ClassVar

from loopline.contract.money import best_quantile
from loopline.training.candidates.base import Parameters, Range, Takes, Task

__all__ = ["BoostedTrees"]


class BoostedTrees:
    """scikit-learn's histogram gradient boosting, without early stopping.

    The number of trees is searched like the rest: stopping early would hold rows back from the
    final fit. A regression whose errors have prices learns the quantile that costs least.
    """

    takes: ClassVar[Takes] = "matrix"
    defaults: ClassVar[Parameters] = {
        "trees": 100,
        "learning_rate": 0.06,
        "leaves": 15,
        "rows_per_leaf": 20,
        "regularisation": 1.0,
    }
    space: ClassVar[dict[str, Range]] = {
        "trees": Range(30, 250, whole=True),
        "learning_rate": Range(0.02, 0.3),
        "leaves": Range(4, 48, whole=True),
        "rows_per_leaf": Range(5, 200, whole=True),
        "regularisation": Range(0.01, 100.0),
    }

    def build(self, task: Task, parameters: Parameters) -> Any:
        """Return an estimator over the code matrix."""
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        shared = {
            "max_iter": parameters["trees"],
            "learning_rate": parameters["learning_rate"],
            "max_leaf_nodes": parameters["leaves"],
            "min_samples_leaf": parameters["rows_per_leaf"],
            "l2_regularization": parameters["regularisation"],
            "categorical_features": task.categories,
            "early_stopping": False,
            "random_state": task.contract.model.seed,
        }
        if task.signature.task != "regression":
            return HistGradientBoostingClassifier(**shared)
        quantile = best_quantile(task.contract.problem)
        if quantile is None:
            return HistGradientBoostingRegressor(**shared)
        return HistGradientBoostingRegressor(loss="quantile", quantile=quantile, **shared)
