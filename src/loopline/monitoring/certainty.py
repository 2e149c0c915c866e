"""How sure a missed promise is: by how much a figure moves when a part of its time is left out.

Rows of one day are alike (a storm makes all of its flights late), so rows drawn on their own would
call sure what one bad day has done. The window is parted into days, or into shorter or longer
pieces of at most ten; the figure without each of them gives its standard error (the delete-m
jackknife for pieces of unequal size, Busing, Meijer and van der Leeden, 1999), and Student's t with
so few pieces the margin. A promise is missed beyond doubt when even the near end of that interval
misses it, and kept again when even the far end keeps it; between them a finding stays as it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from loopline.contract.schema import Contract, Fairness
from loopline.evaluation.gates import limit
from loopline.monitoring import performance
from loopline.monitoring.performance import Performance
from loopline.monitoring.reference import Reference
from loopline.monitoring.windows import Window
from loopline.store.database import Database

PIECES = 10
"""Of a window, at most."""
FEWEST = 4
"""With outcomes in fewer of them there is no margin: the figure itself is judged."""
_DAY = 24
_SURE = 0.975

Verdict = Literal["missed", "kept", "unsure"]


def pieces(window: Window) -> list[Window]:
    """Return a window in at most ten pieces of one length; whole days where it has several."""
    hours = window.last - window.first
    length = -(-hours // PIECES)
    if hours >= FEWEST * _DAY:
        length = -(-length // _DAY) * _DAY
    # From its end, so that what is left over is the oldest.
    found = [
        Window(max(end - length, window.first), end)
        for end in range(window.last, window.first, -length)
    ]
    return found[::-1]


def shortfalls(contract: Contract, found: Performance) -> dict[str, float]:
    """Return by how much each goal and fairness rule is missed; below zero where it is kept."""
    short: dict[str, float] = {}
    for goal in contract.goals:
        [(condition, amount)] = goal.conditions.items()
        value, baseline = found.metrics.get(goal.metric), found.baseline_metrics.get(goal.metric)
        if value is None or (condition.endswith("baseline_by") and baseline is None):
            continue
        short[f"{goal.metric} {condition}"] = missed_by(
            condition, value, limit(condition, amount, baseline)
        )
    for rule in contract.fairness:
        key, condition, needed = of_rule(rule)
        for measured in found.fairness:
            if (measured["by"], measured["metric"]) == (rule.by, rule.metric):
                value = measured[key]
                if value is not None:
                    short[f"{rule.metric} by {rule.by}"] = missed_by(condition, value, needed)
    return short


def of_rule(rule: Fairness) -> tuple[str, str, float]:
    """Return what a fairness rule is about: `ratio` or `difference`, its condition and limit."""
    if rule.ratio_at_least is not None:
        return "ratio", "at_least", rule.ratio_at_least
    return "difference", "at_most", float(rule.difference_at_most or 0.0)


def missed_by(condition: str, value: float, needed: float) -> float:
    """Return how far `value` is on the wrong side of what a condition asks for."""
    is_floor = condition in ("at_least", "above_baseline_by")
    return needed - value if is_floor else value - needed


def margins(
    contract: Contract, whole: Performance, without: Sequence[Performance]
) -> dict[str, float]:
    """Return how far off each shortfall may be (95 %), from the figures without each piece.

    A shortfall that is not defined without one of the pieces, or not finite, has no margin.
    """
    left = [one for one in without if 0 < one.labels < whole.labels]
    if len(left) < FEWEST:
        return {}
    each = [shortfalls(contract, one) for one in left]
    rows = np.array([whole.labels - one.labels for one in left], dtype=np.float64)
    found = {}
    for name, short in shortfalls(contract, whole).items():
        if all(name in one for one in each):
            others = np.array([one[name] for one in each])
            if np.isfinite(short) and np.isfinite(others).all():
                found[name] = _margin(short, others, rows)
    return found


def _margin(whole: float, without: np.ndarray, rows: np.ndarray) -> float:
    from scipy.stats import t

    count, total = len(without), rows.sum()
    ratio = total / rows
    jackknifed = count * whole - ((1 - rows / total) * without).sum()
    pseudo = ratio * whole - (ratio - 1) * without
    variance = (np.square(pseudo - jackknifed) / (ratio - 1)).mean()
    return float(t.ppf(_SURE, count - 1) * np.sqrt(variance))


def sure(
    contract: Contract,
    reference: Reference,
    database: Database,
    environment: str,
    found: Performance,
) -> Performance:
    """Return figures with how sure each promise is judged by them, where the contract asks that."""
    if contract.monitor.judge_by != "interval":
        return found
    without = performance.without_each(
        contract, reference, database, environment, found.window, pieces(found.window)
    )
    return replace(found, margins=margins(contract, found, without))


def verdict(short: float, margin: float) -> Verdict:
    """Return whether a promise is missed or kept beyond doubt, by its shortfall and margin."""
    if short > margin:
        return "missed"
    return "kept" if short <= -margin else "unsure"


def holds(short: float, margin: float | None, *, is_open: bool, is_good: bool) -> bool:
    """Return whether a promise counts as kept, where its finding is open or not until now.

    `is_good` is the figure's own word, which stands where nothing says how sure it is.
    """
    if not margin:
        return is_good
    found = verdict(short, margin)
    return not is_open if found == "unsure" else found == "kept"


def told(margins: Mapping[str, float], name: str, short: float, *, is_open: bool) -> str:
    """Return what a message says of how sure it is; empty where that is not known."""
    margin = margins.get(name)
    if not margin:
        return ""
    if verdict(short, margin) != "unsure":
        return f" Over parts of that time it moves by {margin:.3g} at most (95 %)."
    rest = "which is not convincingly back" if is_open else "which is not missed beyond doubt"
    return f" Over parts of that time it moves by {margin:.3g} (95 %), {rest}."
