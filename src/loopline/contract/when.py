"""The conditions of `respond`: `METRIC OP NUMBER[%]`, `goal missed` or `drift`."""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from loopline.contract.metrics import METRICS, WATCHED, Metric
from loopline.contract.quantities import Amount

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_CONDITION = re.compile(r"\s*([A-Za-z_]\w*)\s*([<>]=?)\s*(.+)")
KNOWN: dict[str, Metric] = {**METRICS, **WATCHED}
"""What a condition may name."""


@dataclass(frozen=True)
class When:
    """One condition, parsed."""

    kind: Literal["metric", "goal missed", "drift"]
    metric: str = ""
    op: str = ""
    limit: Amount = Amount(0.0)  # noqa: RUF009  # an immutable float

    def holds(self, value: float) -> bool:
        """Whether a metric's `value` meets the condition; not a number never does."""
        return _OPERATORS[self.op](value, self.limit)


def parse_when(text: str) -> When:
    """Read a condition.

    Raises:
        ValueError: it is none; the message completes the sentence "KEY is VALUE, but ...".
    """
    words = " ".join(text.lower().split())
    if words == "goal missed":
        return When("goal missed")
    if words == "drift":
        return When("drift")
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ValueError(
            "a condition is 'goal missed', 'drift' or a metric compared with a number, "
            "such as 'error_rate > 1%'"
        )
    return When("metric", match[1], match[2], Amount.parse(match[3]))
