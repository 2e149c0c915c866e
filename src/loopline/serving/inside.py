"""The server without a listener: for platforms that call a function in place of a port.

The same application, router and log as `loopline serve`; a call is a request made by hand.
What a call asks for is answered when it returns, since such a platform may stop the process there.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from loopline.errors import ReleaseError
from loopline.governance.signing import Keys
from loopline.registry import release
from loopline.registry.release import Release, Served
from loopline.serving.app import App
from loopline.serving.guard import Guard
from loopline.serving.log import RELEASE_REFUSED, Level, LogWriter
from loopline.serving.metrics import Metrics
from loopline.serving.models import Model, load
from loopline.serving.path import Path as PredictionPath
from loopline.serving.router import Router
from loopline.serving.upload import Uploader
from loopline.settings import Settings
from loopline.store.objects import Objects


@dataclass(frozen=True)
class Answered:
    """What a call got."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


class Inside:
    """An application, and the event loop that its calls run in; for one thread at a time."""

    def __init__(self, app: App, runner: asyncio.Runner) -> None:
        self._app = app
        self._runner = runner

    @property
    def guard(self) -> Guard:
        """Who gets in."""
        return self._app.guard

    def call(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        query: bytes = b"",
    ) -> Answered:
        """Answer one request; header names are in lower case."""
        return self._runner.run(self._call(method, path, headers, body, query))

    async def _call(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        query: bytes,
    ) -> Answered:
        kept = [(name, value) for name, value in headers if name != b"content-length"]
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query,
            "headers": [*kept, (b"content-length", b"%d" % len(body))],
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        reply = await self._app.reply(scope, receive)
        assert reply is not None  # noqa: S101 - this caller does not go away
        await self._app.host.path.shadowed()
        size = (b"content-length", b"%d" % len(reply.body))
        return Answered(reply.status, [*reply.headers, size], reply.body)


@contextmanager
def opened(
    project: str,
    settings: Settings,
    *,
    environment: str,
    log: Level,
    guard: Guard,
) -> Iterator[Inside]:
    """Open what is released of `project`, and close it at the end.

    Raises:
        ReleaseError: nothing is released there, or the document cannot be used.
        BundleRefusedError: a bundle cannot.
    """
    objects, keys = Objects(settings.store_url), Keys(settings.home)
    metrics = Metrics()
    noted: list[str] = []

    def latest(after: int) -> Release | None:
        return release.latest(objects, keys, project, environment, after=after)

    def open_version(served: Served) -> Model:
        return load(served, objects, keys, settings)

    if latest(0) is None:
        raise ReleaseError(
            f"Nothing of {project} is released in {environment}. Promote a version there with: "
            f"loopline model promote --to {environment}"
        )
    router = Router(latest, open_version, on_refused=noted.append)
    writer = LogWriter(settings.home / "log" / project / environment, log)
    path = PredictionPath(router, writer, metrics)
    try:
        with asyncio.Runner() as runner:
            router.follow()
            app = App(path, guard, settings.environment)
            yield Inside(app, runner)
            for why in noted:
                path.note(RELEASE_REFUSED, 1, why)
    finally:
        router.close()
        writer.close()
        Uploader(writer.folder, objects).once()


def plain_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return a platform's headers as ASGI has them; what no header can hold is left out."""
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in headers.items()
        if not any(sign in "\r\n\0" or ord(sign) > 255 for sign in name + value)
    ]
