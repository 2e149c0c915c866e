"""What a route is, and which one a request takes.

Every dialect brings its own routes, so a new platform is one file. Several may speak on one path:
the content type says whose a body is, and where that does not settle it the dialects look at the
body. A route that declares no permission cannot be made, so nothing is open by accident.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from loopline.errors import ServingError, SettingError
from loopline.model.signature import Signature
from loopline.serving.dialects.base import JSON, Content, Dialect, Paths
from loopline.serving.guard import Permission
from loopline.serving.reading import RefusedError

if TYPE_CHECKING:
    from loopline.serving.path import Path

_PLACES = re.compile(r"\{(model|version|name)\}")
_Form = Callable[[int, str], bytes]
"""Writes an error of a status and a message."""
_NAMED_PATH = re.compile(r"/[A-Za-z0-9._~:/-]{0,400}")


class Request(msgspec.Struct, frozen=True, gc=False):
    """What a route sees of a request."""

    body: bytes
    content: Content
    version: int | None = None
    """The model version in the path, if it names one."""
    name: str | None = None
    """What stands in the path at `{name}`."""


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What goes back."""

    status: int
    body: bytes
    headers: Sequence[tuple[bytes, bytes]] = (JSON,)


@dataclass(frozen=True)
class Host:
    """What a route may ask of its server."""

    project: str
    path: "Path"
    routes: Sequence["Route"]
    """Those that there are here."""
    named: dict[str, int] = field(default_factory=dict)
    """Versions by what a platform called them when it loaded them."""


@dataclass(frozen=True)
class Route:
    """One path and method, and who may call it."""

    method: str
    path: str
    """`{model}` is the project and `{version}` a number; `$NAME` is the path that the environment
    variable NAME says, and without it there is no such route."""
    permission: Permission
    summary: str
    does: Callable[[Host, Request], Awaitable[Reply]] | None = None
    """What answers; None is a prediction, read and written by the dialect whose route this is."""
    takes: tuple[str, ...] = ()
    """Media types of a body; the empty one is a request that names none."""
    example: Callable[[Signature], Any] | None = None
    """A body in JSON that it takes, for whoever reads the description."""
    claims: Callable[[bytes], bool] | None = None
    """Whether a body is this dialect's, where another one takes the type too."""
    same_as: str | None = None
    """The path whose routes answer here too, in every dialect that speaks there."""
    version_of: Callable[[Host, str], int] | None = None
    """The version that `{name}` in the path means."""
    only_if: str | None = None
    """The environment variable that must be 1 for this route to be there."""
    says: Literal["live", "ready"] | None = None
    """Of a health route: that the process is up, or that a model answers."""

    def __post_init__(self) -> None:
        if self.permission not in get_args(Permission):
            raise ServingError(
                f"The route {self.method} {self.path} declares no permission. Give it one of "
                f"{', '.join(get_args(Permission))}."
            )


class Speaker(msgspec.Struct, frozen=True):
    """A route, and the dialect that reads and writes there."""

    route: Route
    dialect: str


class Place(msgspec.Struct, frozen=True):
    """One path and method: everything that may answer there."""

    route: Route
    """Whose permission and path count."""
    takes: tuple[str, ...]
    default: Speaker
    """Who answers where there is no body."""
    speakers: Mapping[str, tuple[Speaker, ...]]
    """Media type to the dialects that take it, those that must claim a body first."""
    error: _Form
    predicts: bool

    def speaker(self, kind: str, body: bytes) -> Speaker:
        """Return who reads a body of the media type `kind`, one of `takes`."""
        found = self.speakers[kind]
        if len(found) == 1:
            return found[0]
        for speaker in found[:-1]:
            claims = speaker.route.claims
            if claims is None or claims(body):
                return speaker
        return found[-1]


class Table:
    """Every path of one server."""

    def __init__(
        self,
        project: str,
        own: Sequence[Route],
        dialects: Mapping[str, type[Paths | Dialect]],
        environment: Mapping[str, str],
    ) -> None:
        """Gather the routes that there are, given the environment.

        Raises:
            SettingError: the environment names a path that is none.
        """
        self._project = project
        written: dict[str, Any] = {
            name: kind for name, kind in dialects.items() if hasattr(kind, "error")
        }
        self._forms: dict[str, _Form] = {
            kind.home: kind.error for kind in written.values() if kind.home is not None
        }
        offered = [Speaker(route, "") for route in own]
        offered += [
            Speaker(route, name) for name, kind in dialects.items() for route in kind.routes
        ]
        present = [speaker for speaker in offered if _is_present(speaker.route, environment)]
        # A path that the environment names is what the platform calls: it replaces any other.
        present.sort(key=lambda speaker: speaker.route.path.startswith("$"))
        gathered: dict[tuple[str, str], list[Speaker]] = {}
        for speaker in present:
            where = (speaker.route.method, _path(speaker.route, environment))
            if speaker.route.path.startswith("$"):
                gathered[where] = []
            gathered.setdefault(where, []).append(speaker)
        self._exact: dict[tuple[str, str], Place] = {}
        self._patterns: list[tuple[re.Pattern[str], Place]] = []
        forms: dict[str, _Form] = {name: kind.error for name, kind in written.items()}
        self.routes: list[Route] = []
        """Those that there are, with the paths that they have here."""
        for (method, path), found in gathered.items():
            first = found[0].route
            answering = found if first.same_as is None else gathered[method, first.same_as]
            place = _place(first, answering, forms, self.form(path))
            self._exact[method, path.replace("{model}", project)] = place
            self._patterns.append((_pattern(path), place))
            self.routes += [replace(speaker.route, path=path) for speaker in answering]

    def form(self, path: str) -> _Form:
        """Return how an error is written under `path`, whether or not there is such a route."""
        home = max((home for home in self._forms if path.startswith(home)), key=len)
        return self._forms[home]

    def exact(self, method: str, path: str) -> Place | None:
        """Return what answers at a path without anything to read in it: the usual way."""
        return self._exact.get((method, path))

    def search(self, method: str, path: str) -> tuple[Place, int | None, str | None]:
        """Return what answers, with the version and the name in the path.

        Raises:
            RefusedError: nothing does; it says why.
        """
        if method == "HEAD":  # answered like a GET; the transport leaves the body out
            method = "GET"
        methods = []
        refusal = RefusedError(404, "There is nothing under this path. What there is: GET /docs.")
        for pattern, place in self._patterns:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            said = match.groupdict()
            if said.get("model", self._project) != self._project:
                message = f"There is no such model here. The model is '{self._project}'."
                refusal = RefusedError(404, message)
            elif place.route.method == method:
                return place, version_number(said.get("version")), said.get("name")
            else:
                methods.append(place.route.method)
        if methods:
            allow = ", ".join(methods)
            message = f"{method:.20} is not answered here; {allow} is."
            refusal = RefusedError(405, message, (b"allow", allow.encode()))
        raise refusal


def health_paths(
    routes: Sequence[Route], says: Literal["live", "ready"], environment: Mapping[str, str]
) -> list[str]:
    """Return the paths by which a platform asks for `says`."""
    found = [route for route in routes if route.says == says and _is_present(route, environment)]
    return [_path(route, environment) for route in found]


def _is_present(route: Route, environment: Mapping[str, str]) -> bool:
    if route.only_if is not None and environment.get(route.only_if) != "1":
        return False
    return not route.path.startswith("$") or bool(environment.get(route.path[1:]))


def _path(route: Route, environment: Mapping[str, str]) -> str:
    if not route.path.startswith("$"):
        return route.path
    path = environment[route.path[1:]]
    if not _NAMED_PATH.fullmatch(path):
        raise SettingError(
            f"{route.path[1:]} is {path!r:.80}, but a path begins with / and has letters, digits "
            "and - . _ ~ : / alone."
        )
    return path


def _place(
    first: Route, answering: Sequence[Speaker], forms: Mapping[str, _Form], usual: _Form
) -> Place:
    if {speaker.route.permission for speaker in answering} != {first.permission}:
        raise ServingError(f"The routes of {first.path} differ in their permission.")
    speakers: dict[str, tuple[Speaker, ...]] = {}
    # Whoever must look at a body is asked before whoever takes what is left.
    for speaker in sorted(answering, key=lambda each: each.route.claims is None):
        for kind in speaker.route.takes:
            speakers[kind] = (*speakers.get(kind, ()), speaker)
    takes = sorted(speakers, key=lambda kind: (kind != "application/json", kind))
    owner = speakers[""][-1] if "" in speakers else answering[0]
    predicts = any(speaker.route.does is None for speaker in answering)
    return Place(first, tuple(takes), owner, speakers, forms.get(owner.dialect, usual), predicts)


def _pattern(path: str) -> re.Pattern[str]:
    parts = _PLACES.split(path)
    text = "".join(
        f"(?P<{part}>[^/]+)" if place % 2 else re.escape(part) for place, part in enumerate(parts)
    )
    return re.compile(text.replace("(?P<model>[^/]+):", "(?P<model>[^/:]+):"))


def version_number(text: str | None) -> int | None:
    """Return the number of a version as callers write it.

    Raises:
        RefusedError: it is none.
    """
    if text is None:
        return None
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise RefusedError(404, f"'{text:.20}' is no version; a version is a number such as 3.")
    return int(text)
