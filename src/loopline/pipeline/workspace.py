"""The opened parts of one project, as the stages need them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from loopline.contract.load import load
from loopline.contract.schema import Contract
from loopline.governance.signing import Keys
from loopline.registry.versions import Registry
from loopline.settings import Settings
from loopline.store.database import Database
from loopline.store.ledger import Ledger
from loopline.store.objects import Objects
from loopline.store.tables import Tables


@dataclass(frozen=True)
class Workspace:
    """One project's contract and stores, each opened when it is first used."""

    root: Path
    settings: Settings

    @classmethod
    def open(cls, root: Path | str) -> Self:
        """Open the project in `root`; reads the environment."""
        root = Path(root).resolve()
        return cls(root=root, settings=Settings.read(root))

    @cached_property
    def contract(self) -> Contract:
        """The contract, checked.

        Raises:
            ContractError: all its faults.
        """
        return load(self.root / "loopline.yaml")

    @cached_property
    def objects(self) -> Objects:
        """Bundles, releases and tables by key."""
        return Objects(self.settings.store_url)

    @cached_property
    def tables(self) -> Tables:
        """Delta tables in the store."""
        return Tables(self.objects)

    @cached_property
    def database(self) -> Database:
        """Ledger, runs and counts."""
        return Database(self.settings.database_url)

    @cached_property
    def ledger(self) -> Ledger:
        """Every decision and finding."""
        return Ledger(
            self.database,
            self.contract.project,
            self.settings.actor,
            heads=self.settings.home / "heads",
        )

    @cached_property
    def keys(self) -> Keys:
        """What signs bundles and releases here."""
        return Keys(self.settings.home)

    @cached_property
    def registry(self) -> Registry:
        """Versions and where they serve."""
        return Registry(self.ledger, self.objects, self.keys)
