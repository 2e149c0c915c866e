"""Cloud Functions: the framework's own server in front of the same application."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loopline.errors import ServingError, SettingError
from loopline.serving import functions
from loopline.serving.functions import Function
from loopline.settings import Settings

TOKEN = "correct horse battery"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def settings(root: Path, **environment: str) -> Settings:
    named = {"LOOPLINE_PROJECT": "flight-delays", "LOOPLINE_ENVIRONMENT": "dev"}
    return Settings.read(root, {**named, "LOOPLINE_TOKEN": TOKEN, **environment})


@pytest.fixture
def front(
    workspace: Any, adding: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The framework's test client, with our function as its target."""
    framework = pytest.importorskip("functions_framework")
    workspace.release(workspace.bundle(adding, 3))
    opened = Function(settings(workspace.settings.home.parent))
    monkeypatch.setattr(functions, "Function", lambda: opened)
    main = tmp_path / "main.py"
    main.write_text("from loopline.serving.functions import function\npredict = function()\n")
    yield framework.create_app("predict", str(main)).test_client()
    opened.close()


def test_the_framework_calls_the_same_application(front: Any, workspace: Any) -> None:
    rows = {"instances": [[1, 2], [3, 4]]}

    root = front.post("/", json=rows, headers=BEARER)
    named = front.post("/v1/models/flight-delays:predict", json=rows, headers=BEARER)
    lines = front.post("/", data="1,2\n", content_type="text/csv", headers=BEARER)

    assert root.json["predictions"] == named.json["predictions"] == [3.0, 7.0]
    assert root.headers["X-Model-Version"] == "3"
    assert (lines.status_code, lines.data) == (200, b"3.0\n")
    assert lines.content_type == "text/csv; charset=utf-8"
    assert front.get("/readyz").status_code == 200
    assert list((workspace.settings.home / "log" / "flight-delays" / "dev").glob("*.log"))


def test_a_function_is_closed_without_the_token(front: Any) -> None:
    rows = {"instances": [[1, 2]]}

    assert front.post("/", json=rows).status_code == 401
    assert front.post("/", json=rows, headers={"Authorization": "Bearer x"}).status_code == 401
    assert front.post("/", data=b"{", headers=BEARER, content_type="application/json").json[
        "error_code"
    ] == "INVALID_PARAMETER_VALUE"  # fmt: skip


def test_what_keeps_a_function_from_opening_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="Set LOOPLINE_PROJECT"):
        Function(settings(tmp_path, LOOPLINE_PROJECT=""))(None)
    with pytest.raises(ServingError, match="Set LOOPLINE_TOKEN"):
        Function(settings(tmp_path, LOOPLINE_TOKEN=""))(None)
