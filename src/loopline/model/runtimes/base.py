"""How a model version answers."""

from typing import Protocol

import numpy as np

from loopline.data.columns import Columns


class Runtime(Protocol):
    """Scores rows; a file of this folder is one way to."""

    def score(self, columns: Columns) -> np.ndarray:
        """Return the scores of the rows of `columns`, the signature's inputs.

        Raises:
            RuntimeUnavailableError: the model does not answer.
        """
        ...

    def close(self) -> None:
        """Let go of what the runtime holds."""
        ...
