"""Register, look up, walk lineage."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelVersion:
    """One registered model: the fifth record of the chain."""

    project: str
    number: int
    digest: str
    """SHA-256 over plan, signature and threshold: the same answers are the same digest."""
    bundle: str
    """Key prefix of the bundle in the store."""
    bundle_digest: str
    """SHA-256 of the bundle's manifest, which lists every file's own."""
    run: str
    snapshot: str
    runtime: str
    """`plan` or `original`."""
    gate_passed: bool
    reasons: tuple[str, ...]
    """Why the gate failed; empty when it passed."""
    author: str
    created_at: str
    stage: str = "dev"
    """The furthest environment that serves it now; `none` or `retired` when none does."""

    @property
    def name(self) -> str:
        """`project:number`."""
        return f"{self.project}:{self.number}"
