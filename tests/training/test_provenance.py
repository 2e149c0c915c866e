"""What a run was made with, under the names of the packages that are installed."""

import sys
from importlib.metadata import version
from types import ModuleType

import pytest

from loopline.training import provenance


def test_a_package_that_bears_another_name_than_its_module_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(provenance, "ALSO", {"yaml_here": ["no-such-package", "numpy"]})
    monkeypatch.setitem(sys.modules, "yaml_here", ModuleType("yaml_here"))

    made_with = provenance.environment(custom=True)

    assert made_with["numpy"] == version("numpy")
    assert "no-such-package" not in made_with


def test_a_package_that_is_loaded_and_not_installed_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(provenance, "ALSO", {"yaml_here": ["no-such-package"]})
    monkeypatch.setitem(sys.modules, "yaml_here", ModuleType("yaml_here"))

    assert provenance.environment(custom=True)["no-such-package"] == "unknown"
    assert "no-such-package" not in provenance.environment(custom=False)


def test_what_an_own_estimator_is_given_is_recorded_before_it_is_first_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "pandas", raising=False)

    assert provenance.environment(custom=True)["pandas"] == version("pandas")
    assert "pandas" not in provenance.environment(custom=False)
