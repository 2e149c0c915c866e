"""The exact scoring plan, in this process."""

import numpy as np

from loopline.data.columns import Columns
from loopline.model.bundle import Bundle
from loopline.model.signature import matrix

__all__ = ["PlanRuntime"]


class PlanRuntime:
    """Answers from a bundle's plan."""

    def __init__(self, bundle: Bundle) -> None:
        if bundle.plan is None:
            raise ValueError(f"{bundle.prefix} has no plan")
        self._plan, self._signature = bundle.plan, bundle.signature

    def score(self, columns: Columns) -> np.ndarray:
        """Return the scores of the rows of `columns`."""
        return self._plan.score(matrix(self._signature, columns))

    def close(self) -> None:
        """Nothing is held."""
