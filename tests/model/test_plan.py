"""A plan as bytes, and what it refuses to do."""

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    SplineTransformer,
    StandardScaler,
)

from loopline.errors import BundleRefusedError, RequestError
from loopline.kernels.score import Op, Scorer, twin
from loopline.model.compile.estimator import compile_plan
from loopline.model.plan import Plan, _check
from loopline.model.signature import Feature, Signature

INPUTS, TRUTH = load_iris(return_X_y=True)
SIGNATURE = Signature(
    "iris",
    "multiclass",
    (),
    tuple(Feature(name, "number") for name in "abcd"),
    ("0", "1", "2"),
)


@pytest.fixture(scope="module")
def plan() -> Plan:
    model = HistGradientBoostingClassifier(max_iter=5, random_state=1).fit(INPUTS, TRUTH)
    return compile_plan(model, SIGNATURE)


@pytest.fixture(scope="module")
def linear() -> Plan:
    return compile_plan(LogisticRegression(max_iter=500).fit(INPUTS, TRUTH), SIGNATURE)


def test_the_same_model_is_the_same_bytes_and_reads_back_as_the_same_plan(plan):
    again = HistGradientBoostingClassifier(max_iter=5, random_state=1).fit(INPUTS, TRUTH)

    files = compile_plan(again, SIGNATURE).to_files()

    assert files == plan.to_files()
    assert np.array_equal(Plan.from_files(files).score(INPUTS), plan.score(INPUTS))


def test_a_matrix_in_any_layout_is_scored_and_one_of_another_width_refused(plan):
    expected = plan.score(INPUTS)

    assert np.array_equal(plan.score(np.asfortranarray(INPUTS)), expected)
    assert np.array_equal(plan.score(INPUTS[::2]), expected[::2])
    with pytest.raises(ValueError, match=r"takes \(rows, 4\), and got \(150, 3\)"):
        plan.score(INPUTS[:, :3])
    for unsuitable in (INPUTS[:1].astype(np.float32), np.asfortranarray(INPUTS), INPUTS[:1, :3]):
        with pytest.raises(ValueError, match="plan"):
            plan.bind(unsuitable)


def test_a_bound_row_is_scored_as_it_then_is(plan):
    row = np.empty((1, 4))
    score = plan.bind(row)

    found = []
    for each in INPUTS[::10]:
        row[:] = each
        found.append(score()[0].copy())

    assert np.array_equal(found, plan.score(INPUTS[::10]))


def test_a_row_that_the_model_refuses_is_refused_by_its_plan_with_its_place(linear):
    holed = INPUTS.copy()
    holed[[7, 9], 2] = np.nan, np.inf
    row = holed[7:8].copy()

    with pytest.raises(RequestError, match=r"Row 7 .*1 more of 150 rows.* cannot be scored"):
        linear.score(holed)
    with pytest.raises(RequestError, match=r"Row 0 \(counted from 0\) cannot be scored"):
        linear.bind(row)()
    unanswered = np.isnan(linear.score_what_can_be(holed)).any(axis=1)
    assert np.flatnonzero(unanswered).tolist() == [7, 9]


def test_thresholds_are_the_last_inputs_before_a_turn_also_through_scaling_and_rounding():
    forest = RandomForestClassifier(3, random_state=0)
    scaled = make_pipeline(StandardScaler(), forest).fit(INPUTS, TRUTH)

    found = compile_plan(scaled, SIGNATURE).thresholds(2)

    scaler = scaled[0]
    turns = np.unique(
        [
            threshold
            for tree in forest.estimators_
            for feature, threshold in zip(tree.tree_.feature, tree.tree_.threshold, strict=True)
            if feature == 2
        ]
    )

    def seen(values):
        return ((values - scaler.mean_[2]) / scaler.scale_[2]).astype(np.float32)

    assert len(turns) > 3
    assert (seen(found) <= turns).all()
    assert (seen(np.nextafter(found, np.inf)) > turns).all()


def test_a_plan_of_another_format_or_length_is_refused(plan):
    files = plan.to_files()
    other = files | {"plan.json": files["plan.json"].replace(b'"format": 1', b'"format": 9')}

    with pytest.raises(BundleRefusedError, match="format 9, and this Loopline reads 1"):
        Plan.from_files(other)
    with pytest.raises(BundleRefusedError, match="do not fit together"):
        Plan.from_files(files | {"plan.bin": files["plan.bin"] + b"\0" * 8})


@pytest.mark.parametrize("value", [-2, 1 << 20, np.iinfo(np.int32).max])
@pytest.mark.parametrize(("kind", "op"), [("plan", Op.TREES), ("linear", Op.LINEAR)])
def test_no_damaged_index_runs(kind, op, value, request):
    program = request.getfixturevalue(kind).program
    place = program.steps["code"].tolist().index(op)
    damaged = []
    for field in ("to", "from", "a", "b", "count", "code"):
        steps = program.steps.copy()
        steps[field][place] = value
        damaged.append(program._replace(steps=steps))
    integers = program.integers.copy()
    integers[0] = value
    damaged.append(program._replace(integers=integers))
    if kind == "plan":
        for field in ("left", "right", "kind"):
            nodes = program.nodes.copy()
            nodes[field][0] = value
            damaged.append(program._replace(nodes=nodes))

    for each in damaged:
        with pytest.raises(BundleRefusedError, match="do not fit together"):
            _check(each, whole=True)
    _check(program, whole=True)


@pytest.fixture(scope="module")
def rich() -> Plan:
    """A plan with steps of nearly every kind."""
    spread = ColumnTransformer(
        [
            ("splines", SplineTransformer(3), [0]),
            ("quantiles", QuantileTransformer(n_quantiles=5), [1]),
            ("codes", KBinsDiscretizer(3, encode="onehot-dense", quantile_method="linear"), [2]),
            ("powers", PowerTransformer(), [3]),
            ("products", make_pipeline(PolynomialFeatures(2), PCA(2)), [0, 3]),
        ]
    )
    members = [
        ("linear", LogisticRegression(max_iter=500)),
        ("forest", RandomForestClassifier(2, max_depth=2, random_state=0)),
    ]
    vote = VotingClassifier(members, voting="soft")
    model = make_pipeline(spread, CalibratedClassifierCV(vote, cv=2, method="isotonic"))
    return compile_plan(model.fit(INPUTS, TRUTH), SIGNATURE)


def test_whatever_is_changed_in_a_plan_it_is_refused_or_stays_within_its_arrays(rich):
    codes = set(rich.program.steps["code"].tolist())
    assert codes >= {Op.ONE_HOT, Op.KEEP, Op.DOT, Op.PIECES, Op.FUNCTION, Op.PAIR, Op.NORMALISE}
    generator = np.random.default_rng(0)
    values = [-1, 0, 1, 2, 7, 63, 300, 5000, 1 << 20, np.iinfo(np.int32).max, -(1 << 31)]
    rows = np.vstack([INPUTS[:2], np.full((1, 4), np.nan)])
    refused = ran = 0

    for _ in range(1500):
        name = str(generator.choice(["steps", "steps", "nodes", "integers"]))
        array = getattr(rich.program, name).copy()
        fields = ("left", "right", "feature", "kind") if name == "nodes" else array.dtype.names
        part = array if fields is None else array[str(generator.choice(fields))]
        part[generator.integers(len(array))] = generator.choice(values)
        changed = rich.program._replace(**{name: array})
        try:
            _check(changed, whole=True)
        except BundleRefusedError:
            refused += 1
        else:
            # numpy raises where the compiled kernel would read what lies beside.
            twin(changed, rows)
            Scorer(changed)(rows)
            ran += 1

    assert refused > 500
    assert ran > 100


def test_a_tree_that_leads_back_to_its_root_is_refused(plan):
    nodes = plan.program.nodes.copy()
    nodes["left"][0] = 0

    with pytest.raises(BundleRefusedError, match="do not fit together"):
        _check(plan.program._replace(nodes=nodes), whole=True)
