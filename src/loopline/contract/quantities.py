"""Numbers, shares and times as a person writes them: `0.65`, `5%`, `25 ms`, `7 days`.

A message here is the second half of a sentence, "KEY is VALUE, but ...", that `load.py` begins.
"""

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_UNITS = {
    "us": 1e-6, "ms": 1e-3, "s": 1.0, "second": 1.0, "seconds": 1.0,
    "minute": 60.0, "minutes": 60.0, "hour": 3600.0, "hours": 3600.0,
    "day": 86400.0, "days": 86400.0, "week": 604800.0, "weeks": 604800.0,
}  # fmt: skip
_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*([a-z]*|%)\s*")


class Amount(float):
    """A number as the contract writes it: `0.65`, `5%` (0.05) or `25 ms` (0.025 seconds)."""

    unit: str
    """`""`, `"%"` or `"s"`."""

    def __new__(cls, value: float, unit: str = "") -> "Amount":
        """Make an amount from a plain number and its unit."""
        amount = super().__new__(cls, value)
        amount.unit = unit
        return amount

    @classmethod
    def parse(cls, value: object) -> "Amount":
        """Read `0.65`, `"5%"`, `"25 ms"` or `"7 days"`.

        Raises:
            ValueError: it is none of these.
        """
        if isinstance(value, Amount):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return cls(_finite(float(value)))
        match = _QUANTITY.fullmatch(str(value).lower())
        if match is None:
            raise ValueError(
                "this must be a number, a percentage such as 5% or a time such as 25 ms"
            )
        number, unit = _finite(float(match[1])), match[2]
        if unit == "%":
            return cls(number / 100, "%")
        if unit and unit not in _UNITS:
            raise ValueError(f"there is no unit '{unit}'. Units: %, {', '.join(_UNITS)}")
        return cls(number * _UNITS[unit], "s") if unit else cls(number)

    def __str__(self) -> str:
        if self.unit == "%":
            return f"{float(self) * 100:g}%"
        if self.unit == "s":
            return f"{float(self) * 1000:g} ms" if abs(self) < 1 else f"{float(self):g} s"
        return f"{float(self):g}"

    def written(self) -> float | str:
        """Return what the contract would say, so that reading it gives this very amount."""
        if not self.unit:
            return float(self)
        exact = f"{float(self)!r} s" if self.unit == "s" else f"{float(self) * 100!r}%"
        for text in (str(self), exact):
            again = Amount.parse(text)
            if again == self and again.unit == self.unit:
                return text
        return float(self)  # a share whose percentage is not exact


def _finite(value: float) -> float:
    if abs(value) == float("inf") or value != value:  # noqa: PLR0124  # NaN
        raise ValueError("this must be a finite number")
    return value


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    amount = Amount.parse(value)
    if amount.unit != "s" or not 0 < amount < 1e10:
        raise ValueError("this must be a time such as 7 days or 12 hours")
    return timedelta(seconds=float(amount))


def _written_duration(value: timedelta) -> str:
    seconds = value.total_seconds()
    return f"{value.days} days" if seconds == value.days * 86400 else f"{seconds!r} seconds"


def _share(value: object) -> float:
    amount = Amount.parse(value)
    if amount.unit == "s" or not 0 <= amount <= 1:
        raise ValueError("a share lies between 0% and 100%")
    return float(amount)


def canonical_text(value: object) -> object:
    """Return a YAML scalar as the text that the data's values are compared with: 5.0 is `5`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int | float) else value


def _schema(description: str, *examples: Any) -> WithJsonSchema:
    return WithJsonSchema(
        {"type": ["number", "string"], "description": description, "examples": list(examples)}
    )


Quantity = Annotated[
    Amount,
    BeforeValidator(Amount.parse),
    PlainSerializer(Amount.written),
    _schema("A number, a percentage or a time.", 0.65, "5%", "25 ms"),
]
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(_written_duration),
    WithJsonSchema({"type": "string", "description": "A time.", "examples": ["7 days"]}),
]
Share = Annotated[float, BeforeValidator(_share), _schema("A share.", "70%", 0.7)]
Text = Annotated[
    str,
    BeforeValidator(canonical_text),
    WithJsonSchema({"type": ["string", "number", "boolean"]}),
]
"""A value of the data; YAML's numbers and booleans are taken as text."""
