"""What a training starts from, gathered once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from loopline.contract.schema import Contract
from loopline.data.columns import Columns
from loopline.data.snapshots import Snapshot

if TYPE_CHECKING:
    from loopline.data.splits import Parts
    from loopline.data.target import Target


@dataclass(frozen=True)
class Material:
    """A snapshot as columns, its truth and its parts."""

    contract: Contract
    snapshot: Snapshot
    columns: Columns
    types: Mapping[str, str]
    """Column to contract type."""
    target: "Target"
    parts: "Parts"

    @property
    def training(self) -> np.ndarray:
        """Places of the training rows with known truth."""
        return self._known(self.parts.train)

    @property
    def validation(self) -> np.ndarray:
        """Places of the validation rows with known truth."""
        return self._known(self.parts.validation)

    @property
    def test(self) -> np.ndarray:
        """Places of the test rows with known truth."""
        return self._known(self.parts.test)

    @property
    def taught(self) -> np.ndarray:
        """Places of the rows that a model learns from, its threshold included."""
        return np.concatenate([self.training, self.validation])

    def rows(self, places: np.ndarray) -> Columns:
        """Return the columns of these rows."""
        return {name: values[places] for name, values in self.columns.items()}

    def _known(self, places: np.ndarray) -> np.ndarray:
        known: np.ndarray = places[np.isfinite(self.target.values[places])]
        return known
