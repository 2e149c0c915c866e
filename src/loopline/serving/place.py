"""How a server was asked to serve: what its processes have in common, and what it says first."""

import resource
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from loopline.errors import ServingError
from loopline.governance.access import Access, is_loopback
from loopline.serving.guard import Guard
from loopline.serving.limits import Limits
from loopline.serving.log import Level
from loopline.serving.router import Router
from loopline.settings import Settings

if TYPE_CHECKING:
    from loopline.serving.grpc import Listener


_SPARE_FILES = 256
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
    workers: int = 1
    in_flight: int = Limits.in_flight
    figures: bool = False
    """Whether the figures are said too, a line of JSON a minute."""
    grpc_port: int | None = None
    """Where the Open Inference Protocol is spoken over gRPC; None is nowhere."""


@dataclass(frozen=True)
class Place:
    """What the processes of one server have in common."""

    project: str
    settings: Settings
    options: Options
    guard: Guard
    listener: socket.socket
    say: Callable[[str], None]

    @property
    def log_folder(self) -> Path:
        """Where predictions are kept."""
        return self.settings.home / "log" / self.project / self.options.environment


def guard_of(settings: Settings, options: Options) -> Guard:
    """Return who may call.

    Raises:
        ServingError: anybody could, from other machines.
    """
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


def limits_of(options: Options) -> Limits:
    """Return the bounds of a process, with no more connections than it may open files."""
    limits = Limits(in_flight=options.in_flight)
    wanted = limits.connections + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted and hard != soft:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return replace(limits, connections=max(16, min(limits.connections, soft - _SPARE_FILES)))


def greeting(router: Router, place: Place, grpc: "Listener | None") -> str:
    """Return what is said when the server answers."""
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
