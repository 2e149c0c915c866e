"""How good decisions were, from counts of what was said by what turned out true; exact."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np

from loopline.counts.figure import Figure, around, share
from loopline.errors import CountsError


@dataclass(frozen=True)
class Confusion:
    """Counts of decisions, by what turned out true: rows are the truth, columns what was said."""

    counts: tuple[tuple[int, ...], ...]

    def __add__(self, other: "Confusion") -> "Confusion":
        if len(self.counts) != len(other.counts):
            raise CountsError(
                f"Confusions of {len(self.counts)} and of {len(other.counts)} classes do not add."
            )
        both = zip(self.counts, other.counts, strict=True)
        return Confusion(tuple(tuple(np.add(a, b).tolist()) for a, b in both))

    @property
    def rows(self) -> int:
        """All rows."""
        return sum(map(sum, self.counts))


def count_decisions(truth: np.ndarray, said: np.ndarray, classes: int = 2) -> Confusion:
    """Count decisions; truth and what was said are places of classes."""
    pairs = truth.astype(np.int64) * classes + said.astype(np.int64)
    table = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    return Confusion(tuple(tuple(row) for row in table.tolist()))


def of_decisions(confusion: Confusion, costs: np.ndarray | None = None) -> dict[str, Figure]:
    """Return the figures of a binary model's decisions; exact. Undefined ones are left out.

    Shares have Wilson's interval (1927), the harmonic mean and the balanced accuracy that of the
    delta method, costs (truth by what was said) that of their mean.
    """
    (tn, fp), (fn, tp) = confusion.counts
    rows = confusion.rows
    shares = {
        "accuracy": (tn + tp, rows),
        "precision": (tp, tp + fp),
        "recall": (tp, tp + fn),
        "false_positive_rate": (fp, fp + tn),
        "false_negative_rate": (fn, tp + fn),
        "selection_rate": (tp + fp, rows),
    }
    found = {name: share(hits, of) for name, (hits, of) in shares.items() if of}
    if tp + fn and tn + fp:
        recall, other = tp / (tp + fn), tn / (tn + fp)
        variance = recall * (1 - recall) / (tp + fn) + other * (1 - other) / (tn + fp)
        found["balanced_accuracy"] = around((recall + other) / 2, 0.0, sqrt(variance) / 2, 0, 1)
    if 2 * tp + fp + fn:
        f1 = 2 * tp / (2 * tp + fp + fn)
        # F1 is monotone in tp / (tp + fp + fn), a share; its interval goes the same way.
        within = share(tp, tp + fp + fn)
        found["f1"] = Figure(f1, 0.0, *(2 * end / (1 + end) for end in (within.low, within.high)))
    if rows:
        found["macro_f1"] = of_classes(confusion)["macro_f1"]
    if costs is not None and rows:
        found["cost_per_prediction"] = cost(confusion, costs)
    return found


def of_classes(confusion: Confusion, costs: np.ndarray | None = None) -> dict[str, Figure]:
    """Return `accuracy`, and `balanced_accuracy` and `macro_f1` over the classes that occur."""
    table = np.array(confusion.counts, np.float64)
    rows = table.sum()
    if not rows:
        return {}
    hits, actual, said = table.diagonal(), table.sum(axis=1), table.sum(axis=0)
    found = {"accuracy": share(int(hits.sum()), int(rows))}
    there = actual > 0
    recalls = hits[there] / actual[there]
    variance = (recalls * (1 - recalls) / actual[there]).sum() / there.sum() ** 2
    found["balanced_accuracy"] = around(float(recalls.mean()), 0.0, sqrt(variance), 0.0, 1.0)
    seen = actual + said > 0
    f1 = 2 * hits[seen] / (actual + said)[seen]
    spread = sqrt(float((f1 * (1 - f1) / np.maximum(actual[seen], 1)).sum())) / seen.sum()
    found["macro_f1"] = around(float(f1.mean()), 0.0, float(spread), 0.0, 1.0)
    if costs is not None:
        found["cost_per_prediction"] = cost(confusion, costs)
    return found


def cost(confusion: Confusion, costs: np.ndarray) -> Figure:
    """Return what a prediction costs on average; `costs` by truth and what was said. Exact."""
    table = np.array(confusion.counts, np.float64)
    rows = table.sum()
    mean = float((table * costs).sum() / rows)
    variance = float((table * np.square(costs - mean)).sum() / rows)
    return around(mean, 0.0, sqrt(variance / rows), -inf, inf)


def fairness(groups: Mapping[str, Confusion], minimum_rows: int = 1) -> dict[str, float]:
    """Return the gaps between groups' decisions, of groups with `minimum_rows`; exact.

    `demographic_parity` compares selection rates, `equal_opportunity` recalls, `equalized_odds`
    the worse of recalls and false positive rates (Hardt et al., 2016): each as `..._difference`
    and as `..._ratio` of the least to the greatest, as fairlearn has them.
    """
    judged = [of_decisions(each) for each in groups.values() if each.rows >= minimum_rows]
    differences: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for metric in ("selection_rate", "recall", "false_positive_rate"):
        values = [figures[metric].value for figures in judged if metric in figures]
        if len(values) > 1:
            least, most = min(values), max(values)
            differences[metric] = most - least
            ratios[metric] = least / most if most else 1.0
    found = {}
    for name, metric in (("demographic_parity", "selection_rate"), ("equal_opportunity", "recall")):
        if metric in differences:
            found[f"{name}_difference"] = differences[metric]
            found[f"{name}_ratio"] = ratios[metric]
    if {"recall", "false_positive_rate"} <= differences.keys():
        both = ("recall", "false_positive_rate")
        found["equalized_odds_difference"] = max(differences[metric] for metric in both)
        found["equalized_odds_ratio"] = min(ratios[metric] for metric in both)
    return found
