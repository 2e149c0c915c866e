"""A network that the team's estimator exported, run in this process by ONNX Runtime.

The estimator offers `to_onnx()`, which returns the model's bytes after `fit`. The network takes the
features in one of two ways: numbers alone as one matrix, in their order; or an input for each
feature, called as the feature, of numbers or of strings. Its last output is the answer. Networks
work in float32, where no two libraries agree to the last bit, so the proof allows what
`TOLERANCE` says, and not one label that flips. Nothing is unpickled.
"""

from typing import Any

import numpy as np

from loopline.data.columns import Columns
from loopline.data.row_steps import evaluate
from loopline.errors import PlanRefusedError, RequestError
from loopline.extras import require
from loopline.model.signature import Feature, Signature

__all__ = ["OnnxRuntime"]

TOLERANCE = 1e-5
"""Largest difference allowed: a few float32 steps through some layers."""
_NUMBERS = {"tensor(float)": np.float32, "tensor(double)": np.float64}
_TEXTS = "tensor(string)"
UNSEEN = "\x00 a value that no training row had"


class OnnxRuntime:
    """Answers by a network; may be called from several threads."""

    def __init__(self, content: bytes, signature: Signature) -> None:
        """Load a network.

        Raises:
            PlanRefusedError: it is no network, or takes or returns something else.
            MissingExtraError: ONNX Runtime is not installed.
        """
        library = require("onnxruntime", extra="onnx")
        options = library.SessionOptions()
        # One thread: the server's own work is not held up, and requests come together anyhow.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # What is not in the bytes is not signed: no file beside them is read.
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", "/nonexistent"
        )
        self.content = content
        self._signature = signature
        try:
            self._session = library.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the library has an exception of its own for each cause
            raise PlanRefusedError(f"ONNX Runtime cannot load it: {_first_line(error)}") from error
        self._inputs = {each.name: each for each in self._session.get_inputs()}
        self._output = self._session.get_outputs()[-1].name
        self._takes_matrix = self._check()

    def _check(self) -> bool:
        """Return whether one matrix is taken, of numbers alone."""
        features = {feature.name: feature for feature in self._signature.features}
        if len(self._inputs) == 1 and not set(self._inputs) <= set(features):
            [only] = self._inputs.values()
            texts = [name for name, feature in features.items() if feature.kind == "category"]
            if texts or only.type not in _NUMBERS:
                raise PlanRefusedError(
                    f"its one input takes {only.type}, and {texts[0] if texts else 'a feature'} is "
                    f"{'a text' if texts else 'a number'}: give it an input for each feature"
                )
            return True
        strange = [name for name in self._inputs if name not in features]
        if strange:
            raise PlanRefusedError(f"its input {strange[0]} is called as none of the features")
        for name, one in self._inputs.items():
            is_text = features[name].kind == "category"
            if is_text != (one.type == _TEXTS) or not (is_text or one.type in _NUMBERS):
                raise PlanRefusedError(
                    f"its input {name} takes {one.type}, and {name} is "
                    f"{'a text' if is_text else 'a number of float or double'}"
                )
        return False

    def score(self, columns: Columns) -> np.ndarray:
        """Return the scores of the rows of `columns`.

        Raises:
            RequestError: the network cannot score such rows.
        """
        rows = len(next(iter(columns.values())))
        seen = _seen(self._signature, columns)
        try:
            scores = self._run(seen)
        except Exception as error:  # as above
            raise RequestError(
                f"The model cannot score these rows. It says: {_first_line(error)}"
            ) from error
        unanswered = np.flatnonzero(np.isnan(scores.reshape(rows, -1)).any(axis=1))
        if len(unanswered):
            raise RequestError(
                f"Row {unanswered[0]} (counted from 0) cannot be scored: the network answers no "
                "number there, as it does where it takes no missing or infinite value. Send a "
                "value, or export a network that fills gaps."
            )
        return scores

    def score_columns(self, columns: Columns) -> np.ndarray:
        """Score rows as they are, texts and all; a row that the network refuses has NaN.

        Raises:
            PlanRefusedError: it returns something else than scores.
        """
        return self._run_what_can_be(_seen(self._signature, columns))

    def score_what_can_be(self, matrix: np.ndarray) -> np.ndarray:
        """Score a matrix of category codes; a row that the network refuses has NaN.

        Raises:
            PlanRefusedError: it returns something else than scores.
        """
        return self._run_what_can_be(self._decoded(matrix))

    def _run_what_can_be(self, seen: Columns) -> np.ndarray:
        try:
            return self._run(seen)
        except PlanRefusedError:
            raise
        except Exception:  # noqa: BLE001 - the library has an exception of its own for each cause
            rows = len(next(iter(seen.values())))
            if rows == 1:
                classes = len(self._signature.classes)
                shape = (1, classes) if self._signature.task == "multiclass" else (1,)
                return np.full(shape, np.nan)
            parts = [slice(rows // 2), slice(rows // 2, rows)]
            return np.concatenate(
                [self._run_what_can_be({name: seen[name][part] for name in seen}) for part in parts]
            )

    def thresholds(self, column: int) -> np.ndarray:
        """Return nothing: a network is looked at from outside."""
        return np.empty(0)

    def close(self) -> None:
        """There is nothing to end."""

    def _decoded(self, matrix: np.ndarray) -> Columns:
        return {
            feature.name: _texts(feature, values) if feature.kind == "category" else values
            for feature, values in zip(self._signature.features, matrix.T, strict=True)
        }

    def _run(self, seen: Columns) -> np.ndarray:
        [answer] = self._session.run([self._output], self._feeds(seen))
        return self._shaped(answer)

    def _feeds(self, seen: Columns) -> dict[str, np.ndarray]:
        if self._takes_matrix:
            [(name, one)] = self._inputs.items()
            rows = np.column_stack([seen[feature.name] for feature in self._signature.features])
            with np.errstate(over="ignore"):
                return {name: rows.astype(_NUMBERS[one.type])}
        fed = {}
        for name, one in self._inputs.items():
            values = seen[name]
            if one.type == _TEXTS:
                values = np.array(["" if v is None else v for v in values.tolist()], dtype=object)
            else:
                with np.errstate(over="ignore"):
                    values = values.astype(_NUMBERS[one.type])
            fed[name] = values[:, None] if len(one.shape) == 2 else values
        return fed

    def _shaped(self, answer: Any) -> np.ndarray:
        """Return an output as the scores of the signature's task."""
        if not isinstance(answer, np.ndarray) or answer.dtype.kind != "f" or answer.ndim > 2:
            kind = type(answer).__name__
            raise PlanRefusedError(
                f"its last output {self._output} is no table of numbers but a {kind}"
            )
        scores = answer.astype(np.float64).reshape(len(answer), -1)
        task, wide = self._signature.task, scores.shape[1]
        wanted = {"binary": (1, 2), "multiclass": (len(self._signature.classes),)}.get(task, (1,))
        if wide not in wanted:
            raise PlanRefusedError(
                f"its last output {self._output} has {wide} columns, and {wanted[-1]} are expected"
            )
        return scores if task == "multiclass" else scores[:, -1]


def exported(estimator: Any) -> bytes | None:
    """Return the network that a fitted estimator offers, or None if it offers none.

    Raises:
        PlanRefusedError: its `to_onnx` fails, or returns something else.
    """
    export = getattr(estimator, "to_onnx", None)
    if export is None:
        return None
    try:
        content = export()
    except Exception as error:  # the team's own code may raise anything
        raise PlanRefusedError(f"to_onnx: {type(error).__name__}: {_first_line(error)}") from error
    if not isinstance(content, bytes):
        raise PlanRefusedError(f"to_onnx returned {type(content).__name__}, not bytes")
    return content


def _seen(signature: Signature, columns: Columns) -> Columns:
    """Return the features as the original sees them: numbers, and texts that may be unseen."""
    rows = len(next(iter(columns.values())))
    return {
        feature.name: columns[feature.name]
        if feature.steps is None
        else evaluate(feature.steps, columns, rows)
        for feature in signature.features
    }


def _texts(feature: Feature, codes: np.ndarray) -> np.ndarray:
    known = [UNSEEN, *feature.categories]
    texts = [None if np.isnan(code) else known[int(code)] for code in codes.tolist()]
    return np.array(texts, dtype=object)


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:300]
