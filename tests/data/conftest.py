"""A contract around the part of `data` that a test is about."""

import pytest

from loopline.contract.schema import Contract


@pytest.fixture(scope="session")
def contract():
    def make(data=None, **problem):
        return Contract.model_validate(
            {
                "project": "credit",
                "problem": {"task": "binary", "target": "y", **problem},
                "goals": [{"metric": "roc_auc", "at_least": 0.6}],
                "data": {"source": "x.csv", **(data or {})},
            }
        )

    return make
