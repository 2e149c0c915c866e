"""The team's own estimator: `train: model.py:build` in the contract.

`build` returns an unfitted estimator with scikit-learn's `fit` and `predict` or `predict_proba`.
It gets what its parameters ask for by name: `contract`, `task` (binary, multiclass or
regression), `seed`, or nothing. `fit` gets a pandas DataFrame with a column per feature and the
target as numbers: 0 or 1, the place of the class, or the value.
"""

import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from loopline.errors import TrainingError
from loopline.extras import require
from loopline.training.candidates.base import Parameters, Range, Takes, Task

__all__ = ["Custom"]

_OFFERED = ("contract", "task", "seed")


class Custom:
    """Calls the function that the contract names."""

    takes: ClassVar[Takes] = "frame"
    defaults: ClassVar[Parameters] = {}
    space: ClassVar[dict[str, Range]] = {}

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def build(self, task: Task, parameters: Parameters) -> Any:
        """Return what the team's function returns.

        Raises:
            TrainingError: the file or the function is missing or fails; names file and line.
            MissingExtraError: it offers a network, and ONNX Runtime is not installed.
        """
        where = task.contract.model.train or ""
        function = self._function(where)
        contract = task.contract
        offered = {"contract": contract, "task": contract.problem.task, "seed": contract.model.seed}
        asked = inspect.signature(function).parameters.values()
        unknown = [each.name for each in asked if each.name not in offered and _must_be_given(each)]
        if unknown:
            raise TrainingError(
                f"{where} asks for {', '.join(unknown)}. It can ask for {', '.join(_OFFERED)}."
            )
        given = {each.name: offered[each.name] for each in asked if each.name in offered}
        with blamed(self._root, where):
            estimator = function(**given)
        if hasattr(estimator, "to_onnx"):  # known now, rather than when it is trained
            require("onnxruntime", extra="onnx")
        predict = "predict" if contract.problem.task == "regression" else "predict_proba"
        for needed in ("fit", predict):
            if not callable(getattr(estimator, needed, None)):
                raise TrainingError(
                    f"{where} returned {type(estimator).__name__}, which has no {needed}. Return "
                    f"an unfitted estimator with fit and {predict}."
                )
        return estimator

    def _function(self, where: str) -> Callable[..., Any]:
        file, separator, name = where.partition(":")
        path = (self._root / file).resolve()
        if not separator or not name.isidentifier() or path.suffix != ".py":
            raise TrainingError(
                f"model.train is '{where}', but it must name a file and a function, such as "
                "model.py:build."
            )
        if not path.is_relative_to(self._root) or not path.is_file():
            raise TrainingError(
                f"model.train is '{where}', but there is no file {file} in the project's folder."
            )
        function = getattr(self._load(path), name, None)
        if not callable(function):
            raise TrainingError(f"model.train is '{where}', but {file} has no function {name}.")
        return function  # type: ignore[no-any-return]

    def _load(self, path: Path) -> ModuleType:
        """Run the file anew, as a module that no installed one can be confused with."""
        import cloudpickle

        name = f"loopline_project_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise TrainingError(f"{path.name} cannot be loaded as Python.")
        module = importlib.util.module_from_spec(spec)
        before = set(sys.modules)
        sys.modules[name] = module
        sys.path.insert(0, str(self._root))
        try:
            with blamed(self._root, path.name):
                spec.loader.exec_module(module)
        finally:
            sys.path.remove(str(self._root))
        # The worker that serves the model has no such folder: classes travel in the bundle.
        for loaded in {name, *(set(sys.modules) - before)}:
            file = getattr(sys.modules[loaded], "__file__", None)
            if file and Path(file).resolve().is_relative_to(self._root) and _is_own(file):
                cloudpickle.register_pickle_by_value(sys.modules[loaded])
        return module


@contextmanager
def blamed(root: Path, what: str) -> Iterator[None]:
    """Turn whatever the team's code raises into our error with its file and line.

    Raises:
        TrainingError: the block raised.
    """
    try:
        yield
    except TrainingError:
        raise
    except Exception as error:
        own = [
            f"{Path(frame.filename).resolve().relative_to(root)}:{frame.lineno}"
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename).resolve().is_relative_to(root) and _is_own(frame.filename)
        ]
        if isinstance(error, SyntaxError) and error.filename:
            own = [f"{Path(error.filename).name}:{error.lineno}"]
        place = own[-1] if own else what
        raise TrainingError(f"{place}: {type(error).__name__}: {error}") from error


def _must_be_given(parameter: inspect.Parameter) -> bool:
    named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    return parameter.kind == parameter.POSITIONAL_ONLY or (
        named and parameter.default is parameter.empty
    )


def _is_own(file: str) -> bool:
    """A virtual environment may lie inside the project's folder; it is not the team's code."""
    return "site-packages" not in Path(file).parts
