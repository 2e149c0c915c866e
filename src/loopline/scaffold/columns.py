"""What one column is, and whether a model may see it.

When in doubt a column is kept out: adding it back is one word, and a model that learned row
numbers or someone's e-mail address is hard to notice.
"""

from dataclasses import dataclass
from typing import Any

import polars as pl

from loopline.scaffold import words
from loopline.scaffold.facts import Facts

_LISTED_CATEGORIES, _LISTED_LENGTH = 12, 120
_NEAR_UNIQUE = 0.5
_FEW = 20
_ODD_FORMATS = {
    # What some of them hold, how every one is written, and what to say of it.
    ",": (
        r"^[-+]?([1-9]\d{0,2}(,\d{3})+|\d{1,3})(\.\d+)?$",
        "numbers with thousands separators, such as {}: text here; write 1234 to use them as "
        "numbers",
    ),
    r",\d": (
        r"^[-+]?\d+(,\d+)?$",
        "numbers with decimal commas, such as {}: text here; write 1.5 for 1,5 to use them as "
        "numbers",
    ),
    r"[$€£¥%]": (
        r"^[-+]?[$€£¥]? ?[-+]?\d[\d,.]* ?[$€£¥%]?$",
        "numbers with a sign, such as {}: text here; write 12.5 to use them as numbers",
    ),
    r"[./-]": (
        r"^\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b",
        "dates such as {}: text here, since day and month could be either; write 2013-04-01 to "
        "use them as times",
    ),
    r"^\d{4}-\d{2}$": (
        r"^(18|19|20)\d{2}-(0[1-9]|1[0-2])$",
        "months such as {}: text here; write 2013-04-01 to use them as times",
    ),
    r"(?i)\d ?[ap]m$": (
        r"(?i)^(\d{4}-\d{2}-\d{2} )?\d{1,2}:\d{2}(:\d{2})? ?[ap]m$",
        "times such as {}: text here; write 2013-04-01 18:30 to use them as times",
    ),
    r"\p{L}{3}": (
        r"(?i)^(\p{L}{3,9},? )?(\d{1,2}[ -])?(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
        r"[a-z]*\.?[ -](\d{1,2},? )?\d{2,4}\b",
        "dates such as {}: text here; write 2013-04-01 to use them as times",
    ),
}
_DAY = r"^(19|20)\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$"
_HUGEST = 1e300
_SECONDS = 600_000_000, 2_200_000_000  # from 1989 to 2039, in seconds since 1970
_UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}


@dataclass(frozen=True)
class ColumnGuess:
    """One column as the contract will name it, and why."""

    name: str
    keys: dict[str, Any]
    why: str = ""

    @property
    def reaches_model(self) -> bool:
        """Whether a model will see it."""
        kept_out = self.keys.get("leaks") or self.keys.get("personal") == "direct"
        is_feature = self.keys.get("feature", True) and not kept_out
        return is_feature and self.keys["type"] not in {"text", "time"}


def guess_column(facts: Facts, name: str) -> ColumnGuess:
    """Conclude what a column is from its name and its values."""
    kind = facts.types[name]
    if facts.distinct[name] == 0:
        return ColumnGuess(name, {"type": kind, "feature": False}, "missing in every row")
    if facts.distinct[name] == 1 and facts.missing[name] == 0:
        return ColumnGuess(name, {"type": kind, "feature": False}, "the same value in every row")
    if (person := _person(facts, name)) is not None:
        return ColumnGuess(name, {"type": kind, "personal": "direct"}, person)
    if kind in {"category", "text"}:
        return _text(facts, name)
    if kind in {"number", "integer"}:
        return _number(facts, name)
    if kind == "time":
        return ColumnGuess(name, {"type": kind}, "a time: only features made of it reach a model")
    return ColumnGuess(name, {"type": kind})


def names_rows(facts: Facts, name: str) -> bool:
    """Whether a column has a value in every row, each different, and is called an identifier."""
    is_unique = facts.missing[name] == 0 and facts.distinct[name] == facts.rows > 1
    return (
        is_unique
        and facts.types[name] in {"integer", "category", "text"}
        and words.is_identifier(name)
    )


def names_entities(facts: Facts, name: str) -> bool:
    """Whether a column looks like the identifier of something that several rows are about."""
    return (
        facts.types[name] in {"integer", "category", "text"}
        and words.words(name)[-1:] in (["id"], ["uuid"], ["guid"])
        and 0.02 < facts.share_distinct(name) < 0.8
        and facts.distinct[name] > _FEW
    )


def _person(facts: Facts, name: str) -> str | None:
    kind = facts.types[name]
    many = facts.distinct[name] >= min(_FEW, 0.3 * facts.rows)
    if words.names_a_person(name) and kind in {"integer", "category", "text"} and many:
        return "called like something that names a person"
    if kind not in {"category", "text"}:
        return None
    values = facts.texts(name, 500)
    for what, pattern in words.VALUE_PATTERNS.items():
        if values.str.contains(pattern).mean() >= 0.8:  # type: ignore[operator]  # never empty
            return f"its values look like {what}"
    return None


def _text(facts: Facts, name: str) -> ColumnGuess:
    distinct = facts.distinct[name]
    odd = _odd_format(facts.texts(name))
    if odd is not None and distinct > _FEW:
        return ColumnGuess(name, {"type": "text", "feature": False}, odd)
    if facts.share_distinct(name) > _NEAR_UNIQUE and distinct > _FEW:
        why = f"{distinct:,} different texts in {facts.rows:,} rows: no category to learn from"
        return ColumnGuess(name, {"type": "text", "feature": False}, why)
    keys: dict[str, Any] = {"type": "category"}
    if distinct <= _LISTED_CATEGORIES:
        categories = facts.frame.get_column(name).drop_nulls().unique().sort().to_list()
        if sum(map(len, categories)) <= _LISTED_LENGTH:
            keys["categories"] = categories
    return ColumnGuess(name, keys, odd or "")


def _odd_format(values: pl.Series) -> str | None:
    for sign, (pattern, text) in _ODD_FORMATS.items():
        fits = values.str.contains(pattern)
        telling = values.filter(fits & values.str.contains(sign))
        if len(telling) and fits.mean() >= 0.95:  # type: ignore[operator]
            return text.format(telling[0])
    return None


def _number(facts: Facts, name: str) -> ColumnGuess:
    kind, low, high = facts.types[name], facts.lowest[name], facts.highest[name]
    if kind == "integer" and facts.share_distinct(name) == 1 and facts.distinct[name] > _FEW:
        if high - low == facts.distinct[name] - 1:
            why = "numbers the rows: the next row has a value no model has seen"
            return ColumnGuess(name, {"type": kind, "feature": False}, why)
        if words.is_identifier(name) or words.is_nameless(name):
            why = "called like an identifier, and different in every row"
            return ColumnGuess(name, {"type": kind, "feature": False}, why)
    if (largest := max(abs(low), abs(high))) > _HUGEST:
        why = f"up to {largest:.2g}: sums of such numbers overflow; use another unit"
        return ColumnGuess(name, {"type": kind, "feature": False}, why)
    if kind == "integer" and facts.distinct[name] > _FEW and low >= 19000101 and high <= 20991231:
        days = facts.texts(name)
        if days.str.contains(_DAY).all():
            why = f"dates such as {days[0]}: a number here; write 2013-04-01 to use them as times"
            return ColumnGuess(name, {"type": kind, "feature": False}, why)
    if (unit := _since_1970(facts, name)) is not None:
        why = f"{unit} since 1970, such as {low}: a number here; write 2013-04-01T06:30:00Z to use "
        return ColumnGuess(name, {"type": kind, "feature": False}, why + "them as times")
    return ColumnGuess(name, {"type": kind, "minimum": low, "maximum": high})


def _since_1970(facts: Facts, name: str) -> str | None:
    """Return the unit in which a column counts the time since 1970, if it does.

    A model that learned from it would meet only larger numbers afterwards.
    """
    low, high = facts.lowest[name], facts.highest[name]
    if facts.distinct[name] <= _FEW or not words.tells_a_moment(name):
        return None
    begin, end = _SECONDS
    return next((u for u, by in _UNITS.items() if begin * by <= low and high <= end * by), None)
