"""A place of another tool where runs are shown too.

The row in the ledger's database is the run; what a tracker has is a copy, made by a process of
its own (`registry/mirror.py`) because its library alone takes seconds to import.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from loopline.training.run import Run


@dataclass(frozen=True)
class Exhibit:
    """One run as a tracker shows it."""

    run: Run
    figures: Mapping[str, float] = field(default_factory=dict)
    """Besides the run's own: what the evaluation measured, by name."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """The report and others, by name."""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, str]:
        """What the run was made with, as text."""
        run = self.run
        own = {name: str(value) for name, value in run.parameters.items()}
        return {"candidate": run.candidate, "seed": str(run.seed), **own}

    @property
    def metrics(self) -> dict[str, float]:
        """Every figure; those on validation rows say so."""
        validation = {f"validation.{name}": value for name, value in self.run.metrics.items()}
        return validation | dict(self.figures)

    @property
    def labels(self) -> dict[str, str]:
        """Where the run came from, as tags."""
        run = self.run
        told = {
            "run": run.id,
            "snapshot": run.snapshot,
            "contract": run.contract,
            "commit": str(run.code.get("commit")),
            "dirty": str(run.code.get("dirty")),
            **run.environment,
        }
        return {f"loopline.{name}": value for name, value in told.items()} | dict(self.tags)


class Tracker(Protocol):
    """Copies runs to one other tool; a file of this folder is one."""

    def mirror(self, exhibit: Exhibit) -> str:
        """Copy one run, whole or not at all as far as the tool can; return where it is.

        Called again for the same run, it writes nothing twice.
        """
        ...
