"""Networks as bytes: small graphs made by hand, and estimators that offer them."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from loopline.errors import PlanRefusedError, RequestError
from loopline.model.original import Original
from loopline.model.parity import prove
from loopline.model.runtimes.onnx import TOLERANCE, OnnxRuntime, exported
from loopline.model.signature import Feature, Input, Signature, matrix

COLOURS = ("blue", "green", "red")
FLOAT, TEXT = TensorProto.FLOAT, TensorProto.STRING
WEIGHTS = np.array([[0.5], [-1.25], [2.0]], np.float32)


def _signature(task="binary", names=("a", "b", "c"), texts=()):
    return Signature(
        "net",
        task,
        tuple(Input(name, "category" if name in texts else "number") for name in names),
        tuple(
            Feature(name, "category", COLOURS) if name in texts else Feature(name, "number")
            for name in names
        ),
        {"binary": ("0", "1"), "multiclass": ("0", "1", "2")}.get(task, ()),
        0.3 if task == "binary" else None,
    )


def _graph(nodes, inputs, outputs, weights=()):
    kept = [numpy_helper.from_array(values, name) for name, values in dict(weights).items()]
    made = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info(*each) for each in outputs],
        kept,
    )
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(made, opset_imports=domains, ir_version=9).SerializeToString()


def _sigmoid_of_a_matrix(kind=FLOAT, wide=3, columns=1):
    number = np.float32 if kind == FLOAT else np.float64
    weights = np.repeat(np.resize(WEIGHTS, (wide, 1)), columns, axis=1).astype(number)
    return _graph(
        [
            helper.make_node("MatMul", ["rows", "weights"], ["sum"]),
            helper.make_node("Sigmoid", ["sum"], ["probability"]),
        ],
        [("rows", kind, [None, wide])],
        [("probability", kind, [None, columns])],
        {"weights": weights},
    )


def _text_and_number():
    """A colour's weight, looked up by its text, plus the number."""
    look = helper.make_node(
        "LabelEncoder",
        ["colour"],
        ["weight"],
        domain="ai.onnx.ml",
        keys_strings=list(COLOURS),
        values_floats=[1.0, -0.5, 0.25],
        default_float=0.0,
    )
    return _graph(
        [
            look,
            helper.make_node("Add", ["weight", "size"], ["sum"]),
            helper.make_node("Sigmoid", ["sum"], ["probability"]),
        ],
        [("colour", TEXT, [None, 1]), ("size", FLOAT, [None, 1])],
        [("probability", FLOAT, [None, 1])],
    )


class Net:
    """What a team's estimator looks like after `fit`: float32 weights and an export."""

    def __init__(self, bias=0.0, content=None):
        self._bias = bias
        self._content = content or _sigmoid_of_a_matrix()

    def predict_proba(self, frame):
        rows = np.asarray(frame, np.float64).astype(np.float32)
        share = 1 / (1 + np.exp(-(rows @ WEIGHTS)[:, 0].astype(np.float64) - self._bias))
        return np.column_stack([1 - share, share])

    def to_onnx(self):
        return self._content


def _columns(rows=300, seed=0):
    generator = np.random.default_rng(seed)
    colours = np.array([*COLOURS, "pink", None], dtype=object)
    return {
        **{name: generator.normal(size=rows) for name in ("a", "b", "c", "size")},
        "colour": colours[generator.integers(0, 5, rows)],
    }


def test_a_network_that_agrees_is_proven_to_its_tolerance_on_held_out_and_hostile_rows():
    signature = _signature()
    network = OnnxRuntime(exported(Net()), signature)

    found = prove(network, Original(Net(), "matrix", signature), signature, _columns(), TOLERANCE)

    assert (found.agreed, found.flipped, found.tolerance) == (True, 0, 1e-5)
    assert 0 < found.largest_difference < 1e-6
    assert found.hostile_rows > 30


@pytest.mark.parametrize("bias", [1e-4, 2.0])
def test_a_network_that_differs_does_not_agree(bias):
    signature = _signature()
    network = OnnxRuntime(exported(Net()), signature)

    original = Original(Net(bias), "matrix", signature)
    found = prove(network, original, signature, _columns(), TOLERANCE)

    assert not found.agreed


def test_scores_are_those_worked_out_by_hand():
    columns = {"a": np.array([1.0, 0.0]), "b": np.array([0.0, 1.0]), "c": np.array([0.0, 0.5])}

    scores = OnnxRuntime(_sigmoid_of_a_matrix(), _signature()).score(columns)

    np.testing.assert_allclose(scores, 1 / (1 + np.exp([-0.5, 0.25])), rtol=1e-6)
    assert scores.dtype == np.float64


def test_texts_reach_the_network_as_they_are_and_missing_ones_empty():
    signature = _signature(names=("colour", "size"), texts=("colour",))
    network = OnnxRuntime(_text_and_number(), signature)
    columns = {
        "colour": np.array(["red", "pink", None], dtype=object),
        "size": np.array([1.0, 2.0, np.nan]),
    }

    by_column = network.score_columns(columns)
    by_code = network.score_what_can_be(matrix(signature, columns))

    np.testing.assert_allclose(by_column[:2], 1 / (1 + np.exp([-1.25, -2.0])), rtol=1e-6)
    assert np.isnan(by_column[2])
    np.testing.assert_array_equal(by_code, by_column)
    with pytest.raises(RequestError, match=r"Row 2 \(counted from 0\) cannot be scored"):
        network.score(columns)


class Words:
    """A text's probability by how it begins, which every text has, seen in training or not."""

    def __init__(self, content):
        self.to_onnx = lambda: content

    def predict_proba(self, frame):
        share = np.array([0.75 if str(text) == "novel" else 0.25 for text in frame["colour"]])
        return np.column_stack([1 - share, share])


def test_held_out_texts_that_no_training_row_had_are_compared_as_they_are():
    signature = _signature(names=("colour",), texts=("colour",))
    content = _graph(
        [
            helper.make_node(
                "LabelEncoder", ["colour"], ["probability"], domain="ai.onnx.ml",
                keys_strings=["novel"], values_floats=[0.75], default_float=0.25,
            )
        ],
        [("colour", TEXT, [None, 1])],
        [("probability", FLOAT, [None, 1])],
    )  # fmt: skip
    columns = {"colour": np.array(["red", "novel", "other", None], dtype=object)}

    found = prove(
        OnnxRuntime(content, signature), Original(Words(content), "frame", signature), signature,
        columns, TOLERANCE,
    )  # fmt: skip

    assert (found.agreed, found.flipped, found.largest_difference) == (True, 0, 0)


def test_several_classes_and_a_regression_have_their_own_shapes():
    columns = _columns(5)
    three = _sigmoid_of_a_matrix(TensorProto.DOUBLE, columns=3)

    several = OnnxRuntime(three, _signature("multiclass")).score(columns)
    both = OnnxRuntime(_sigmoid_of_a_matrix(columns=2), _signature()).score(columns)
    number = OnnxRuntime(_sigmoid_of_a_matrix(), _signature("regression")).score(columns)

    assert (several.shape, both.shape, number.shape) == ((5, 3), (5,), (5,))


@pytest.mark.parametrize(
    ("content", "signature", "reason"),
    [
        (b"no network", _signature(), "ONNX Runtime cannot load it"),
        (_text_and_number(), _signature(), "its input colour is called as none of the features"),
        (
            _text_and_number(),
            _signature(names=("colour", "size")),
            r"its input colour takes tensor\(string\), and colour is a number",
        ),
        (
            _sigmoid_of_a_matrix(),
            _signature(names=("a", "colour"), texts=("colour",)),
            "colour is a text: give it an input for each feature",
        ),
    ],
)
def test_what_takes_something_else_is_refused_with_the_reason(content, signature, reason):
    with pytest.raises(PlanRefusedError, match=reason):
        OnnxRuntime(content, signature)


def test_what_returns_something_else_is_refused_with_the_reason():
    network = OnnxRuntime(_sigmoid_of_a_matrix(columns=2), _signature("multiclass"))

    with pytest.raises(PlanRefusedError, match="has 2 columns, and 3 are expected"):
        prove(network, Original(Net(), "matrix", _signature()), _signature(), _columns())


def test_rows_of_another_width_are_the_callers_fault():
    network = OnnxRuntime(_sigmoid_of_a_matrix(wide=2), _signature())

    with pytest.raises(RequestError, match=r"cannot score these rows\. It says: "):
        network.score(_columns())


def test_weights_in_a_file_beside_the_bytes_are_not_read(tmp_path, monkeypatch):
    model = onnx.load_from_string(_sigmoid_of_a_matrix())
    file = tmp_path / "net.onnx"
    onnx.save(model, file, save_as_external_data=True, location="weights", size_threshold=0)
    monkeypatch.chdir(tmp_path)

    assert (tmp_path / "weights").exists()
    with pytest.raises(PlanRefusedError, match="cannot load it"):
        OnnxRuntime(file.read_bytes(), _signature())


class _Failing:
    def to_onnx(self):
        raise ValueError("no such layer\nin line 3")


class _Odd:
    def to_onnx(self):
        return "text"


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [(_Failing(), "to_onnx: ValueError: no such layer$"), (_Odd(), "returned str, not bytes")],
)
def test_an_export_that_fails_is_refused_with_the_reason(estimator, reason):
    with pytest.raises(PlanRefusedError, match=reason):
        exported(estimator)
    assert exported(object()) is None
