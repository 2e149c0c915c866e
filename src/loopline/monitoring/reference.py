"""What a version promised: its signature and the profile of the data it was made from.

The reference is the profile stored with the model version, never last week's traffic: a model that
drifts slowly would drag its own yardstick along.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from loopline.counts.kernel import Profile
from loopline.counts.pairs import Pairs, decode
from loopline.data.multivariate import Rows
from loopline.evaluation.expectation import Expectation
from loopline.model.bundle import Bundle, open_bundle
from loopline.model.explanation import KEPT, Explainer
from loopline.model.signature import Signature
from loopline.registry.versions import Registry
from loopline.training.baselines import Baseline, restore


@dataclass(frozen=True)
class Reference:
    """One version, as watching needs it."""

    version: int
    signature: Signature
    profile: Profile
    """Of its inputs and of its own outputs."""
    baseline: Baseline | None
    """Fitted on the version's training rows; None for one that is made of data."""
    importances: Mapping[str, float] = field(default_factory=dict)
    """Input to its share of all that the model relied on in its evaluation; they add up to 1."""
    expectation: Expectation | None = None
    """What its answers say of its own errors; None where too few rows could teach it."""
    explainer: Explainer | None = None
    """What explains its predictions; None for one without a plan."""
    pairs: Pairs = field(default_factory=dict)
    """Inputs that the contract wanted watched together, as they were in its training rows."""
    rows: Rows | None = None
    """A sample of these rows; None where the contract did not ask for one."""


class References:
    """The references of one project; each is opened once."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._opened: dict[int, Reference] = {}

    def __call__(self, version: int) -> Reference:
        """Return the reference of `version`.

        Raises:
            UnknownVersionError: it was never registered.
            BundleRefusedError: its bundle is not what was registered.
        """
        if version not in self._opened:
            known = self._registry.get(version)
            bundle = open_bundle(
                self._registry.objects, self._registry.keys, known.bundle, known.bundle_digest
            )
            self._opened[version] = Reference(
                version,
                bundle.signature,
                bundle.profile(),
                _baseline(bundle),
                _importances(bundle),
                _expectation(bundle),
                _explainer(bundle),
                _pairs(bundle),
                _rows(bundle),
            )
        return self._opened[version]


def shares(importance: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return each input's share of the loss that shuffling brings, as an evaluation measured it.

    What made the loss smaller is chance, and has no share; nor has any where nothing mattered.
    """
    grown = {str(row["name"]): max(float(row["loss"]), 0.0) for row in importance}
    total = sum(grown.values())
    return {name: loss / total if total else 0.0 for name, loss in grown.items()}


def _baseline(bundle: Bundle) -> Baseline | None:
    if "baseline.json" not in bundle.listed:
        return None
    kept = msgspec.json.decode(bundle.file("baseline.json"))
    return None if kept is None else restore(kept)


def _importances(bundle: Bundle) -> dict[str, float]:
    if "report.json" not in bundle.listed:
        return {}
    return shares(msgspec.json.decode(bundle.file("report.json"))["importance"])


def _expectation(bundle: Bundle) -> Expectation | None:
    if "expectation.json" not in bundle.listed:
        return None
    return msgspec.json.decode(bundle.file("expectation.json"), type=Expectation)


def _pairs(bundle: Bundle) -> Pairs:
    return decode(bundle.file("pairs.bin")) if "pairs.bin" in bundle.listed else {}


def _rows(bundle: Bundle) -> Rows | None:
    return Rows.from_bytes(bundle.file("sample.bin")) if "sample.bin" in bundle.listed else None


def _explainer(bundle: Bundle) -> Explainer | None:
    if KEPT not in bundle.listed or bundle.plan is None:
        return None
    return Explainer(bundle.file(KEPT), bundle.signature, bundle.plan)
