"""What a version promised: its signature and the profile of the data it was made from.

The reference is the profile stored with the model version, never last week's traffic: a model that
drifts slowly would drag its own yardstick along.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np

from loopline.counts.kernel import Profile
from loopline.counts.pairs import Pairs, decode
from loopline.data.columns import Columns
from loopline.data.multivariate import Rows
from loopline.evaluation.expectation import Expectation
from loopline.model.bundle import Bundle, open_bundle
from loopline.model.explanation import KEPT, Explainer
from loopline.model.runtimes.original import OriginalRuntime
from loopline.model.signature import Signature
from loopline.registry.versions import Registry
from loopline.settings import Settings
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
    """What explains its predictions; None for one that was made without what that needs."""
    pairs: Pairs = field(default_factory=dict)
    """Inputs that the contract wanted watched together, as they were in its training rows."""
    rows: Rows | None = None
    """A sample of these rows; None where the contract did not ask for one."""


class References:
    """The references of one project; each is opened once."""

    def __init__(self, registry: Registry, settings: Settings | None = None) -> None:
        """With `settings` a version that its original answers can be asked for reasons.

        Its worker is started when it is first asked, and ended by `rest`.
        """
        self._registry = registry
        self._settings = settings
        self._opened: dict[int, Reference] = {}
        self._asked: list[_Asked] = []

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
                self._explainer(bundle),
                _pairs(bundle),
                _rows(bundle),
            )
        return self._opened[version]

    def rest(self) -> None:
        """End the workers of originals that were asked; the next question starts them again."""
        for asked in self._asked:
            asked.close()

    def _explainer(self, bundle: Bundle) -> Explainer | None:
        if KEPT not in bundle.listed:
            return None
        if bundle.plan is not None:
            return Explainer(bundle.file(KEPT), bundle.signature, bundle.plan)
        if "model.onnx" not in bundle.listed and self._settings is None:
            return None
        asked = _Asked(bundle, self._settings)
        self._asked.append(asked)
        return Explainer(bundle.file(KEPT), bundle.signature, None, asked.score)


class _Asked:
    """A network or an original, opened when it is first asked."""

    def __init__(self, bundle: Bundle, settings: Settings | None) -> None:
        self._bundle = bundle
        self._settings = settings
        self._worker: OriginalRuntime | None = None

    def score(self, columns: Columns) -> np.ndarray:
        """Return the scores of rows, as the server would.

        Raises:
            RequestError: the model cannot score such rows.
            RuntimeUnavailableError: the original's worker does not answer.
            MissingExtraError: ONNX Runtime is not installed.
        """
        network = self._bundle.network
        if network is not None:
            return network.score(columns)
        if self._worker is None:
            assert self._settings is not None  # noqa: S101 - an original is asked with them alone
            self._worker = OriginalRuntime(
                self._bundle,
                self._settings.home,
                self._settings.store_url,
                self._settings.environment,
            )
        return self._worker.score(columns)

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()


def travelling(reference: Reference) -> Reference:
    """Return a reference as it may leave this process: without what asks an original or a network.

    Those belong to this workspace; who has none finds what is reviewed without reasons.
    """
    explainer = reference.explainer
    is_asked = explainer is not None and explainer.is_asked
    return replace(reference, explainer=None) if is_asked else reference


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
