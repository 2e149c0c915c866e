"""Find an implementation by the name in the contract.

A folder with a `base.py` is a family; every other file in it is one implementation, whose
`__all__` names its class first. There is no list to edit.
"""

import importlib
import pkgutil
from typing import Any

from loopline.errors import LooplineError


def names(family: str) -> list[str]:
    """Return the implementations of `family` (a package's dotted name), sorted."""
    package = importlib.import_module(family)
    return sorted(
        found.name for found in pkgutil.iter_modules(package.__path__) if found.name != "base"
    )


def find(family: str, name: str) -> Any:
    """Return the class that `family` calls `name`.

    Raises:
        LooplineError: there is none; the message lists those there are.
    """
    known = names(family)
    if name not in known:
        kind = family.rsplit(".", 1)[-1]
        raise LooplineError(
            f"There is no '{name}' among the {kind}. There are: {', '.join(known)}."
        )
    module = importlib.import_module(f"{family}.{name}")
    return getattr(module, module.__all__[0])
