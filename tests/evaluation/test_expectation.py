"""What validation rows teach of a version's own errors, against scikit-learn and by hand."""

import msgspec
import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from loopline.evaluation import expectation
from loopline.evaluation.expectation import Expectation
from loopline.model.signature import Feature, Input, Signature

BINARY = Signature("credit", "binary", (), (), ("0", "1"), 0.3)
CLASSES = Signature("credit", "multiclass", (), (), ("a", "b", "c"))
NUMBERS = Signature(
    "credit",
    "regression",
    (Input("age", "number"), Input("sum", "number")),
    (Feature("age", "number"), Feature("sum", "number")),
)


def fitted(
    signature: Signature,
    truth: np.ndarray,
    scores: np.ndarray,
    columns: dict[str, np.ndarray] | None = None,
) -> Expectation:
    found = expectation.fit(signature, columns or {}, truth, scores)
    assert found is not None
    return found


def overconfident(rows: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes, and scores that say a third more than is true."""
    generator = np.random.default_rng(seed)
    chance = generator.beta(2, 4, rows)
    return (generator.random(rows) < chance).astype(float), np.minimum(chance * 4 / 3, 1)


@pytest.mark.parametrize(("rows", "method"), [(999, "logistic"), (20_000, "isotonic")])
def test_a_probability_that_says_too_much_is_put_right(rows: int, method: str) -> None:
    found = fitted(BINARY, *overconfident(rows))

    said = np.array([0.2, 0.4, 0.6])
    curves = expectation.calibrated(found, said)
    assert (found.method, found.rows, len(curves)) == (method, rows, 51)
    assert curves[0] == pytest.approx(said * 3 / 4, abs=0.08 if rows < 1000 else 0.04)
    # Resamples scatter as fewer rows know less.
    assert curves[1:].std(axis=0).max() < (0.06 if rows < 1000 else 0.03)


def test_the_curve_is_scikit_learn_s_isotonic_one() -> None:
    generator = np.random.default_rng(2)
    scores = generator.choice(np.linspace(0.05, 0.95, 19), 3000)
    truth = (generator.random(3000) < scores**2).astype(float)

    found = fitted(BINARY, truth, scores)

    # On nineteen scores no step holds two of them, so nothing is lost.
    theirs = IsotonicRegression(y_min=0, y_max=1).fit(scores, truth)
    places = np.unique(scores)
    ours = expectation.calibrated(found, places)[0]
    assert ours == pytest.approx(np.clip(theirs.predict(places), 1 / 6000, 1 - 1 / 6000), abs=1e-6)


def test_certainty_is_never_learned() -> None:
    truth = np.repeat([0.0, 1.0], 1000)

    found = fitted(BINARY, truth, truth * 0.8 + 0.1)

    assert expectation.calibrated(found, np.array([0.0, 1.0]))[0] == pytest.approx(
        [0.5 / 2000, 1 - 0.5 / 2000]
    )


def test_too_few_rows_or_one_class_teach_nothing() -> None:
    truth, scores = overconfident(120)

    assert expectation.fit(BINARY, {}, truth[:99], scores[:99]) is None
    assert expectation.fit(BINARY, {}, np.zeros(120), scores) is None
    unknown = np.where(np.arange(120) < 30, np.nan, truth)
    assert expectation.fit(BINARY, {}, unknown, scores) is None


def test_answers_of_several_classes_are_told_apart_by_class_and_sureness() -> None:
    generator = np.random.default_rng(3)
    chances = generator.dirichlet([1, 1, 2], 4000)
    truth = (chances.cumsum(axis=1) > generator.random((4000, 1))).argmax(axis=1).astype(float)

    found = fitted(CLASSES, truth, chances)
    groups = expectation.group(found, CLASSES, {}, chances)

    said = expectation.said_of(found)
    assert (said[groups] == chances.argmax(axis=1)).all()
    tallies = np.array(found.tallies)
    assert tallies.sum() == 4000
    for number in range(len(said)):
        mine = groups == number
        assert tallies[number].tolist() == [int((truth[mine] == k).sum()) for k in range(3)]
    # The surer an answer, the oftener it is right.
    right = tallies[np.arange(len(said)), said] / tallies.sum(axis=1)
    assert right[said == 2][-1] > right[said == 2][0] + 0.3


def test_a_number_s_error_is_read_off_its_inputs_missing_ones_too() -> None:
    generator = np.random.default_rng(4)
    age, total = generator.normal(size=6000), generator.normal(size=6000)
    age[:1000] = np.nan
    wide = np.where(np.isnan(age), 5.0, np.where(total > 0, 2.0, 0.5))
    error = generator.normal(size=6000) * wide
    columns = {"age": age, "sum": total}

    found = fitted(NUMBERS, -error, np.zeros(6000), columns)

    asked = {"age": np.array([np.nan, 0.0, 0.0]), "sum": np.array([0.0, 1.0, -1.0])}
    places = expectation.group(found, NUMBERS, asked, np.zeros(3))
    leaves = [found.leaves[place] for place in places.tolist()]
    # The mean of |x| for a normal x is 0.798 of its spread.
    usual = [leaf["absolute"] / 0.798 for leaf in leaves]
    assert usual == pytest.approx([5.0, 2.0, 0.5], rel=0.2)
    assert [leaf["under"] + leaf["over"] for leaf in leaves] == pytest.approx(
        [leaf["absolute"] for leaf in leaves]
    )


def test_errors_of_many_sizes_are_told_apart_where_rows_allow() -> None:
    generator = np.random.default_rng(4)
    wide = 1.0 + generator.permutation(36).reshape(6, 6)
    age, total = generator.integers(0, 6, (2, 36_000))
    error = generator.choice([-1.0, 1.0], 36_000) * wide[age, total]
    columns = {"age": age.astype(float), "sum": total.astype(float)}

    found = fitted(NUMBERS, -error, np.zeros(36_000), columns)

    asked = {"age": np.repeat(np.arange(6.0), 6), "sum": np.tile(np.arange(6.0), 6)}
    places = expectation.group(found, NUMBERS, asked, np.zeros(36))
    told = [found.leaves[place]["absolute"] for place in places.tolist()]
    assert told == pytest.approx(wide.ravel().tolist())


def test_it_is_the_same_after_it_was_kept() -> None:
    found = fitted(BINARY, *overconfident(2000))

    again = msgspec.json.decode(msgspec.json.encode(found), type=Expectation)

    assert again == found


def test_a_branch_of_missing_values_alone_is_kept_too() -> None:
    generator = np.random.default_rng(4)
    gust = np.where(generator.random(4000) < 0.8, np.nan, generator.normal(size=4000))
    errors = generator.normal(size=4000) * np.where(np.isnan(gust), 9.0, 1.0)
    columns = {"age": gust, "sum": np.zeros(4000)}

    found = fitted(NUMBERS, -errors, np.zeros(4000), columns)

    kept = msgspec.json.decode(msgspec.json.encode(found), type=Expectation)
    assert kept == found
    groups = expectation.group(kept, NUMBERS, columns, np.zeros(4000))
    known = set(groups[~np.isnan(gust)])
    assert not known & set(groups[np.isnan(gust)])
