"""A folder of an image, written once."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.delivery import engine as engines

from loopline.delivery.image import Image, Wanted, write_image
from loopline.pipeline.workspace import Workspace
from loopline.settings import Settings

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture(scope="session")
def image(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image of the trained project; to be read only."""
    workspace = Workspace(trained, Settings.read(trained, {}))
    return write_image(workspace, Wanted(), tmp_path_factory.mktemp("image") / "image", now=NOW)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What builds and runs images here, opened once."""
    why = engines.missing()
    if why is None:
        made = engines.Engine(tmp_path_factory.mktemp("engine"))
        why = made.open()
    if why is not None:
        pytest.skip(why)
    return made
