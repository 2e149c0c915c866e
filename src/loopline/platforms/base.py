"""What a platform does for a model: run its image, and take it away again.

A platform knows images and where they answer. It knows neither metrics nor stages: what is to run
has been decided when it is asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Deployment:
    """A version packed for a platform."""

    name: str
    """`PROJECT-ENVIRONMENT`: a new one takes the place of the one that has its name."""
    image: str
    port: int
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables too, which appear in no list of processes."""


@dataclass(frozen=True)
class Endpoint:
    """Where a deployment answers."""

    name: str
    url: str


class Platform(Protocol):
    """A place where models run."""

    builders: Sequence[str]
    """What builds images that it finds, the best first."""

    def deploy(self, deployment: Deployment) -> Endpoint:
        """Run it, and return once it answers.

        Raises:
            DeliveryError: it cannot be started, or does not answer; what ran before is gone.
        """

    def remove(self, name: str) -> bool:
        """Take the deployment `name` away; return whether there was one.

        Raises:
            DeliveryError: something else has that name.
        """
