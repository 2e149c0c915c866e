"""Steps that turn categories into numbers."""

from typing import Any

import numpy as np

from loopline.errors import PlanRefusedError
from loopline.kernels.score import Op
from loopline.model.compile.draft import Draft, Known, Value, Values


def _keys(value: Value, categories: np.ndarray) -> tuple[list[float], list[int], int | None]:
    """Return an encoder's categories as sorted keys, their places, and the place of missing."""
    keys, missing = [], None
    for place, category in enumerate(categories.tolist()):
        if category is None or category != category:  # noqa: PLR0124 - NaN
            missing = place
        elif value.codes is None:
            keys.append((float(category), place))
        elif category not in value.codes:
            raise PlanRefusedError(
                f"{value.name} has {len(categories):,} categories, and only the most frequent "
                f"{len(value.codes)} have a code of their own"
            )
        else:
            keys.append((value.codes[category], place))
    keys.sort()
    return [key for key, _ in keys], [place for _, place in keys], missing


def _one_hot(draft: Draft, step: Any, values: Values) -> Values:
    draft.refuse_infinite(values)
    made: Values = []
    infrequent = getattr(step, "_default_to_infrequent_mappings", None) or [None] * len(values)
    ignores = step.handle_unknown in ("ignore", "error")
    for i, (value, categories) in enumerate(zip(values, step.categories_, strict=True)):
        keys, places, missing = _keys(value, categories)
        if step.handle_unknown == "error":
            draft.refuse_unknown(value, keys, gaps=missing is not None)
        columns = list(range(len(categories)))
        rare = None
        if infrequent[i] is not None:
            columns = infrequent[i].tolist()
            rare = max(columns)
        drops = step._drop_idx_after_grouping
        dropped = None if drops is None else drops[i]
        if dropped is not None:
            columns = [-1 if c == dropped else c - (c > dropped) for c in columns]
            rare = None if rare is None else -1 if rare == dropped else rare - (rare > dropped)
        unknown = -1 if ignores or rare is None else rare
        hot = [columns[place] for place in places]
        hot += [unknown if missing is None else columns[missing], unknown]
        made += hot_columns(draft, value, keys, hot)
    return made


def hot_columns(draft: Draft, value: Value, keys: list[float], hot: list[int]) -> Values:
    """Return a column for each place in `hot`: of each key, of missing, of any other value."""
    count = max(hot) + 1
    start = draft.room(count)
    draft.step(
        Op.ONE_HOT, keys, source=value.place, to=start, count=len(keys), integers=[count, *hot]
    )
    return [Value(start + place, holds="numbers") for place in range(count)]


def _ordinal(draft: Draft, step: Any, values: Values) -> Values:
    draft.refuse_infinite(values)
    grouped = getattr(step, "_default_to_infrequent_mappings", None) or [None] * len(values)
    made: Values = []
    for value, categories, group in zip(values, step.categories_, grouped, strict=True):
        keys, places, missing = _keys(value, categories)
        if group is not None:
            places = [int(group[place]) for place in places]
        if step.handle_unknown == "error":
            draft.refuse_unknown(value, keys, gaps=missing is not None)
            unknown = 0.0
        else:
            unknown = float(step.unknown_value)
        absent = float(step.encoded_missing_value) if missing is not None else unknown
        made.append(_looked_up(draft, value, keys, [*places, absent, unknown]))
    return made


def _target(draft: Draft, step: Any, values: Values) -> Values:
    draft.refuse_infinite(values)
    made: Values = []
    means = np.atleast_1d(step.target_mean_)
    for i, (value, categories) in enumerate(zip(values, step.categories_, strict=True)):
        keys, places, missing = _keys(value, categories)
        for k, mean in enumerate(means):
            learned = step.encodings_[i * len(means) + k]
            absent = mean if missing is None else learned[missing]
            numbers = [*(learned[place] for place in places), absent, mean]
            made.append(_looked_up(draft, value, keys, numbers))
    return made


def _looked_up(draft: Draft, value: Value, keys: list[float], numbers: list[float]) -> Value:
    """Return a number for each key, for missing and for any other value."""
    found = draft.column(Op.LOOK_UP, value, [*keys, *numbers], count=len(keys))
    found.holds = "gaps" if np.isnan(np.array(numbers, np.float64)).any() else "numbers"
    return found


STEPS = {
    "OneHotEncoder": Known(
        _one_hot, "With `drop`, infrequent categories and every `handle_unknown`."
    ),
    "OrdinalEncoder": Known(_ordinal, "With infrequent categories and every `handle_unknown`."),
    "TargetEncoder": Known(_target, "Binary, continuous and multiclass targets."),
}
"""Encoders by their class."""
