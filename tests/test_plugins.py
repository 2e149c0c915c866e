"""Implementations are found by their file's name; there is no list to edit."""

import importlib
import inspect

import pytest

from loopline import plugins
from loopline.errors import LooplineError

FAMILIES = {
    "loopline.data.sources": {"delta", "files", "sql"},
    "loopline.training.candidates": {"boosted_trees", "custom", "linear"},
    "loopline.serving.dialects": {"inference_protocol", "mlflow"},
    "loopline.monitoring.channels": {"console", "webhook"},
    "loopline.training.trackers": {"mlflow", "tensorboard"},
    "loopline.registry.backends": {"mlflow"},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_file_of_a_family_is_one_class(family: str) -> None:
    found = plugins.names(family)

    assert found == sorted(found)
    assert set(found) >= FAMILIES[family]
    for name in found:
        module = importlib.import_module(f"{family}.{name}")
        implementation = plugins.find(family, name)
        assert implementation is getattr(module, module.__all__[0])
        assert inspect.isclass(implementation)
        assert implementation.__module__ == f"{family}.{name}"


@pytest.mark.parametrize("name", ["base", "parquet", "files.x", "../files", "", "os"])
def test_what_is_no_implementation_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(LooplineError, match=r"among the sources\. There are: delta, files, sql\."):
        plugins.find("loopline.data.sources", name)
