"""The release document that servers follow (imports nothing else of this folder).

`releases/PROJECT/ENVIRONMENT/NUMBER.json` in the store: numbered, created only if absent, signed.
The highest number is what holds. Two writers cannot both win, and the history stays.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Served:
    """One version in a release, and its share of the traffic."""

    version: int
    bundle: str
    bundle_digest: str
    share: float = 1.0
    shadow: bool = False


@dataclass(frozen=True)
class Release:
    """What one environment serves: the sixth record of the chain."""

    project: str
    environment: str
    number: int
    serves: tuple[Served, ...]
    by: str
    why: str
    at: str
