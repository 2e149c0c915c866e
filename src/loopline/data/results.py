"""What one check found: the record that validation and suites share."""

from dataclasses import dataclass
from typing import Any

from loopline.contract.schema import OnFail


@dataclass(frozen=True)
class CheckResult:
    """One check of the contract, and how many rows fail it."""

    name: str
    """What is checked, as a person says it: `maximum 150`, `unique key`."""
    column: str | None
    on_fail: OnFail
    failed: int
    """Rows that fail; of a check of the whole, all of them."""
    share: float
    examples: tuple[dict[str, Any], ...]
    """The first rows that fail: `row`, from 1 as the source gives them, and the values."""
    passed: bool

    def __str__(self) -> str:
        subject = f"{self.column}: {self.name}" if self.column else self.name
        if self.passed:
            return f"{subject}: holds"
        said = "; ".join(
            ", ".join(f"{name} {value}" for name, value in example.items())
            for example in self.examples[:2]
        )
        rows = f"{self.failed:,} row{'s' * (self.failed != 1)} ({self.share:.2%})"
        return f"{subject}: {rows} {self.on_fail}ed" + (f", such as {said}" if said else "")


def share_of(failed: int, rows: int) -> float:
    """Return which share of the rows failed; a query may find more wrong rows than there are."""
    return min(failed / rows, 1.0) if rows else float(failed > 0)
