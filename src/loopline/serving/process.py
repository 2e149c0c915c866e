"""One process that answers: it loads what is released, serves it, and stops cleanly.

The models are loaded in a thread: whoever connects meanwhile is told that it is up and not ready.
SIGTERM and SIGINT finish what is being answered, seal the log and end with 0.
"""

import asyncio
import contextlib
import gc
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from loopline.errors import LooplineError, ReleaseError, ServingError
from loopline.governance.signing import Keys
from loopline.registry import release
from loopline.registry.release import Release, Served
from loopline.serving import metrics
from loopline.serving.accepting import Server
from loopline.serving.app import ROUTES, App
from loopline.serving.limits import Intake
from loopline.serving.log import RELEASE_REFUSED, Level, LogWriter
from loopline.serving.metrics import Metrics
from loopline.serving.models import Model, load
from loopline.serving.path import Path as PredictionPath
from loopline.serving.place import Place, greeting, limits_of
from loopline.serving.router import Router
from loopline.serving.routes import health_paths
from loopline.serving.transport import Connection
from loopline.serving.upload import Uploader
from loopline.serving.workers import SIGNALS, Board
from loopline.settings import Settings
from loopline.store.objects import Objects

if TYPE_CHECKING:
    from loopline.serving.grpc import Listener

_GRACE_SECONDS = 1.0
"""After SIGTERM, while connections are open: who balances the load sees that this server is not
ready, and each answer tells its caller to connect anew."""
_DRAIN_SECONDS = 7
_POST_SECONDS = 1.0
_FIGURES_SECONDS = 60.0
_COLLECT_AFTER = 50_000
"""New objects before a collection: requests make no cycles, and 700 are seven requests."""


async def _unused(_scope: Any, _receive: Any, _send: Any) -> None:
    """Stand where uvicorn wants an application: `Intake.app` is asked, once there is one."""


class Process:
    """One process that answers: the only one, or a worker."""

    def __init__(self, place: Place, board: Board | None = None, number: int = 0) -> None:
        self._place = place
        self._board = board
        self._number = number
        self._intake = Intake(limits_of(place.options))
        self._metrics = Metrics(self._intake)
        if board is not None:
            self._metrics.others = lambda: board.others(number)
        environment = place.settings.environment
        self._intake.live = frozenset(health_paths(ROUTES, "live", environment))
        self._intake.ready = frozenset(health_paths(ROUTES, "ready", environment))
        self._intake.spared = {*self._intake.live, *self._intake.ready, "/metrics"}
        config = uvicorn.Config(
            _unused,
            interface="asgi3",
            http=Connection,  # it is only kept: `Server` makes the connections
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
        self._is_first = board is None or (number == 0 and not board.has_ended)
        self._server = Server(
            config,
            self._intake,
            place.listener,
            is_alone=board is None,
            is_first=self._is_first,
        )
        self._factory = config.get_loop_factory()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._path: PredictionPath | None = None
        self._grpc: Listener | None = None
        self._uploader = Uploader(place.log_folder, Objects(place.settings.store_url))
        self._metrics.uploader = self._uploader
        self._failure: BaseException | None = None

    def run(self, alive: int | None = None) -> None:
        """Answer until a signal comes or the pipe `alive` ends, and finish what is there.

        Raises:
            LooplineError: the models cannot be loaded.
        """
        previous = {number: signal.signal(number, self._ask) for number in SIGNALS}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        try:
            with asyncio.Runner(loop_factory=self._factory) as runner:
                self._loop = runner.get_loop()
                if alive is not None:
                    self._loop.add_reader(alive, self._orphaned, alive)
                threading.Thread(target=self._load, name="loading", daemon=True).start()
                runner.run(self._server.serve())
                if self._grpc is not None:
                    runner.run(self._grpc.stop())
                self._loop = None
        finally:
            if self._path is not None:
                self._path.router.close()
                self._path.log.close()
                self._uploader.close()
                self._tell()
            for number, handler in previous.items():
                signal.signal(number, handler)
        if self._failure is not None:
            raise self._failure

    def _ask(self, number: int = signal.SIGTERM, *_: object) -> None:
        self._intake.is_draining = True
        if number == signal.SIGTERM:
            self._server.grace_seconds = _GRACE_SECONDS
        self._server.should_exit = True

    def _orphaned(self, alive: int) -> None:
        """End, since the parent has."""
        if self._loop is not None:
            self._loop.remove_reader(alive)
        self._ask()

    def _load(self) -> None:
        """Open what is released, and begin to answer; in a thread of its own."""
        place, options = self._place, self._place.options
        try:
            router = _router(
                place.project, place.settings, options.environment, self._metrics, self._refused
            )
            log = _open_log(place.log_folder, options.log)
            path = PredictionPath(router, log, self._metrics, replay=options.replay)
            app = App(path, place.guard, place.settings.environment)
        except BaseException as error:  # noqa: BLE001 - raised again where the server ends
            self._failure = error
            self._server.should_exit = True
            return
        self._soon(lambda: self._open(path, app))

    def _open(self, path: PredictionPath, app: App) -> None:
        self._path = path
        if self._server.should_exit:
            return
        gc.collect()
        gc.freeze()  # what is loaded stays: a collection need not walk through it again
        gc.set_threshold(_COLLECT_AFTER, 20, 20)
        if self._place.options.grpc_port is not None and not self._open_grpc(app):
            return
        path.router.follow()
        if self._place.options.log != "off":
            self._uploader.start()
        self._intake.app = app
        self._server.accept()
        if self._is_first:
            self._place.say(greeting(path.router, self._place, self._grpc))
        if self._board is not None:
            self._post()
        elif self._place.options.figures:
            self._later(_FIGURES_SECONDS, self._tell_again)

    def _open_grpc(self, app: App) -> bool:
        """Begin to listen for gRPC too; return False when the server ends for want of it."""
        from loopline.serving.grpc import Listener

        options = self._place.options
        assert self._loop is not None and options.grpc_port is not None  # noqa: S101, PT018
        try:
            shared = options.workers > 1
            self._grpc = Listener(
                app, options.host, options.grpc_port, is_shared=shared, intake=self._intake
            )
        except LooplineError as error:
            self._failure = error
            self._server.should_exit = True
            return False
        self._starting = self._loop.create_task(self._grpc.start())
        return True

    def _post(self) -> None:
        """Let the other processes know this one's figures, again and again."""
        assert self._board is not None and self._path is not None  # noqa: S101, PT018
        families = self._metrics.families(self._path.router, self._path.log)
        self._board.post(self._number, families)
        self._later(_POST_SECONDS, self._post)

    def _tell_again(self) -> None:
        self._tell()
        self._later(_FIGURES_SECONDS, self._tell_again)

    def _tell(self) -> None:
        """Say the figures; of several processes the parent does it."""
        assert self._path is not None  # noqa: S101 - it is open
        families = self._metrics.families(self._path.router, self._path.log)
        if self._board is not None:
            self._board.post(self._number, families)
        elif self._place.options.figures:
            self._place.say(figures_line([families]))

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        if self._loop is not None:
            self._loop.call_later(seconds, call)

    def _soon(self, call: Callable[[], None]) -> None:
        """Have `call` made where requests are answered; from any thread."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(call)

    def _refused(self, why: str) -> None:
        """Count and log that a release cannot be used; from the thread that follows."""

        def note() -> None:
            self._metrics.releases_refused += 1
            if self._path is not None:
                self._path.note(RELEASE_REFUSED, 1, why)

        self._soon(note)


def _router(
    project: str,
    settings: Settings,
    environment: str,
    counted: Metrics,
    refused: Callable[[str], None],
) -> Router:
    objects, keys = Objects(settings.store_url), Keys(settings.home)

    def latest(after: int) -> Release | None:
        return release.latest(objects, keys, project, environment, after=after)

    def open_version(served: Served) -> Model:
        model = load(served, objects, keys, settings)
        if model.batcher is not None:
            model.batcher.on_batch = counted.batched
        return model

    if latest(0) is None:
        raise ReleaseError(
            f"Nothing of {project} is released in {environment}. Train and release a version with: "
            "loopline run"
            + ("" if environment == "dev" else f", then: loopline model promote --to {environment}")
        )
    return Router(latest, open_version, on_refused=refused)


def _open_log(folder: Path, level: Level) -> LogWriter:
    try:
        return LogWriter(folder, level)
    except OSError as error:
        raise ServingError(
            f"The log cannot be written to {folder}: {error.strerror}. Make the folder writable, "
            "or serve with --log off."
        ) from error


def figures_line(processes: list[list[metrics.Family]]) -> str:
    """Return the figures of all processes as a line of JSON."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return metrics.line(metrics.total(processes), now).decode()
