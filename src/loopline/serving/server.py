"""Open a project's stores and models, listen, and stop cleanly.

Needs no contract, no database and no training code: the release document names the bundles, and a
bundle brings its own signature. SIGTERM and SIGINT finish what is being answered, seal the log and
end with 0.
"""

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from loopline.errors import ReleaseError, ServingError
from loopline.governance.access import Access, is_loopback
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
from loopline.serving.transport import BoundedHttp
from loopline.settings import Settings
from loopline.store.objects import Objects

_DRAIN_SECONDS = 5
_BACKLOG = 2048
_COLLECT_AFTER = 50_000
"""New objects before a collection: requests make no cycles, and 700 are seven requests."""
_LOG_SAID = {
    "async": "on disk within 20 ms of the answer",
    "durable": "on disk before the answer",
    "off": "off: nothing is kept, and feedback is refused",
}


@dataclass(frozen=True)
class Options:
    """How to serve."""

    environment: str = "dev"
    host: str = "127.0.0.1"
    port: int = 8080
    log: Level = "async"
    replay: bool = False


class _Server(uvicorn.Server):
    """uvicorn, but signals are ours: its own way ends the process by the signal, not with 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Stopping:
    """Heeds SIGTERM and SIGINT from before the first word until after the last."""

    def __enter__(self) -> "_Stopping":
        self._asked = False
        self._server: _Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._previous = {
            number: signal.signal(number, self._ask) for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def run(self, app: App, listener: socket.socket) -> None:
        """Answer requests until a signal comes, and finish those that are there."""
        config = uvicorn.Config(
            app,
            interface="asgi3",
            http=BoundedHttp,
            ws="none",
            loop="auto",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
        self._server = _Server(config)
        self._server.should_exit = self._asked
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            self._loop = runner.get_loop()
            runner.run(self._server.serve(sockets=[listener]))

    def soon(self, call: Callable[[], None]) -> None:
        """Have `call` made where requests are answered; from any thread."""
        loop = self._loop
        if loop is None:  # nothing is answered yet
            call()
        else:
            with suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(call)

    def _ask(self, *_: object) -> None:
        self._asked = True
        if self._server is not None:
            self._server.should_exit = True


def serve(project: str, settings: Settings, options: Options, say: Callable[[str], None]) -> None:
    """Serve `project` until SIGTERM or SIGINT.

    Raises:
        ServingError: the address cannot be taken, or must not be without a token.
        ReleaseError: nothing is released there, or the document cannot be used.
        BundleRefusedError: a bundle cannot.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    guard = _guard(settings, options)
    metrics = Metrics()
    with _listen(options.host, options.port) as listener, _Stopping() as stopping:

        def refused(why: str) -> None:
            stopping.soon(lambda: _refused(path, why))

        router = _router(project, settings, options.environment, refused)
        folder = settings.home / "log" / project / options.environment
        log = _open_log(folder, options.log)
        try:
            path = PredictionPath(router, log, metrics, replay=options.replay)
            app = App(path, guard)
            say(_greeting(router, listener, options, folder))
            router.follow()
            gc.collect()
            gc.freeze()  # what is loaded stays: a collection need not walk through it again
            gc.set_threshold(_COLLECT_AFTER, 20, 20)
            stopping.run(app, listener)
        finally:
            router.close()
            log.close()


def _refused(path: PredictionPath, why: str) -> None:
    path.metrics.releases_refused += 1
    path.note(RELEASE_REFUSED, 1, why)


def _router(
    project: str, settings: Settings, environment: str, refused: Callable[[str], None]
) -> Router:
    objects, keys = Objects(settings.store_url), Keys(settings.home)

    def latest(after: int) -> Release | None:
        return release.latest(objects, keys, project, environment, after=after)

    def open_version(served: Served) -> Model:
        return load(served, objects, keys, settings)

    if latest(0) is None:
        raise ReleaseError(
            f"Nothing of {project} is released in {environment}. Train and release a version with: "
            "loopline run"
            + ("" if environment == "dev" else f", then: loopline model promote --to {environment}")
        )
    return Router(latest, open_version, on_refused=refused)


def _guard(settings: Settings, options: Options) -> Guard:
    access = Access(settings.home, settings.token)
    if is_loopback(options.host):
        return Guard(access, needs_token=settings.token is not None)
    if not access.exists("predict"):
        raise ServingError(
            f"--host {options.host} can be reached from other machines, and no token is set, so "
            "anybody there could call the model. Set one that callers must send: "
            "export LOOPLINE_TOKEN=$(openssl rand -base64 24)"
        )
    return Guard(access, needs_token=True)


def _listen(host: str, port: int) -> socket.socket:
    try:
        [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)  # who connects from now on waits, and is not refused
    except socket.gaierror as error:
        raise ServingError(f"There is no address for --host {host}: {error.strerror}.") from error
    except OSError as error:
        raise ServingError(
            f"Port {port} on {host} cannot be used: {error.strerror}. Take another, for example: "
            f"loopline serve --port {port + 1 if port < 65535 else 8081}"
        ) from error
    return listener


def _open_log(folder: Path, level: Level) -> LogWriter:
    try:
        return LogWriter(folder, level)
    except OSError as error:
        raise ServingError(
            f"The log cannot be written to {folder}: {error.strerror}. Make the folder writable, "
            "or serve with --log off."
        ) from error


def _greeting(router: Router, listener: socket.socket, options: Options, folder: Path) -> str:
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    names = " and ".join(model.name for model in router.models)
    lines = [
        f"Serving {names} ({options.environment}, release {router.release.number}) at {url}",
        f"  try it  {url}/docs",
        f"  log     {options.log}, {_LOG_SAID[options.log]}"
        + ("" if options.log == "off" else f": {folder}"),
    ]
    if options.replay:
        lines.append("  replay  predictions count as arrived at their event time")
    return "\n".join(lines)
