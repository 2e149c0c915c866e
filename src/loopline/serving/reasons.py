"""Reasons beside an answer, for whoever asks: `explain` in the query, a header or the body.

An answer in JSON gets a field `explanations`, an entry for each row; a dialect that has a better
place for them says so with `explained`. What nobody asks for costs nothing.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs

import msgspec

from loopline.errors import RequestError
from loopline.serving.dialects.base import JSON, Call, Dialect, Encoded

USUAL = 5
"""Reasons told of a row by default."""
MOST = 1000
EXPLAINED_ROWS = 100
"""Of one request at most, where the explanation is exact."""
SAMPLED_ROWS = 10
"""Where the model must be asked some thousand times for each."""
HEADER = b"x-amzn-sagemaker-enable-explanations"
"""SageMaker passes no query on, but this header."""

_encode = msgspec.json.Encoder().encode
_SPELT = {"": USUAL, "true": USUAL, "false": 0, "`true`": USUAL, "`false`": 0}


def wanted(said: object, where: str) -> int:
    """Return how many reasons of each row a caller wants who `said` this; 0 is none.

    Raises:
        RequestError: it is neither true, false nor a number of reasons.
    """
    if said is None or said is False:
        return 0
    if said is True:
        return USUAL
    text = str(said).strip().lower()
    if text in _SPELT:
        return _SPELT[text]
    if text.isascii() and text.isdigit() and len(text) < 5 and int(text) <= MOST:
        return int(text)
    raise RequestError(
        f"{where} is {said!r:.60}; it may be true, false, or how many reasons of each row: at most "
        f"{MOST}."
    )


def by_query(query: bytes) -> int:
    """Return what `?explain=` asks for.

    Raises:
        RequestError: it says something else.
    """
    said = parse_qs(query.decode("latin-1"), keep_blank_values=True, max_num_fields=100)
    return wanted(said["explain"][-1], "explain in the query") if "explain" in said else 0


def asking(call: Call, parameters: dict[str, Any] | None, name: str) -> Call:
    """Return `call` with what the parameters of a body ask for; `name` is what they are called.

    Raises:
        RequestError: they say something else.
    """
    if not parameters or "explain" not in parameters:
        return call
    number = wanted(parameters["explain"], f"{name}.explain")
    return msgspec.structs.replace(call, explain=number)


def told(dialect: Dialect, encoded: Encoded, reasons: Sequence[dict[str, Any]]) -> Encoded:
    """Return an answer with the reasons of its rows.

    Raises:
        RequestError: the answer has no place for them.
    """
    place = getattr(dialect, "explained", None)
    if JSON not in encoded.headers or not encoded.body.endswith(b"}"):
        raise RequestError("Reasons are told in JSON alone. Ask for an answer in JSON.")
    if place is not None:
        found: Encoded = place(encoded, reasons)
        return found
    body = b'%b,"explanations":%b}' % (encoded.body[:-1], _encode(reasons))
    return Encoded(body, encoded.headers)
