"""A version answered by a network: in the server's process, its pickle never read."""

import subprocess
import sys

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper

from loopline.compute.threads import Threads
from loopline.data.batches import open_incoming
from loopline.errors import MissingExtraError, RequestError
from loopline.model.bundle import write
from loopline.model.signature import Feature, Input, Signature
from loopline.registry.release import Served
from loopline.serving.dialects.base import Call
from loopline.serving.models import load
from loopline.serving.parts import Target
from loopline.serving.score import Wanted, score


def _mean_of_two() -> bytes:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Mean", ["a", "b"], ["prediction"])],
        "net",
        [value(name, TensorProto.FLOAT, [None, 1]) for name in "ab"],
        [value("prediction", TensorProto.FLOAT, [None, 1])],
    )
    opsets = [helper.make_opsetid("", 17)]
    content: bytes = helper.make_model(
        graph, opset_imports=opsets, ir_version=9
    ).SerializeToString()
    return content


@pytest.fixture
def served(workspace):
    signature = Signature(
        "mean",
        "regression",
        (Input("a", "number"), Input("b", "number")),
        (Feature("a", "number"), Feature("b", "number")),
    )
    files = {
        "signature.json": msgspec.json.encode(signature),
        "model.onnx": _mean_of_two(),
        "original.pkl": b"no pickle at all",
    }
    digest = write(workspace.objects, workspace.keys, "bundles/mean/1", files)
    return Served(1, "bundles/mean/1", digest)


@pytest.fixture
def model(workspace, served):
    opened = load(served, workspace.objects, workspace.keys, workspace.settings)
    yield opened
    opened.close()


@pytest.mark.parametrize("rows", [1, 300])
def test_a_network_answers_in_the_servers_process(model, runner, rows):
    values = np.arange(2.0 * rows)
    halves = [values[:rows].tolist(), values[rows:].tolist()]
    call = Call(rows, [half[0] for half in halves] if rows == 1 else halves)

    outputs, _ = runner.run(model.answer(call))

    assert model.runtime == "onnx"
    expected = (values[:rows] + values[rows:]) / 2
    np.testing.assert_array_equal(outputs.scores[0], expected)


def test_a_row_to_which_the_network_answers_no_number_is_the_callers_fault(model, runner):
    with pytest.raises(RequestError, match=r"Row 1 \(counted from 0\) cannot be scored"):
        runner.run(model.answer(Call(2, [[1.0, None], [3.0, 4.0]])))


@pytest.fixture
def scored(workspace, served, tmp_path):
    table = pa.table({"a": [1.0, None, 5.0], "b": [2.0, 3.0, 8.0]})
    pq.write_table(table, tmp_path / "in.parquet")

    def on(compute):
        return score(
            served,
            open_incoming({"path": "in.parquet"}, tmp_path, workspace.settings),
            Wanted(source="in.parquet", target=Target.of("out.parquet", tmp_path, None)),
            workspace.settings,
            compute,
        )

    return on


def test_a_table_gets_the_servers_answers(scored, tmp_path):
    found = scored(Threads(1))

    assert (found.rows, found.rejected) == (3, 1)
    assert "in.parquet, row 1: A value is missing, infinite" in found.reasons[0]
    assert pq.read_table(tmp_path / "out.parquet")["prediction"].to_pylist() == [1.5, 6.5]


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_network_answers_on_sparks_executors_too(scored, spark, tmp_path):
    found = scored(spark)

    assert (found.rows, found.rejected) == (3, 1)
    assert pq.read_table(tmp_path / "out.parquet")["prediction"].to_pylist() == [1.5, 6.5]


def test_without_onnx_runtime_one_error_says_what_to_install(workspace, served, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with pytest.raises(MissingExtraError, match=r'pip install "loopline\[onnx\]"'):
        load(served, workspace.objects, workspace.keys, workspace.settings)


def test_a_server_whose_versions_have_plans_needs_no_onnx_runtime():
    code = (
        "import sys, loopline.serving.server, loopline.serving.models as models\n"
        "import loopline.model.runtimes.onnx\n"
        "assert not {'onnx', 'onnxruntime'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True)
