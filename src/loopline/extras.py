"""Import an optional library, or say what to install."""

import importlib
from typing import Any

from loopline.errors import MissingExtraError


def require(module: str, *, extra: str) -> Any:
    """Return `module`, imported.

    Raises:
        MissingExtraError: it is not installed; the message names the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and not module.startswith(error.name):
            raise
        raise MissingExtraError(
            f"{module} is not installed, and this needs it. "
            f'Install it with: pip install "loopline[{extra}]"'
        ) from error
