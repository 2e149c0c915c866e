"""What people build that has no exact plan, and why: the original answers for it."""

_ROWS = "it answers from its training rows"
_TARGETS = "a contract has one target"
_WORDS = "it takes texts apart, and a plan has a code for each whole text"
_ROUNDS = "its answer is found in rounds"

REFUSED = {
    **dict.fromkeys(
        [
            "KNeighborsClassifier", "KNeighborsRegressor", "RadiusNeighborsClassifier",
            "RadiusNeighborsRegressor", "SVC", "NuSVC", "SVR", "NuSVR", "KernelRidge",
            "GaussianProcessClassifier", "GaussianProcessRegressor", "LabelPropagation",
            "LabelSpreading", "KNNImputer", "KernelPCA", "Nystroem",
        ],
        _ROWS,
    ),
    **dict.fromkeys(
        ["MultiOutputRegressor", "MultiOutputClassifier", "RegressorChain", "ClassifierChain",
         "MultiTaskLasso", "MultiTaskElasticNet"],
        _TARGETS,
    ),
    **dict.fromkeys(
        ["CountVectorizer", "TfidfVectorizer", "HashingVectorizer", "FeatureHasher"], _WORDS
    ),
    **dict.fromkeys(["IterativeImputer", "NMF", "MiniBatchNMF", "DictionaryLearning"], _ROUNDS),
    "AdaBoostRegressor": "its answer is a weighted median of its members'",
    "QuadraticDiscriminantAnalysis": "it turns the columns anew for each class",
    "OneVsOneClassifier": "it has no probabilities",
    "OutputCodeClassifier": "it has no probabilities",
    "NearestCentroid": "it measures distances",
    "KMeans": "it measures distances",
    "RBFSampler": "its cosines of large numbers differ between machines",
    "catboost.CatBoostClassifier": "CatBoost's own hashes of categories are not read",
    "catboost.CatBoostRegressor": "CatBoost's own hashes of categories are not read",
}  # fmt: skip
"""Reasons by class; of what stands in no table nothing is known."""
