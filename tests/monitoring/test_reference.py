"""What a version promised, read from its bundle once."""

import pickle

import msgspec
import numpy as np
import polars as pl
import pytest

from loopline.counts.kernel import count_arrays
from loopline.data.columns import from_frame
from loopline.data.conforming import convert
from loopline.governance.signing import Keys
from loopline.model.bundle import open_bundle, write
from loopline.model.explanation import background
from loopline.model.original import Original
from loopline.model.runtimes.worker import dump_original
from loopline.model.signature import Feature, Input, Signature
from loopline.monitoring.reference import References, shares, travelling
from loopline.pipeline.workspace import Workspace
from loopline.settings import Settings
from loopline.store.objects import Objects


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


def test_a_reference_travels_to_another_process_and_answers_there_as_here(credit_project):
    here = References(Workspace.open(credit_project).registry)(1)

    there = pickle.loads(pickle.dumps(here))

    rows = pl.read_csv(credit_project / "credit.csv")[:7].rename(str.strip)
    types = {column.name: column.type for column in here.signature.inputs}
    columns = from_frame(convert(rows, types, []).frame, types)
    assert there.baseline.scores(columns).tolist() == here.baseline.scores(columns).tolist()
    assert there.baseline.threshold == here.baseline.threshold
    one, other = here.explainer(columns), there.explainer(columns)
    assert other.added.tolist() == one.added.tolist()
    assert other.method == one.method
    assert there.profile.columns == here.profile.columns


SUM = Signature(
    "sum", "regression", (Input("a", "number"), Input("b", "number")),
    (Feature("a", "number"), Feature("b", "number")),
)  # fmt: skip
ROWS = {"a": np.array([1.0, 2.0]), "b": np.array([0.5, 0.5])}


class _Registry:
    """Holds one version, whose bundle has these files."""

    def __init__(self, root, **files):
        self.settings = Settings.read(root, {})
        self.objects = Objects(self.settings.store_url)
        self.keys = Keys(self.settings.home)
        self.bundle = "bundles/sum/1"
        self.bundle_digest = write(
            self.objects,
            self.keys,
            self.bundle,
            {
                "signature.json": msgspec.json.encode(SUM),
                "profile.bin": count_arrays({}).to_bytes(),
                "explanation.bin": background(None, SUM, {n: np.zeros(5) for n in "ab"}, 0),
                **{name.replace("_", "."): content for name, content in files.items()},
            },
        )

    def get(self, _number):
        return self


def _original():
    class Doubling:
        def predict(self, rows):
            return 2 * rows[:, 0] + rows[:, 1]

    return dump_original(Original(Doubling(), "matrix", SUM))


def test_an_original_is_asked_in_a_worker_that_does_not_stay(tmp_path):
    registry = _Registry(tmp_path, original_pkl=_original())
    references = References(registry, registry.settings)
    explainer = references(1).explainer

    told = explainer(ROWS)

    assert told.method == "sampled"
    assert told.values.tolist() == [2.5, 4.5]
    assert told.added.tolist() == [[2.0, 0.5], [4.0, 0.5]]
    assert pickle.loads(pickle.dumps(travelling(references(1)))).explainer is None
    [asked] = references._asked
    assert asked._worker.process_id is not None
    references.rest()
    assert asked._worker.process_id is None
    assert explainer(ROWS).values.tolist() == [2.5, 4.5]
    references.rest()


def test_without_settings_an_original_explains_nothing(tmp_path):
    registry = _Registry(tmp_path, original_pkl=_original())

    assert References(registry)(1).explainer is None


def test_a_network_is_asked_where_it_is(tmp_path):
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.array([[2.0], [1.0]], np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["rows", "weights"], ["sum"])],
        "net",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [None, 1])],
        [weights],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    registry = _Registry(tmp_path, model_onnx=made.SerializeToString())

    told = References(registry)(1).explainer(ROWS)

    assert told.values.tolist() == [2.5, 4.5]
    assert told.added.tolist() == [[2.0, 0.5], [4.0, 0.5]]
