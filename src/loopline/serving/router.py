"""Follows the release document: which versions answer, and for which share of the requests.

A thread looks for the next number a few times a second, and opens, verifies and warms what it names
before any request sees it; then one assignment switches. A document or bundle that cannot be used
changes nothing: what served goes on serving.
"""

import logging
import threading
import time
import zlib
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

from loopline.errors import LooplineError, ReleaseError, UnknownVersionError
from loopline.registry.release import Release, Served
from loopline.serving.models import Model

_LOOK_SECONDS = 0.3
_RETRY_SECONDS = 30.0
"""A release whose bundle was refused is tried again after so long; a newer one at once."""

_KEEP_SECONDS = 600.0
"""A plan that answers no more stays open so long: going back to it needs the document alone."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Serving:
    """One release, ready to answer."""

    release: Release
    models: tuple[Model, ...]
    limits: tuple[float, ...]
    """Where each model's share ends, the last at 1."""
    shadows: tuple[Model, ...]
    arms: dict[int, str]
    """What people call each version in an A/B test; empty where they call it nothing."""


class Router:
    """Chooses the model for a request, and keeps up with the releases."""

    def __init__(
        self,
        latest: Callable[[int], Release | None],
        load: Callable[[Served], Model],
        *,
        on_refused: Callable[[str], None],
    ) -> None:
        """Open what is released now.

        `latest` returns the newest release after a number, `load` opens one version of it and
        `on_refused` hears, in the thread that follows, why one could not be used.

        Raises:
            ReleaseError: nothing is released, or the document cannot be used.
            BundleRefusedError: a bundle cannot.
        """
        self._latest = latest
        self._load = load
        self._on_refused = on_refused
        self._refused_number = 0
        self._refused_until = 0.0
        self._complaint: str | None = None
        self._retired: dict[Model, float] = {}
        """What answers no more, and since when."""
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        release = latest(0)
        if release is None:
            raise ReleaseError("Nothing is released.")
        self._serving = self._open(release, ())

    @property
    def release(self) -> Release:
        """The release that is followed."""
        return self._serving.release

    @property
    def models(self) -> tuple[Model, ...]:
        """The models that answer now."""
        return self._serving.models

    @property
    def shadows(self) -> tuple[Model, ...]:
        """The models that are asked too, and answer nobody."""
        return self._serving.shadows

    def arm(self, version: int) -> str:
        """Return what people call `version` in an A/B test."""
        # A version that answered may be gone from the release a moment later.
        return self._serving.arms.get(version, "")

    def choose(self, key: str) -> Model:
        """Return the model for `key`: the same one for the same key, while the shares stand."""
        serving = self._serving
        if len(serving.models) == 1:
            return serving.models[0]
        point = zlib.crc32(key.encode("utf-8", "surrogatepass")) / 2**32
        # The last limit is 1, but for rounding.
        return serving.models[min(bisect_right(serving.limits, point), len(serving.models) - 1)]

    def named(self, version: int) -> Model:
        """Return the model of `version`.

        Raises:
            UnknownVersionError: the release does not name it.
        """
        models = {model.version: model for model in self._serving.models}
        if version not in models:
            raise UnknownVersionError(
                f"Version {version} does not answer here. Versions: {', '.join(map(str, models))}."
            )
        return models[version]

    def follow(self) -> None:
        """Keep up with the releases, in a thread, until `close`."""
        self._thread = threading.Thread(target=self._follow, name="releases", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop following, and end the models' workers."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        for model in (*self._retired, *self._serving.models, *self._serving.shadows):
            model.close()

    def look(self) -> None:
        """Switch to the newest release, if there is a newer one that can be used."""
        self._close_retired()
        number = self._serving.release.number
        try:
            release = self._latest(number)
            if release is None or self._is_waiting(release.number):
                return
            number = release.number
            kept = [model for model in self._retired if model.batcher is None]
            present = (*self._serving.models, *self._serving.shadows, *kept)
            opened = self._open(release, present)
        except LooplineError as error:
            if number > self._serving.release.number:
                self._refused_number = number
                self._refused_until = time.monotonic() + _RETRY_SECONDS
            self._refuse(str(error))
            return
        previous, self._serving = self._serving, opened
        self._complaint = None
        stays, now = (*opened.models, *opened.shadows), time.monotonic()
        before = dict.fromkeys((*previous.models, *previous.shadows), now) | self._retired
        self._retired = {model: since for model, since in before.items() if model not in stays}
        _log.info("Release %d: %s.", number, " and ".join(model.name for model in opened.models))

    def _follow(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            self.look()

    def _open(self, release: Release, present: tuple[Model, ...]) -> _Serving:
        """Load what `release` names, but for what answers already."""
        answering = [served for served in release.serves if served.share > 0 and not served.shadow]
        if not answering:
            raise ReleaseError(f"Release {release.number} gives no version a share of the traffic.")
        shadows = [served for served in release.serves if served.shadow]
        known = {(model.version, model.bundle_digest): model for model in present}
        models: list[Model] = []
        try:
            for served in (*answering, *shadows):
                model = known.get((served.version, served.bundle_digest))
                models.append(self._load(served) if model is None else model)
        except LooplineError:
            for model in models:
                if model not in present:
                    model.close()
            raise
        whole = sum(served.share for served in answering)
        limits = accumulate(served.share / whole for served in answering)
        split = len(answering)
        # It goes into a header as it stands.
        arms = {
            served.version: served.arm
            for served in release.serves
            if served.arm.isascii() and served.arm.isprintable()
        }
        own, others = tuple(models[:split]), tuple(models[split:])
        return _Serving(release, own, tuple(limits), others, arms)

    def _is_waiting(self, number: int) -> bool:
        return number == self._refused_number and time.monotonic() < self._refused_until

    def _close_retired(self) -> None:
        gone = time.monotonic() - _KEEP_SECONDS
        for model, since in tuple(self._retired.items()):
            # An original holds a process, and so goes as soon as it has answered.
            if not model.in_flight and (model.batcher is not None or since <= gone):
                del self._retired[model]
                model.close()

    def _refuse(self, complaint: str) -> None:
        if complaint != self._complaint:
            self._complaint = complaint
            self._on_refused(complaint)
            _log.error("The release stays as it is: %s", complaint)
