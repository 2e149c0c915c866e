"""Metrics per sensitive feature, and the gaps."""

from typing import Any

import numpy as np

from loopline.contract.schema import Contract
from loopline.data.columns import Columns
from loopline.evaluation.diagnosis import groups
from loopline.evaluation.metrics import Scorecard


def fairness(contract: Contract, columns: Columns, card: Scorecard) -> tuple[dict[str, Any], ...]:
    """Return each fairness rule's figures: the metric per group, their ratio and difference.

    Groups of fewer rows than the rule's `minimum_rows`, or where the metric is undefined, are
    listed and not judged.
    """
    return tuple(
        _rule(rule.by, rule.metric, rule.minimum_rows, columns[rule.by], card)
        for rule in contract.fairness
    )


def _rule(
    by: str, metric: str, minimum_rows: int, values: np.ndarray, card: Scorecard
) -> dict[str, Any]:
    members = groups(values)
    masks = np.array(list(members.values()), dtype=np.float64).reshape(-1, len(values))
    figures = card.under(masks)[metric]
    found: list[dict[str, Any]] = [
        {
            "group": name,
            "rows": int(mask.sum()),
            "figure": float(figure) if np.isfinite(figure) else None,
            "judged": bool(mask.sum() >= minimum_rows and np.isfinite(figure)),
        }
        for (name, mask), figure in zip(members.items(), figures, strict=True)
    ]
    return apart(by, metric, found)


def apart(by: str, metric: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a rule's figures with how far the judged ones of its groups are apart."""
    judged = [group["figure"] for group in found if group["judged"]]
    ratio = difference = None
    if len(judged) > 1:
        low, high = min(judged), max(judged)
        difference = high - low
        # Money may be negative, where a ratio says nothing.
        ratio = 1.0 if low == high else low / high if low >= 0 else None
    return {"by": by, "metric": metric, "groups": found, "ratio": ratio, "difference": difference}
