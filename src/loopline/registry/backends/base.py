"""A registry of another tool in which versions are shown too.

The ledger is the registry; what a backend has is a copy, made by the mirror process.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from loopline.registry.versions import ModelVersion


class Backend(Protocol):
    """Copies versions to one other tool; a file of this folder is one."""

    def mirror(
        self,
        versions: Sequence[ModelVersion],
        serving: Mapping[str, int],
        locate: Callable[[str], str],
    ) -> int:
        """Copy the versions that are not there yet, and say what each environment serves.

        `versions` are all of one project, oldest first; `serving` is environment to number;
        `locate` makes a bundle's key a place. Called again, it writes nothing twice.

        Returns:
            How many versions were copied.
        """
        ...
