"""Loopline: the whole life of a machine-learning model, from one file."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loopline.project import Project
    from loopline.publishing.described import describe as profile

__all__ = ["Project", "__version__", "profile"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # By name, so that importing the package reaches nothing of it.
    if name == "Project":
        return importlib.import_module("loopline.project").Project
    if name == "profile":
        return importlib.import_module("loopline.publishing.described").describe
    raise AttributeError(f"module 'loopline' has no attribute {name!r}")
