"""What the target says about the task: two classes, several, or a number."""

import difflib
import re
from dataclasses import dataclass
from typing import Literal, get_args

import polars as pl

from loopline.data.columns import NUMBER, canonical_text
from loopline.errors import SourceError

Task = Literal["binary", "multiclass", "regression"]
TASKS: tuple[str, ...] = get_args(Task)

_MOST_CLASSES = 50
_CLASSES_OF_NUMBERS = 12
_ORDERED = [("0", "1"), ("false", "true"), ("f", "t"), ("no", "yes"), ("n", "y"), ("-1", "1")]
_NUMBERS_AS_TEXT = re.compile(r"[-+]?[\d.,' ]+[%€$£]?")


@dataclass(frozen=True)
class TargetGuess:
    """The task, and which class is the positive one."""

    name: str
    task: Task
    why: str
    kind: str
    """The target's type in the contract."""
    classes: tuple[str, ...] = ()
    """Most frequent first, as text; empty for a regression."""
    positive: str | None = None
    why_positive: str = ""
    unlabelled: int = 0


def guess_target(values: pl.Series, kind: str, task: str | None = None) -> TargetGuess:
    """Conclude the task from the target's values (missing ones null) and their type.

    Args:
        values: the target's column.
        kind: its contract type.
        task: where the person says it.

    Raises:
        SourceError: this target cannot be predicted as it stands.
    """
    name, distinct = values.name, values.n_unique() - (values.null_count() > 0)
    if distinct == 0:
        raise SourceError(f"The target '{name}' is missing in every row. Choose another column.")
    if distinct == 1:
        gaps = values.null_count()
        rest = f" but the {gaps:,} that have none" if gaps else ""
        raise SourceError(
            f"The target '{name}' is {values.drop_nulls()[0]!r} in every row{rest}: there is "
            "nothing to tell apart. Choose another column, or bring rows of the other kind."
        )
    chosen, why = _task(values, kind, distinct)
    if task is not None:
        why = "as --task says"
        chosen = _said(task, kind, distinct, name)
    if chosen == "regression":
        return TargetGuess(name, chosen, why, kind, unlabelled=values.null_count())
    classes = _classes(values)
    positive, reason = _positive(classes) if chosen == "binary" else (None, "")
    return TargetGuess(
        name, chosen, why, "category", classes, positive, reason, values.null_count()
    )


def require_target(target: str, columns: list[str], hint: str = "") -> None:
    """Raise unless `target` is one of `columns`; name the nearest unless there is a better hint."""
    if target in columns:
        return
    folded = {column.lower().strip(): column for column in columns}
    close = difflib.get_close_matches(target.lower().strip(), list(folded), n=1, cutoff=0.5)
    if not hint and close:
        hint = f"Did you mean '{folded[close[0]]}'? "
    shown = ", ".join(columns[:30]) + (", ..." if len(columns) > 30 else "")
    raise SourceError(f"There is no column '{target}'. {hint}Columns: {shown}.")


def _task(values: pl.Series, kind: str, distinct: int) -> tuple[Task, str]:
    is_number = kind in {"number", "integer"}
    if distinct == 2:
        return "binary", "the target has two values"
    if is_number and distinct <= _CLASSES_OF_NUMBERS and _all_whole(values):
        why = (
            f"the target has {distinct} whole numbers; regression if their distance means something"
        )
        return "multiclass", why
    if is_number:
        return "regression", f"the target has {distinct:,} different numbers"
    if kind != "time" and distinct <= min(_MOST_CLASSES, len(values) / 2):
        return "multiclass", f"the target has {distinct} classes"
    raise SourceError(_refusal(values, kind, distinct))


def _refusal(values: pl.Series, kind: str, distinct: int) -> str:
    begin = f"The target '{values.name}' has {distinct:,} different "
    if kind == "time":
        return f"{begin}times. A time cannot be predicted; use a number, such as days until then."
    texts = values.drop_nulls().cast(pl.String)
    odd = texts.filter(~texts.str.contains(NUMBER))
    example = str(odd[0] if len(odd) else texts[0])
    if len(odd) < len(texts) / 2:
        return (
            f"{begin}values, {len(odd):,} of them no number, such as {example!r:.60}. Mend "
            "them; a text that means missing can be written as nothing."
        )
    if _NUMBERS_AS_TEXT.fullmatch(example):
        return (
            f"{begin}texts that look like numbers, such as {example!r}. Write numbers as 1234.5, "
            "without thousands separators, decimal commas or units."
        )
    return (
        f"{begin}texts, such as {example!r:.60}: too many for classes ({_MOST_CLASSES} at most, "
        "each in several rows), and no numbers. Choose another column."
    )


def _said(task: str, kind: str, distinct: int, name: str) -> Task:
    if task == "regression" and kind not in {"number", "integer"}:
        raise SourceError(f"--task is regression, but the target '{name}' is no number ({kind}).")
    if task == "binary" and distinct != 2:
        raise SourceError(f"--task is binary, but the target '{name}' has {distinct:,} values.")
    if task == "multiclass" and distinct > _MOST_CLASSES:
        raise SourceError(
            f"--task is multiclass, but the target '{name}' has {distinct:,} values; "
            f"{_MOST_CLASSES} at most can be classes."
        )
    return next(known for known in get_args(Task) if known == task)


def _all_whole(values: pl.Series) -> bool:
    numbers = values.drop_nulls().cast(pl.Float64, strict=False)
    return bool((numbers == numbers.floor()).all())


def _classes(values: pl.Series) -> tuple[str, ...]:
    counts = values.drop_nulls().alias("class").value_counts(sort=True, name="rows")
    found: dict[str, int] = {}
    for value, count in counts.iter_rows():
        label = canonical_text(value)
        if label is not None:
            found[label] = found.get(label, 0) + count
    return tuple(sorted(found, key=lambda label: (-found[label], label)))


def _positive(classes: tuple[str, ...]) -> tuple[str, str]:
    lowered = {label.lower(): label for label in classes}
    for low, high in _ORDERED:
        if set(lowered) == {low, high}:
            return lowered[high], f"the probability is of this one; of {low} and {high} it says yes"
    return classes[-1], "the probability is of this one, the rarer of the two"
