"""What is not installed is asked for by the name that installs it."""

import json
import sys
from pathlib import Path

import pytest

from loopline.errors import MissingExtraError
from loopline.extras import require


def test_an_installed_library_is_the_module_itself() -> None:
    assert require("json", extra="json") is json
    assert require("json.decoder", extra="json") is json.decoder


@pytest.mark.parametrize("module", ["not_there_at_all", "not_there_at_all.inside"])
def test_a_missing_library_is_named_with_what_installs_it(module: str) -> None:
    with pytest.raises(MissingExtraError) as told:
        require(module, extra="cloud")

    assert str(told.value) == (
        f"{module} is not installed, and this needs it. Install it with: pip install "
        '"loopline[cloud]"'
    )


def test_a_library_that_lacks_one_of_its_own_is_not_blamed_on_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_installed_library.py").write_text("import its_missing_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ModuleNotFoundError, match="its_missing_dependency"):
        require("half_installed_library", extra="cloud")

    assert "half_installed_library" not in sys.modules
