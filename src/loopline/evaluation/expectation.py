"""What a version's answers say of its own errors: how outcomes are estimated before they are known.

Fitted on validation rows and kept with the version. A binary probability gets a calibration curve,
an answer of several classes the truth of validation rows answered alike, a number a small tree of
its own error (Kivimäki et al., Confidence-based estimators, 2024; direct loss estimation). Each
reads a prediction as one of few groups or cells, so that any stretch of time is a sum of counts.
"""

from dataclasses import dataclass

import numpy as np

from loopline.data.columns import Columns
from loopline.model.signature import Signature, decide_places, matrix

FEWEST_ROWS = 100
"""On fewer validation rows nothing is learned about errors."""
ISOTONIC_ROWS = 1000
"""From here on the curve is free in shape; below, it is a logistic one, which overfits less
(Niculescu-Mizil and Caruana, Predicting good probabilities, 2005)."""
RESAMPLES = 50
_STEPS = 200
_BINS = 10
_LEAVES = 64
_LARGEST = float(np.finfo(np.float32).max)
_LEAST_IN_LEAF = 30
_SEED = 7
_SURE = 1e-6  # a logistic curve sees no probability nearer to 0 or 1 than this


@dataclass(frozen=True)
class Expectation:
    """What was learned from validation rows about how right answers are."""

    method: str
    """`isotonic`, `logistic`, `groups` or `tree`."""
    rows: int
    """Validation rows that taught it."""
    knots: tuple[float, ...] = ()
    """Binary: probabilities as the model gives them, rising."""
    curves: tuple[tuple[float, ...], ...] = ()
    """The calibrated probability at each knot: of all rows, then of each resample of them."""
    edges: tuple[tuple[float, ...], ...] = ()
    """Multiclass: for each answered class, where its bins of the largest probability part."""
    tallies: tuple[tuple[int, ...], ...] = ()
    """Of each group, how many rows had each class."""
    nodes: tuple[tuple[int, float, int, int, bool], ...] = ()
    """Regression: per node its feature (negative in a leaf), threshold, children, and whether
    missing goes left. The last feature is the prediction itself."""
    leaves: tuple[dict[str, float], ...] = ()
    """Per leaf: rows, and the mean and variance of what the errors come to."""

    @property
    def has_groups(self) -> bool:
        """Whether predictions are counted by group, beside their own cells."""
        return self.method in ("groups", "tree")


def fit(
    signature: Signature, columns: Columns, truth: np.ndarray, scores: np.ndarray
) -> Expectation | None:
    """Learn from rows that fitted no model; None where they are too few, or of one class."""
    known = np.isfinite(truth)
    truth, scores = truth[known], scores[known]
    if len(truth) < FEWEST_ROWS or (signature.task != "regression" and len(np.unique(truth)) < 2):
        return None
    if signature.task == "binary":
        return _curve(truth, scores)
    if signature.task == "multiclass":
        return _groups(signature, truth, scores)
    rows = {name: values[known] for name, values in columns.items()}
    return _tree(np.column_stack([matrix(signature, rows), scores]), scores - truth)


def group(
    expectation: Expectation, signature: Signature, columns: Columns, scores: np.ndarray
) -> np.ndarray:
    """Return each prediction's group: its place among `tallies` or `leaves`."""
    if expectation.method == "groups":
        return _group_of(expectation, scores)
    return _leaf_of(expectation.nodes, np.column_stack([matrix(signature, columns), scores]))


def calibrated(expectation: Expectation, scores: np.ndarray) -> np.ndarray:
    """Return the calibrated probability of `scores` by each curve: (curves, scores)."""
    return np.array([np.interp(scores, expectation.knots, curve) for curve in expectation.curves])


# Binary


def _curve(truth: np.ndarray, scores: np.ndarray) -> Expectation:
    is_free = len(truth) >= ISOTONIC_ROWS
    fit_one = _isotonic if is_free else _logistic
    size = len(truth)
    # Rows of about one score are one step of the curve: fifty fits of every row take seconds.
    shares = np.linspace(0, 1, _STEPS + 1)[1:]
    ends = np.unique(np.quantile(scores, shares, method="higher"))
    steps = np.searchsorted(ends, scores)
    middle = np.bincount(steps, scores, len(ends)) / np.bincount(steps, minlength=len(ends))
    knots = np.unique(np.concatenate([[0.0], middle, [1.0]]))

    def curve(weights: np.ndarray) -> np.ndarray:
        rows = np.bincount(steps, weights, len(ends))
        positive = np.bincount(steps, weights * truth, len(ends))
        return fit_one(middle, positive, rows, knots)

    generator = np.random.default_rng(_SEED)
    curves = [curve(np.ones(size))]
    while len(curves) <= RESAMPLES:
        drawn = np.bincount(generator.integers(0, size, size), minlength=size).astype(np.float64)
        if 0 < (drawn * truth).sum() < size:
            curves.append(curve(drawn))
    # A block of rows alike in outcome proves no certainty.
    low, high = 0.5 / size, 1 - 0.5 / size
    kept = [tuple(np.clip(curve, low, high).round(7).tolist()) for curve in curves]
    return Expectation(
        "isotonic" if is_free else "logistic", size, tuple(knots.tolist()), tuple(kept)
    )


def _isotonic(
    scores: np.ndarray, positive: np.ndarray, rows: np.ndarray, knots: np.ndarray
) -> np.ndarray:
    from sklearn.isotonic import IsotonicRegression

    seen = rows > 0
    found = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
    found.fit(scores[seen], positive[seen] / rows[seen], sample_weight=rows[seen])
    return np.asarray(found.predict(knots), dtype=np.float64)


def _logistic(
    scores: np.ndarray, positive: np.ndarray, rows: np.ndarray, knots: np.ndarray
) -> np.ndarray:
    """Platt's curve over the log-odds (Probabilistic outputs for support vector machines, 1999)."""
    from sklearn.linear_model import LogisticRegression

    truth, weights = np.repeat([1, 0], len(scores)), np.concatenate([positive, rows - positive])
    found = LogisticRegression().fit(np.tile(_odds(scores), (2, 1)), truth, sample_weight=weights)
    return np.asarray(found.predict_proba(_odds(knots))[:, 1], dtype=np.float64)


def _odds(scores: np.ndarray) -> np.ndarray:
    sure = np.clip(scores, _SURE, 1 - _SURE)
    odds: np.ndarray = np.log(sure / (1 - sure)).reshape(-1, 1)
    return odds


# Multiclass


def _groups(signature: Signature, truth: np.ndarray, scores: np.ndarray) -> Expectation:
    said, sureness = decide_places(signature, scores), scores.max(axis=1)
    edges = []
    for place in range(len(signature.classes)):
        own = sureness[said == place]
        bins = min(_BINS, len(own) // _LEAST_IN_LEAF)
        inner = np.quantile(own, np.arange(1, bins) / bins) if bins > 1 else np.empty(0)
        edges.append(tuple(np.unique(inner).tolist()))
    found = Expectation("groups", len(truth), edges=tuple(edges))
    groups = _group_of(found, scores)
    size, classes = sum(len(each) + 1 for each in edges), len(signature.classes)
    table = np.bincount(groups * classes + truth.astype(int), minlength=size * classes)
    tallies = tuple(map(tuple, table.reshape(size, classes).tolist()))
    return Expectation("groups", len(truth), edges=tuple(edges), tallies=tallies)


def _group_of(expectation: Expectation, scores: np.ndarray) -> np.ndarray:
    said, sureness = scores.argmax(axis=1), scores.max(axis=1)
    found = np.empty(len(scores), dtype=np.int64)
    begin = 0
    for place, edges in enumerate(expectation.edges):
        own = said == place
        found[own] = begin + np.searchsorted(edges, sureness[own], "right")
        begin += len(edges) + 1
    return found


def said_of(expectation: Expectation) -> np.ndarray:
    """Return the answered class of each group."""
    return np.repeat(
        np.arange(len(expectation.edges)), [len(each) + 1 for each in expectation.edges]
    )


# Regression


def _tree(rows: np.ndarray, errors: np.ndarray) -> Expectation:
    """Grow a tree of the absolute error on half of the rows, and fill its leaves from the others.

    Rows that decide where a tree parts make its leaves look purer than they are (Athey and Imbens,
    Recursive partitioning, 2016).
    """
    from sklearn.tree import DecisionTreeRegressor

    # What parts missing values from all others has the limit infinity, which JSON does not know.
    grows = np.random.default_rng(_SEED).permutation(len(rows)) < len(rows) // 2
    tree = DecisionTreeRegressor(
        max_leaf_nodes=_LEAVES, min_samples_leaf=_LEAST_IN_LEAF, random_state=_SEED
    )
    grown = tree.fit(rows[grows].astype(np.float32), np.abs(errors[grows])).tree_
    leaf = 0
    nodes: list[tuple[int, float, int, int, bool]] = []
    missing = getattr(grown, "missing_go_to_left", np.zeros(grown.node_count, bool))
    for place in range(grown.node_count):
        if grown.children_left[place] < 0:
            nodes.append((-1 - leaf, 0.0, 0, 0, False))
            leaf += 1
        else:
            nodes.append(
                (
                    int(grown.feature[place]), min(float(grown.threshold[place]), _LARGEST),
                    int(grown.children_left[place]), int(grown.children_right[place]),
                    bool(missing[place]),
                )
            )  # fmt: skip
    fills = ~grows
    places = _leaf_of(tuple(nodes), rows[fills])
    leaves = tuple(_leaf(errors[fills], places == number) for number in range(leaf))
    return Expectation("tree", len(rows), nodes=tuple(nodes), leaves=leaves)


def _leaf(errors: np.ndarray, mine: np.ndarray) -> dict[str, float]:
    """Return what the errors of one leaf come to; of all rows where it got too few."""
    own = errors[mine] if mine.sum() > 1 else errors
    parts = {
        "absolute": np.abs(own),
        "square": np.square(own),
        "under": np.maximum(-own, 0),
        "over": np.maximum(own, 0),
    }
    found: dict[str, float] = {"rows": float(len(own))}
    for name, values in parts.items():
        found[name] = float(values.mean())
        found[f"{name}_variance"] = float(values.var(ddof=1))
    return found


def _leaf_of(nodes: tuple[tuple[int, float, int, int, bool], ...], rows: np.ndarray) -> np.ndarray:
    feature, limit, left, right, goes_left = (np.array(part) for part in zip(*nodes, strict=True))
    at = np.zeros(len(rows), dtype=np.int64)
    seen = rows.astype(np.float32)  # as the tree was grown
    while True:
        inner = np.flatnonzero(feature[at] >= 0)
        if not len(inner):
            return np.asarray(-1 - feature[at], dtype=np.int64)
        here = at[inner]
        values = seen[inner, feature[here]]
        goes = np.where(np.isnan(values), goes_left[here], values <= limit[here])
        at[inner] = np.where(goes, left[here], right[here])
