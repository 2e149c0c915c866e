"""What a serving protocol has to do: name its routes, read a body, write an answer and an error.

A dialect is made once for each model version, so that it can keep what it worked out about the
order in which a caller sends its columns. It knows bytes and columns, and nothing of models.

What is made for every request is a msgspec structure: a frozen dataclass takes ten times as long.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import msgspec

from loopline.data.columns import SPACE
from loopline.errors import RequestError
from loopline.model.signature import Signature

if TYPE_CHECKING:
    from loopline.serving.routes import Route
    from loopline.serving.rows import Rows

JSON = (b"content-type", b"application/json")

_LAYOUTS = 64
"""Orders of columns remembered for a version; callers use one or two."""
_LONGEST_LAYOUT = 100_000
"""Characters of names; a longer order is worked out each time, so that callers fill no memory."""


class Content(msgspec.Struct, frozen=True):
    """What the headers say about a body."""

    type: str
    """The media type, lower case, without parameters; empty when none was given."""
    json_bytes: int | None = None
    """`Inference-Header-Content-Length`: raw tensors follow after so many bytes."""
    accept: str = ""
    """`Accept`, lower case: the media type that the caller wants back, with its parameters."""
    has_header: bool | None = None
    """What `text/csv; header=` says of the first line; None where it says nothing."""
    client_id: str | None = None
    """The caller's own id, where a platform carries it beside the body."""
    explain: int = 0
    """How many reasons of each row the caller wants."""

    def wants(self) -> tuple[str, dict[str, str]]:
        """Return the first media type that the caller accepts, and its parameters."""
        kind, *parameters = self.accept.partition(",")[0].split(";")
        named = (parameter.partition("=") for parameter in parameters)
        return kind.strip(), {name.strip(): value.strip(' "') for name, _, value in named}


class Call(msgspec.Struct, frozen=True, gc=False):
    """One request for predictions, in the order of the signature's inputs."""

    rows: int
    values: Sequence[Any]
    """One row: a value for each input. More: a list for each input, None where it is absent."""
    unknown: int = 0
    """Columns that the model does not know."""
    client_id: str | None = None
    options: Any = None
    """What the dialect wants to see again in `answer`."""
    explain: int = 0
    """How many reasons of each row the body asks for."""
    read: "Rows | None" = None
    """The rows themselves, where they were read at once; then there are no values."""


class Outputs(msgspec.Struct, frozen=True, gc=False):
    """What a model said about the rows of one call."""

    labels: list[str] | None
    """Class labels; None for a regression."""
    scores: list[list[float | None]]
    """Binary: the positive class's probabilities. Multiclass: a list for each class. Regression:
    the predictions. None where the model gave no number."""


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """An answer on the wire."""

    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = (JSON,)


class Paths(Protocol):
    """What every file here says: where it is spoken.

    A platform that has paths of its own for what others read and write says nothing else.
    """

    routes: ClassVar[Sequence["Route"]]


class Dialect(Paths, Protocol):
    """One serving protocol, for one model version."""

    home: ClassVar[str | None]
    """Under which path an error is written as this dialect does, where there is no route."""

    def __init__(self, signature: Signature, version: int) -> None:
        """Prepare for the version's inputs and outputs."""

    def read(self, body: bytes, content: Content) -> Call:
        """Return what `body` asks for.

        Raises:
            RequestError: the body is malformed, or a column that the model needs is absent.
        """

    def answer(self, call: Call, outputs: Outputs, request_id: str) -> Encoded:
        """Return an answer; row `i`'s prediction id is `request_id-i`."""

    @staticmethod
    def error(status: int, message: str) -> bytes:
        """Return the body of an error, as JSON."""


@runtime_checkable
class AtOnce(Protocol):
    """A dialect that can read its usual body straight into a plan's rows."""

    def at_once(self, body: bytes, content: Content) -> Call | None:
        """Return what `read` would, with the rows read; None where `read` is to be asked."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the columns of one request become the signature's inputs."""

    pick: Callable[[Sequence[Any]], Sequence[Any]]
    """From the request's columns and a final None (for absent ones) to the inputs."""
    unknown: int


@dataclass(frozen=True)
class Inputs:
    """The columns that a version knows, found by name."""

    signature: Signature
    _layouts: dict[tuple[str, ...], Layout] = field(default_factory=dict, repr=False)

    @property
    def names(self) -> list[str]:
        """The inputs' names, in order."""
        return [column.name for column in self.signature.inputs]

    def layout(self, names: tuple[str, ...]) -> Layout:
        """Return how a request with the columns `names` is read.

        Raises:
            RequestError: a column is there twice, or one that the model needs is not.
        """
        known = self._layouts.get(names)
        if known is not None:
            return known
        # A CSV file's names are read without the space around them, and so are a caller's.
        expected = set(self.names)
        told = [name if name in expected else name.strip(SPACE) for name in names]
        places: Mapping[str, int] = {name: place for place, name in enumerate(told)}
        if len(places) < len(names):
            twice = sorted(name for name, times in Counter(told).items() if times > 1)
            raise RequestError(f"The request has {_listed(twice)} more than once.")
        inputs = self.signature.inputs
        absent = [column.name for column in inputs if column.required and column.name not in places]
        if absent:
            raise RequestError(
                f"The request has no {_listed(absent)}, and the model needs it. Send null where "
                f"the value is not known. The model's columns: {_listed(self.names)}."
            )
        order = [places.get(name, len(names)) for name in self.names]
        pick = itemgetter(*order) if len(order) > 1 else lambda all_: [all_[order[0]]]
        layout = Layout(pick, unknown=len(set(told) - expected))
        if len(self._layouts) < _LAYOUTS and sum(map(len, names), len(names)) < _LONGEST_LAYOUT:
            self._layouts[names] = layout
        return layout


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name:.60}'" for name in names[:50])
    return shown if len(names) <= 50 else f"{shown} and {len(names) - 50} more"
