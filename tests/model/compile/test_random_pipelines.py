"""Pipelines that nobody chose: whatever is built of known steps is proven, not what is common."""

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)

from loopline.model.parity import prove

NUMBERS = ["plain", "positive", "whole", "holed"]
TEXTS = ["colour", "size"]


def _bends(generator):
    return [
        StandardScaler(),
        RobustScaler(),
        MinMaxScaler(clip=True),
        PowerTransformer(),
        QuantileTransformer(n_quantiles=int(generator.integers(5, 40))),
        KBinsDiscretizer(int(generator.integers(2, 7)), quantile_method="averaged_inverted_cdf"),
        SplineTransformer(int(generator.integers(3, 6)), degree=int(generator.integers(1, 4))),
        PolynomialFeatures(2, interaction_only=bool(generator.integers(2))),
        FunctionTransformer(np.arcsinh),
        FeatureUnion([("own", "passthrough"), ("bent", FunctionTransformer(np.tanh))]),
    ]


def _encoders(generator):
    least = float(generator.choice([0.05, 0.1, 0.2]))
    coded = {"handle_unknown": "use_encoded_value", "unknown_value": -1}
    return [
        OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=least),
        OneHotEncoder(handle_unknown="ignore", drop=[None, "if_binary"][generator.integers(2)]),
        OrdinalEncoder(encoded_missing_value=-2, min_frequency=least, **coded),
        TargetEncoder(random_state=0),
    ]


def _one(generator, among):
    return among[generator.integers(len(among))]


def _models(generator):
    seed = int(generator.integers(100))
    return [
        LogisticRegression(C=0.3, max_iter=500),
        GaussianNB(),
        HistGradientBoostingClassifier(max_iter=6, random_state=seed),
        RandomForestClassifier(5, max_depth=5, random_state=seed),
        ExtraTreesClassifier(5, max_depth=5, random_state=seed),
    ]


def _ensemble(generator):
    def model():
        return _one(generator, _models(generator))

    members = [("first", model()), ("second", model())]
    return _one(
        generator,
        [
            model(),
            VotingClassifier(members, voting="soft", weights=generator.random(2).tolist()),
            StackingClassifier(members, cv=2, passthrough=bool(generator.integers(2))),
            CalibratedClassifierCV(model(), cv=2, method=_one(generator, ["sigmoid", "isotonic"])),
            BaggingClassifier(model(), 2, random_state=0),
        ],
    )


def _pipeline(seed):
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(NUMBERS)[: generator.integers(2, 5)].tolist()
    fill = SimpleImputer(
        strategy=_one(generator, ["mean", "median", "most_frequent", "constant"]),
        add_indicator=bool(generator.integers(2)),
    )
    bends = [_one(generator, _bends(generator)) for _ in range(generator.integers(0, 3))]
    # Splines and powers of what is spread too far overflow, and scikit-learn refuses its own rows.
    bent = make_pipeline(fill, StandardScaler(), *bends)
    table = ColumnTransformer(
        [("numbers", bent, chosen), ("texts", _one(generator, _encoders(generator)), TEXTS)],
        sparse_threshold=0,
    )
    return make_pipeline(table, _ensemble(generator))


@pytest.mark.parametrize("seed", [*range(24), 37, 116])
def test_a_random_pipeline_has_an_exact_plan(seed, proving):
    task = "multiclass" if seed % 4 == 3 else "binary"

    proving(_pipeline(seed), task, (*NUMBERS, *TEXTS), "frame")


@pytest.mark.parametrize("seed", [64, 87])
def test_bins_and_quantiles_after_splines_turn_on_a_last_bit_which_the_proof_finds(seed, proving):
    task = "multiclass" if seed % 4 == 3 else "binary"
    plan, original = proving.plan(_pipeline(seed), task, (*NUMBERS, *TEXTS), "frame")
    held_out = {name: values[1::2] for name, values in proving.columns.items()}

    found = prove(plan, original, original.signature, held_out)

    assert not found.agreed
    assert found.flipped > 0
