"""The project that the tests of responses watch, with its traffic: here it is looked at."""

import importlib.util
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from loopline.pipeline.workspace import Workspace
from loopline.settings import Settings

_spec = importlib.util.spec_from_file_location(
    "watched_world", Path(__file__).parents[1] / "response" / "conftest.py"
)
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
sys.modules["watched_world"] = _module  # where its dataclasses look themselves up
_spec.loader.exec_module(_module)

applicants, world, day = _module.applicants, _module.world, _module.day


def _live(world: Any) -> Any:
    """Two versions over sixteen days: the second meets a category it does not know, and goes."""

    def day(number: float) -> datetime:
        return _module.START + timedelta(days=number)

    def renamed(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(purpose=pl.lit("<img src=x onerror=alert(1)>"))

    def in_cents(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(pl.col("credit_amount") * 100)

    first, second = world.version(), world.version()
    world.serve(first)
    for number in range(0, 12, 2):
        truth = world.traffic(first.number, day(number))
        world.outcomes(truth, day(number + 1))
    world.look(day(12))
    world.serve(second)
    world.traffic(second.number, day(13), change=renamed, errors=10)
    world.look(day(13) + timedelta(hours=2))
    world.traffic(first.number, day(15), change=in_cents)
    world.look(day(16))
    return world


@pytest.fixture
def lived(world: Any) -> Any:
    """A project with a past."""
    return _live(world)


@pytest.fixture(scope="module")
def read_only(tmp_path_factory: pytest.TempPathFactory, applicants: pl.DataFrame) -> Any:
    """The same, made once for tests that only look."""
    root = tmp_path_factory.mktemp("lived")
    (root / "loopline.yaml").write_text(_module.CONTRACT)
    settings = Settings.read(root, {"LOOPLINE_ACTOR": "ada"})
    return _live(_module.World(Workspace(root, settings), applicants))


@pytest.fixture
def rows_of() -> Callable[[object], list[dict[str, Any]]]:
    """Return the rows that a chart draws, in order."""

    def rows(part: object) -> list[dict[str, Any]]:
        if isinstance(part, list):
            return [row for each in part for row in rows(each)]
        if not isinstance(part, dict):
            return []
        values = part.get("values")
        own = values if isinstance(values, list) and values and isinstance(values[0], dict) else []
        return own + [row for name, each in part.items() if name != "values" for row in rows(each)]

    return rows
