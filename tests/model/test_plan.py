"""A plan as bytes, and what it refuses to do."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from loopline.errors import BundleRefusedError, RequestError
from loopline.kernels.score import Op
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


def test_a_tree_that_leads_back_to_its_root_is_refused(plan):
    nodes = plan.program.nodes.copy()
    nodes["left"][0] = 0

    with pytest.raises(BundleRefusedError, match="do not fit together"):
        _check(plan.program._replace(nodes=nodes), whole=True)
