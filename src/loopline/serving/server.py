"""Open a project's stores and models, listen, and stop cleanly.

Needs no contract, no database and no training code: the release document names the bundles, and a
bundle brings its own signature. The address is taken first and the models are loaded in a thread:
whoever connects meanwhile is told that it is up and not ready. SIGTERM and SIGINT finish what is
being answered, seal the log and end with 0.
"""

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from loopline.errors import LooplineError, ReleaseError, ServingError
from loopline.governance.access import Access, is_loopback
from loopline.governance.signing import Keys
from loopline.registry import release
from loopline.registry.release import Release, Served
from loopline.serving import metrics
from loopline.serving.app import ROUTES, App
from loopline.serving.guard import Guard
from loopline.serving.limits import Intake, Limits
from loopline.serving.log import RELEASE_REFUSED, Level, LogWriter
from loopline.serving.metrics import Metrics
from loopline.serving.models import Model, load
from loopline.serving.path import Path as PredictionPath
from loopline.serving.router import Router
from loopline.serving.routes import health_paths
from loopline.serving.transport import Connection
from loopline.serving.upload import Uploader
from loopline.serving.workers import SIGNALS, Board, Workers
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
_BACKLOG = 2048
_SPARE_FILES = 256
_AT_ONCE = 64
"""Connections that are accepted before the next requests are looked at."""
_AGAIN_SECONDS = 0.1
_COLLECT_AFTER = 50_000
"""New objects before a collection: requests make no cycles, and 700 are seven requests."""
_LOG_SAID = {
    "async": "on disk within 20 ms of the answer",
    "durable": "on disk before the answer",
    "off": "off: nothing is kept, and feedback is refused",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How to serve."""

    environment: str = "dev"
    host: str = "127.0.0.1"
    port: int = 8080
    log: Level = "async"
    replay: bool = False
    workers: int = 1
    in_flight: int = Limits.in_flight
    figures: bool = False
    """Whether the figures are said too, a line of JSON a minute."""
    grpc_port: int | None = None
    """Where the Open Inference Protocol is spoken over gRPC; None is nowhere."""


def serve(project: str, settings: Settings, options: Options, say: Callable[[str], None]) -> None:
    """Serve `project` until SIGTERM or SIGINT.

    Raises:
        ServingError: the address cannot be taken, or must not be without a token.
        ReleaseError: nothing is released there, or the document cannot be used.
        BundleRefusedError: a bundle cannot.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    release.document_key(project, options.environment, 1)  # before folders are named after them
    guard = _guard(settings, options)
    with _listen(options.host, options.port) as listener:
        _answer(_Place(project, settings, options, guard, listener, say))


def _answer(place: "_Place") -> None:
    options, say = place.options, place.say
    if options.workers == 1:
        _Process(place).run()
        return
    board = Board(options.workers)

    def work(number: int, alive: int) -> None:
        _Process(place, board, number).run(alive)

    def every_minute() -> None:
        if options.figures:
            say(_line(board.others(-1)))

    workers = Workers(options.workers, work, board, place.listener, every_minute)
    code = workers.run()
    every_minute()
    if code:
        raise SystemExit(code)  # the worker has said why


@dataclass(frozen=True)
class _Place:
    """What the processes of one server have in common."""

    project: str
    settings: Settings
    options: Options
    guard: Guard
    listener: socket.socket
    say: Callable[[str], None]

    @property
    def log_folder(self) -> Path:
        return self.settings.home / "log" / self.project / self.options.environment


class _Server(uvicorn.Server):
    """uvicorn, but for how it begins and ends.

    Left to itself the event loop accepts whatever waits, and one of several workers was measured to
    take eight connections of eight. Signals are ours: uvicorn's own way ends the process by the
    signal, not with 0.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        intake: Intake,
        listener: socket.socket,
        *,
        is_alone: bool,
        is_first: bool,
    ) -> None:
        """Only the first process of a server accepts before it has a model: the others would
        turn away whom one that has could answer."""
        super().__init__(config)
        self._is_first = is_first
        self._intake = intake
        self._listener = listener
        self._is_alone = is_alone
        self._opening: set[asyncio.Task[Any]] = set()
        self.grace_seconds = 0.0

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.servers = []
        self._listener.setblocking(False)
        if self._is_first:
            self.accept()
        self.started = True

    def accept(self) -> None:
        """Take connections from now on."""
        if not self.should_exit:
            asyncio.get_running_loop().add_reader(self._listener, self._accept_some)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._intake.is_draining = True
        loop = asyncio.get_running_loop()
        until = loop.time() + self.grace_seconds
        while self._intake.connections and loop.time() < until:
            await asyncio.sleep(0.02)
        loop.remove_reader(self._listener)
        while self._accept():  # who waits there would be cut off
            pass
        self._listener.close()
        await asyncio.gather(*self._opening, return_exceptions=True)
        await super().shutdown()

    def _accept_some(self) -> None:
        # One at first, so that the other workers get some too; more where there are many already.
        most = _AT_ONCE if self._is_alone else 1 + len(self._intake.connections) // 8
        for _ in range(most):
            if not self._accept():
                return

    def _accept(self) -> bool:
        loop = asyncio.get_running_loop()
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # another worker was there first
            return False
        except OSError as error:  # no more files may be open
            _log.error("A connection cannot be accepted: %s.", error.strerror)
            loop.remove_reader(self._listener)
            loop.call_later(_AGAIN_SECONDS, self.accept)
            return False
        task = loop.create_task(loop.connect_accepted_socket(self._connect, connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return True

    def _connect(self) -> Connection:
        return Connection(self._intake, self.server_state)


async def _unused(_scope: Any, _receive: Any, _send: Any) -> None:
    """Stand where uvicorn wants an application: `Intake.app` is asked, once there is one."""


class _Process:
    """One process that answers: the only one, or a worker."""

    def __init__(self, place: _Place, board: Board | None = None, number: int = 0) -> None:
        self._place = place
        self._board = board
        self._number = number
        self._intake = Intake(_limits(place.options))
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
            http=Connection,  # it is only kept: `_Server` makes the connections
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
        self._server = _Server(
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
            self._place.say(_greeting(path.router, self._place, self._grpc))
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
            self._place.say(_line([families]))

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


def _guard(settings: Settings, options: Options) -> Guard:
    access = Access(settings.home, settings.token)
    if settings.platform_authenticates:
        return Guard(access, needs_token=False, is_behind=True, workers=options.workers)
    if is_loopback(options.host):
        needs_token = settings.token is not None
        return Guard(access, needs_token=needs_token, workers=options.workers)
    if not access.exists("predict"):
        raise ServingError(
            f"--host {options.host} can be reached from other machines, and no token is set, so "
            "anybody there could call the model. Make one that callers must send: "
            "loopline token make NAME --scope predict, or: "
            "export LOOPLINE_TOKEN=$(openssl rand -base64 24). Where a platform lets only callers "
            "through that it has authenticated, set LOOPLINE_ACCESS=platform instead."
        )
    return Guard(access, needs_token=True, workers=options.workers)


def _limits(options: Options) -> Limits:
    """Return the bounds of a process, with no more connections than it may open files."""
    limits = Limits(in_flight=options.in_flight)
    wanted = limits.connections + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted and hard != soft:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return replace(limits, connections=max(16, min(limits.connections, soft - _SPARE_FILES)))


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


def _greeting(router: Router, place: _Place, grpc: "Listener | None") -> str:
    options = place.options
    host, port = place.listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    names = " and ".join(model.name for model in router.models)
    lines = [f"Serving {names} ({options.environment}, release {router.release.number}) at {url}"]
    if options.workers > 1:
        lines.append(f"  workers {options.workers}")
    if grpc is not None:
        lines.append(f"  grpc    {options.host}:{grpc.port}")
    lines.append(f"  try it  {url}/docs")
    kept = "" if options.log == "off" else f": {place.log_folder}"
    lines.append(f"  log     {options.log}, {_LOG_SAID[options.log]}{kept}")
    if options.replay:
        lines.append("  replay  predictions count as arrived at their event time")
    return "\n".join(lines)


def _line(processes: list[list[metrics.Family]]) -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return metrics.line(metrics.total(processes), now).decode()
