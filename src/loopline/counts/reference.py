"""The reference of every statistic from counts, beside what other libraries say of the values.

Twelve distributions are counted and each figure is worked out a second time from the values
themselves, by scipy, scikit-learn, fairlearn or numpy. After a change:
`python -m loopline.counts.reference docs/reference`.
"""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loopline.counts import decisions, deviations, pairs, quality, statistics
from loopline.counts.kernel import ColumnCounts, count_column, seconds

ROWS = 4000
_SHARES = [0.01, 0.25, 0.5, 0.75, 0.99]
_SLACK = 1e-9
"""What float64 makes of a sum of thousands: below it, figures are equal."""

_PAGE = """<!-- Made from counts/ by `python -m loopline.counts.reference docs/reference`. -->

# Statistics from counts

Every figure that Loopline shows of data, drift, quality and fairness comes from counts that add
([why](../decisions/float-bit-cells.md)). Each says how far it may be from what the values
themselves would give: its bound. Below, {distributions} distributions of {rows:,} rows are counted,
a second sample of each is compared with the first, and every figure is worked out again from the
values by another library. The difference shown is the one that comes closest to its bound, where
there is one; `equal` is less than 1e-9 of the figure.

| statistic | beside | source | largest difference | its bound | on |
| --- | --- | --- | --- | --- | --- |
{statistics}

| distribution | what it is | figures | nearest to its bound |
| --- | --- | --- | --- |
{kinds}

Quantiles, distances and errors in the column's unit are shown as a share of the mean distance of
its numbers from their offset. PSI, Jensen-Shannon and chi-square are by definition those of the
reference's bins, so they are compared on these bins, with counts by numpy. Figures of scores are
those of a probability made of the second sample, and of an outcome drawn with it; a regression's
errors are the second sample less the first.
"""


@dataclass(frozen=True)
class Check:
    """One figure, twice."""

    statistic: str
    distribution: str
    found: float
    exact: float
    bound: float

    @property
    def difference(self) -> float:
        """How far they are apart."""
        return abs(self.found - self.exact)

    @property
    def is_equal(self) -> bool:
        """Whether they differ by no more than the order in which a sum was taken."""
        return self.difference <= _SLACK * max(1.0, abs(self.exact))

    @property
    def holds(self) -> bool:
        """Whether they differ by no more than the bound."""
        return self.difference <= self.bound + _SLACK * max(1.0, abs(self.exact))


SOURCES: Mapping[str, tuple[str, str]] = {
    "quantile": ("numpy, `inverted_cdf`", "Hyndman and Fan, 1996, type 1"),
    "psi": ("the formula on numpy's counts", "Siddiqi, 2006; half a row added to each bin"),
    "jensen_shannon": ("scipy `jensenshannon`", "Lin, 1991; base 2, its root"),
    "ks": ("scipy `ks_2samp`", "Massey, 1951"),
    "wasserstein": ("scipy `wasserstein_distance`", "Ramdas et al., 2017; the first"),
    "chi_square": ("scipy `chi2_contingency`", "Pearson, 1900; no correction"),
    "p_value": ("scipy `chi2_contingency`", "Abramowitz and Stegun, 26.4"),
    "cramers_v": ("scipy `association`", "Cramér, 1946"),
    "pearson": ("numpy `corrcoef`", "Pearson, 1895"),
    "spearman": ("scipy `spearmanr`", "Spearman, 1904"),
    "correlation_ratio": ("scipy `kruskal`", "Kelley, 1935; of the ranks"),
    "pair_cramers_v": ("scipy `chi2_contingency`", "Bergsma, 2013; 50 values and the others"),
    "missing_rate": ("numpy", "a share"),
    "new_rate": ("Python's sets", "a share"),
    "roc_auc": ("scikit-learn `roc_auc_score`", "Hanley and McNeil, 1982"),
    "average_precision": ("scikit-learn `average_precision_score`", "Boyd, Eng and Page, 2013"),
    "log_loss": ("scikit-learn `log_loss`", "Good, 1952"),
    "brier": ("scikit-learn `brier_score_loss`", "Brier, 1950"),
    "calibration_error": ("numpy, bin by bin", "Guo et al., 2017; ten equal bins"),
    "accuracy": ("scikit-learn `accuracy_score`", "a share; Wilson, 1927, for the interval"),
    "f1": ("scikit-learn `f1_score`", "van Rijsbergen, 1979"),
    "mae": ("scikit-learn `mean_absolute_error`", "a mean"),
    "rmse": ("scikit-learn `root_mean_squared_error`", "a mean's root"),
    "quantile_loss": ("scikit-learn `mean_pinball_loss`", "Koenker and Bassett, 1978"),
    "cost_per_prediction": ("numpy", "a mean"),
    "demographic_parity_difference": ("fairlearn", "Agarwal et al., 2018"),
    "equalized_odds_difference": ("fairlearn", "Hardt et al., 2016"),
}
"""Statistic to what it is compared with, and where its formula comes from."""

Draw = Callable[[np.random.Generator, float], np.ndarray]


def _words(texts: list[str | None]) -> np.ndarray:
    found = np.empty(len(texts), object)
    found[:] = texts
    return found


def _keys(draw: np.random.Generator, by: float) -> np.ndarray:
    return _words([f"k{n}" for n in (draw.zipf(1.2 + by / 9, ROWS) % 3000).tolist()])


DISTRIBUTIONS: Mapping[str, tuple[str, Draw]] = {
    "discrete": ("Poisson", lambda draw, by: draw.poisson(3 + by, ROWS).astype(float)),
    "heavy-tailed": ("Cauchy", lambda draw, by: draw.standard_cauchy(ROWS) * (1 + by)),
    "mostly zero": (
        "nine in ten are zero",
        lambda draw, by: np.where(draw.random(ROWS) < 0.9 - by / 5, 0.0, draw.random(ROWS)),
    ),
    "constant": ("one value in all rows", lambda _, by: np.full(ROWS, 7.25 + by)),
    "huge offset": ("1.7e9 and a spread of 5", lambda draw, by: 1.7e9 + draw.normal(by, 5, ROWS)),
    "subnormal": (
        "exponential around 1e-310",
        lambda draw, by: draw.exponential(1.0, ROWS) * 1e-310 * (1 + by),
    ),
    "mixed sign": (
        "normal, with 3 % missing",
        lambda draw, by: _gaps(draw, draw.normal(by, 1, ROWS)),
    ),
    "all missing": ("no value in any row", lambda _draw, _by: np.full(ROWS, np.nan)),
    "one value": ("a single row", lambda _, by: np.array([3.5 + by])),
    "high cardinality": ("up to 3,000 different texts", _keys),
    "dates": (
        "days of two years",
        lambda draw, by: (
            np.datetime64("2024-01-01", "us")
            + (draw.integers(0, 700, ROWS) + int(by * 30)) * np.timedelta64(86_400_000_000, "us")
        ),
    ),
    "booleans": (
        "true in three of ten",
        lambda draw, by: _words(
            ["true" if t else "false" for t in draw.random(ROWS) < 0.3 + by / 9]
        ),
    ),
}
"""Name to what it is and how it is drawn: with 0 the reference, with 0.4 what is compared."""


def _gaps(draw: np.random.Generator, values: np.ndarray) -> np.ndarray:
    return np.where(draw.random(len(values)) < 0.03, np.nan, values)


def checks() -> list[Check]:
    """Return every figure of every distribution, from counts and from the values."""
    found: list[Check] = []
    for place, (name, (_, draw)) in enumerate(DISTRIBUTIONS.items()):
        generator = np.random.default_rng(place)
        before, now = draw(generator, 0.0), draw(generator, 0.4)
        reference = count_column(before)
        current = count_column(now, reference)
        if before.dtype == object:
            found += _of_texts(name, before, now, reference, current)
            found += _of_text_pairs(name, before, now)
            numbers = np.array([len(str(text)) + hash_of(str(text)) for text in now])
        else:
            one, other = (seconds(v) if v.dtype.kind == "M" else v for v in (before, now))
            found += _of_numbers(name, one, other, reference, current)
            found += _of_errors(name, one, other)
            found += _of_number_pairs(name, other, np.random.default_rng(place))
            numbers = other
        found += _of_scores(name, numbers[np.isfinite(numbers)], generator)
    return found


def hash_of(text: str) -> float:
    """Return a number that a text always has: its bytes, weighed by place."""
    return sum((place + 1) * byte for place, byte in enumerate(text.encode())) % 97 / 97


def _of_numbers(
    name: str, before: np.ndarray, now: np.ndarray, reference: ColumnCounts, current: ColumnCounts
) -> Iterator[Check]:
    from scipy import stats

    offset = reference.offset
    first, second = before[np.isfinite(before)], now[np.isfinite(now)]
    unit = float(np.abs(np.concatenate([first, second]) - offset).mean()) if len(first) else 1.0
    unit = unit or 1.0
    drift = statistics.drift(reference, current)
    if len(second):
        for share, value in zip(_SHARES, statistics.quantiles(current, _SHARES), strict=True):
            exact = float(np.quantile(second, share, method="inverted_cdf"))
            bound = max(abs(exact - offset) * 2.0**-9 * (1 + 2.0**-8), 5e-324 * 2.0**44)
            found = exact if value is None else value
            yield Check("quantile", name, found / unit, exact / unit, bound / unit)
        ks, moved = drift.ks or 0.0, drift.wasserstein or 0.0
        exact = float(stats.ks_2samp(first, second).statistic)
        yield Check("ks", name, ks, exact, drift.ks_bound)
        # Divided first: scipy's own sums lose numbers this small.
        exact = float(stats.wasserstein_distance((first - offset) / unit, (second - offset) / unit))
        yield Check("wasserstein", name, moved / unit, exact, drift.wasserstein_bound / unit)
    yield from _of_bins(name, drift, *_histograms(before, now, reference, current))
    yield Check("missing_rate", name, drift.missing_rate, float(np.isnan(now).mean()), 0.0)


def _histograms(
    before: np.ndarray, now: np.ndarray, reference: ColumnCounts, current: ColumnCounts
) -> tuple[np.ndarray, np.ndarray]:
    inner = statistics.edges(reference, current)
    # Below zero a cell holds its upper edge, above it its lower one.
    inner = np.where(inner < 0, np.nextafter(inner, np.inf), inner)
    found = []
    for values in (before, now):
        there = values[np.isfinite(values)] - reference.offset
        counts, _ = np.histogram(there, np.concatenate([[-np.inf], inner, [np.inf]]))
        found.append(np.append(counts, np.isnan(values).sum()).astype(float))
    return found[0], found[1]


def _of_texts(
    name: str, before: np.ndarray, now: np.ndarray, reference: ColumnCounts, current: ColumnCounts
) -> Iterator[Check]:
    drift = statistics.drift(reference, current)
    first, numbers = np.unique(before.astype(str), return_counts=True)
    kept = first[numbers >= 5].tolist()
    counts = []
    for values in (before, now):
        texts, numbers = np.unique(values.astype(str), return_counts=True)
        by_text = dict(zip(texts.tolist(), numbers.tolist(), strict=True))
        inside = [by_text.pop(text, 0) for text in kept]
        counts.append(np.array([*inside, sum(by_text.values())], float))
    yield from _of_bins(name, drift, *counts)
    yield Check("missing_rate", name, drift.missing_rate, 0.0, 0.0)
    known = set(before.tolist())
    exact = sum(text not in known for text in now.tolist()) / len(now)
    # A new value that shares a hashed cell with a rare old one is not seen as new.
    rest = float(current.counts.sum() / current.rows)
    yield Check("new_rate", name, drift.new_rate, exact, rest)


def _of_bins(
    name: str, drift: statistics.Drift, expected: np.ndarray, actual: np.ndarray
) -> Iterator[Check]:
    from scipy import stats
    from scipy.spatial import distance

    used = expected + actual > 0
    table = np.array([expected[used], actual[used]])
    e, a = table + 0.5
    e, a = e / e.sum(), a / a.sum()
    psi = float(((a - e) * np.log(a / e)).sum())
    yield Check("psi", name, drift.psi, psi, 0.0)
    far = float(distance.jensenshannon(*table, base=2))
    yield Check("jensen_shannon", name, drift.jensen_shannon, far, 0.0)
    square, p_value, v = 0.0, 1.0, 0.0
    if table.shape[1] > 1:
        exact = stats.chi2_contingency(table, correction=False)
        square, p_value = float(exact.statistic), float(exact.pvalue)
        v = float(stats.contingency.association(table.astype(int), method="cramer"))
    yield Check("chi_square", name, drift.chi_square, square, 0.0)
    yield Check("p_value", name, drift.p_value, p_value, 0.0)
    yield Check("cramers_v", name, drift.cramers_v, v, 0.0)


def _of_number_pairs(name: str, values: np.ndarray, draw: np.random.Generator) -> Iterator[Check]:
    """Hold numbers against themselves with as much noise again."""
    from scipy import stats

    finite = values[np.isfinite(values)]
    if len(finite) < 2:
        return
    spread = np.subtract(*np.quantile(finite, [0.75, 0.25])) or np.abs(finite).max() or 1.0
    second = values + spread * draw.normal(0, 1, len(values))
    grids = (pairs.grid_for(values), pairs.grid_for(second))
    found = pairs.association(pairs.count_pairs(values, second, grids))
    if found is None or found.pearson is None or found.pearson_bound is None:
        return
    x, y = (each[np.isfinite(values)] / spread for each in (values, second))
    exact = float(np.corrcoef(x, y)[0, 1])
    yield Check("pearson", name, found.pearson, exact, found.pearson_bound)
    exact = float(stats.spearmanr(x, y).statistic)
    yield Check("spearman", name, found.value, exact, found.bound)


def _of_text_pairs(name: str, before: np.ndarray, now: np.ndarray) -> Iterator[Check]:
    """Hold texts against some of the other sample's, and against a number that these have."""
    from scipy import stats

    other = np.where(np.arange(len(now)) % 3 > 0, now, before)
    grids = (pairs.grid_for(now), pairs.grid_for(other))
    numbers = np.array([hash_of(str(text)) for text in other], float)
    one, two = (
        np.array([text if text in grid else "" for text in texts.tolist()])
        for texts, grid in ((now, _texts(grids[0])), (other, _texts(grids[1])))
    )
    table = stats.contingency.crosstab(one, two).count
    rows, (r, c) = len(now), table.shape
    square = float(stats.chi2_contingency(table, correction=False).statistic) / rows
    square = max(0.0, square - (r - 1) * (c - 1) / (rows - 1))
    least = min(each - (each - 1) ** 2 / (rows - 1) for each in (r, c)) - 1
    v = pairs.association(pairs.count_pairs(now, other, grids))
    yield Check("pair_cramers_v", name, v.value if v else 0.0, float(np.sqrt(square / least)), 0.0)
    groups = [numbers[one == text] for text in np.unique(one)]
    h = float(stats.kruskal(*groups).statistic)
    exact = float(np.sqrt(max(0.0, (h - len(groups) + 1) / (rows - len(groups)))))
    pair = pairs.count_pairs(now, numbers, (grids[0], pairs.grid_for(numbers)))
    ratio = pairs.association(pair)
    if ratio is not None:
        yield Check("correlation_ratio", name, ratio.value, exact, ratio.bound)


def _texts(grid: pairs.Grid) -> tuple[str, ...]:
    return grid if isinstance(grid, tuple) else ()


def _of_scores(name: str, values: np.ndarray, draw: np.random.Generator) -> Iterator[Check]:
    from sklearn import metrics

    if len(values) < 2:
        return
    middle, spread = np.median(values), np.subtract(*np.quantile(values, [0.75, 0.25])) or 1.0
    with np.errstate(over="ignore"):
        probability = 1 / (1 + np.exp(-(values - middle) / spread))
    truth = (draw.random(len(values)) < probability).astype(int)
    scored = quality.count_scores(probability, truth)
    clipped = np.clip(probability, np.finfo(float).eps, 1 - np.finfo(float).eps)
    places = np.minimum((probability * quality.BINS).astype(int), quality.BINS - 1)
    gaps = [abs((probability - truth)[places == bin_].sum()) for bin_ in range(quality.BINS)]
    exact = {
        "roc_auc": metrics.roc_auc_score(truth, probability),
        "log_loss": metrics.log_loss(truth, clipped, labels=[0, 1]),
        "brier": metrics.brier_score_loss(truth, probability),
        "average_precision": metrics.average_precision_score(truth, probability),
        "calibration_error": sum(gaps) / len(truth),
    }
    for statistic, figure in quality.of_scores(scored).items():
        yield Check(statistic, name, figure.value, float(exact[statistic]), figure.bound)
    yield from _of_decisions(name, truth, (probability > 0.5).astype(int), draw)


def _of_decisions(
    name: str, truth: np.ndarray, said: np.ndarray, draw: np.random.Generator
) -> Iterator[Check]:
    from sklearn import metrics

    fair: Any = importlib.import_module("fairlearn.metrics")
    costs = np.array([[0.0, 40.0], [220.0, -25.0]])
    found = decisions.of_decisions(decisions.count_decisions(truth, said), costs)
    exact = {
        "accuracy": metrics.accuracy_score(truth, said),
        "f1": metrics.f1_score(truth, said),
        "cost_per_prediction": costs[truth, said].mean(),
    }
    for statistic, value in exact.items():
        if statistic in found:
            yield Check(statistic, name, found[statistic].value, float(value), 0.0)
    group = draw.integers(0, 3, len(truth))
    parts = {
        str(one): decisions.count_decisions(truth[group == one], said[group == one])
        for one in range(3)
    }
    gaps = decisions.fairness(parts)
    for statistic in ("demographic_parity_difference", "equalized_odds_difference"):
        value = getattr(fair, statistic)(truth, said, sensitive_features=group)
        yield Check(statistic, name, gaps[statistic], float(value), 0.0)


def _of_errors(name: str, before: np.ndarray, now: np.ndarray) -> Iterator[Check]:
    from sklearn import metrics

    there = np.isfinite(before) & np.isfinite(now)
    truth, predicted = before[there], now[there]
    if not len(truth):
        return
    error = predicted - truth
    unit = float(np.abs(error).mean()) or 1.0
    found = deviations.of_errors(deviations.count_errors(predicted, truth), under=3.0, quantile=0.8)
    scaled = error / unit
    zero = np.zeros(len(scaled))
    exact = {
        "mae": metrics.mean_absolute_error(zero, scaled),
        "rmse": metrics.root_mean_squared_error(zero, scaled),
        "quantile_loss": metrics.mean_pinball_loss(zero, scaled, alpha=0.8),
        "cost_per_prediction": np.where(scaled < 0, -scaled * 3, scaled).mean(),
    }
    for statistic, value in exact.items():
        figure = found[statistic]
        if name == "subnormal" and statistic == "rmse":
            continue  # the square of such a number is zero, here and everywhere
        yield Check(statistic, name, figure.value / unit, float(value), figure.bound / unit)


def pages() -> dict[str, str]:
    """Return the generated page's name and text."""
    every = checks()
    statistic_rows = []
    for statistic, (beside, source) in SOURCES.items():
        one = _nearest([check for check in every if check.statistic == statistic])
        shown = "equal" if one.is_equal else f"{one.difference:.1e}"
        bound = f"{one.bound:.1e}" if one.bound else "0"
        where = "all" if one.is_equal else one.distribution
        statistic_rows.append(
            f"| `{statistic}` | {beside} | {source} | {shown} | {bound} | {where} |"
        )
    kinds = []
    for name, (what, _) in DISTRIBUTIONS.items():
        mine = [check for check in every if check.distribution == name]
        one = _nearest(mine)
        near = "all equal" if one.is_equal else f"`{one.statistic}`, {one.difference:.1e}"
        kinds.append(f"| {name} | {what} | {len(mine)} | {near} |")
    page = _PAGE.format(
        distributions=len(DISTRIBUTIONS),
        rows=ROWS,
        statistics="\n".join(statistic_rows),
        kinds="\n".join(kinds),
    )
    return {"statistics.md": page}


def _nearest(found: list[Check]) -> Check:
    apart = [check for check in found if not check.is_equal]
    if not apart:
        return found[0]
    return max(apart, key=lambda check: check.difference / max(check.bound, 1e-300))


if __name__ == "__main__":
    for name, text in pages().items():
        (Path(sys.argv[1]) / name).write_text(text, encoding="utf-8")
