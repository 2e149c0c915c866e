"""One kind of model that a training may choose."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from loopline.contract.schema import Contract
from loopline.model.signature import Signature

Parameters = dict[str, Any]
Takes = Literal["matrix", "frame"]
"""What `fit` and `predict` get: the float64 code matrix, or a pandas DataFrame."""


@dataclass(frozen=True)
class Range:
    """The values a search may try for one parameter."""

    low: float
    high: float
    whole: bool = False
    log: bool = True


@dataclass(frozen=True)
class Task:
    """What a candidate is to be built for."""

    contract: Contract
    signature: Signature

    @property
    def categories(self) -> list[bool]:
        """Whether each column of the matrix holds category codes."""
        return [feature.kind == "category" for feature in self.signature.features]


class Candidate(Protocol):
    """Builds unfitted scikit-learn estimators; a file of this folder is one kind."""

    takes: ClassVar[Takes]
    defaults: ClassVar[Parameters]
    """The first trial."""
    space: ClassVar[dict[str, Range]]
    """What the search may change; empty when there is nothing to search."""

    def build(self, task: Task, parameters: Parameters) -> Any:
        """Return an unfitted estimator. The same arguments give the same model to the bit."""
        ...
