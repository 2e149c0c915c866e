"""What a version promised, read from its bundle once."""

import msgspec
import pytest

from loopline.model.bundle import open_bundle
from loopline.monitoring.reference import References, shares
from loopline.pipeline.workspace import Workspace


def test_a_reference_knows_what_its_model_relied_on_in_its_evaluation(credit_project):
    space = Workspace.open(credit_project)
    version = space.registry.get(1)
    bundle = open_bundle(space.objects, space.keys, version.bundle, version.bundle_digest)
    first = msgspec.json.decode(bundle.file("report.json"))["importance"][0]["name"]

    found = References(space.registry)(1).importances

    assert sum(found.values()) == pytest.approx(1.0)
    assert max(found, key=found.__getitem__) == first
    assert "credit_amount" in found


def test_importances_are_shares_of_what_shuffling_costs_and_chance_has_none():
    measured = [
        {"name": "distance", "loss": 0.3, "spread": 0.01, "cost": 4.0},
        {"name": "carrier", "loss": 0.1, "spread": 0.02},
        {"name": "noise", "loss": -0.002, "spread": 0.01},
    ]

    found = shares(measured)

    assert found == {
        "distance": pytest.approx(0.75),
        "carrier": pytest.approx(0.25),
        "noise": 0.0,
    }


def test_a_model_that_relies_on_nothing_has_no_shares_to_weigh_by():
    assert shares([{"name": "noise", "loss": -0.1}]) == {"noise": 0.0}
    assert shares([]) == {}
