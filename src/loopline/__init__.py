"""Loopline: the whole life of a machine-learning model, from one file."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loopline.project import Project

__all__ = ["Project", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "Project":
        from loopline.project import Project

        return Project
    raise AttributeError(f"module 'loopline' has no attribute {name!r}")
