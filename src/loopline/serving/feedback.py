"""What turned out true, as callers send it: checked, and written to the log as it is.

Nothing is joined here: `monitoring/labels.py` decides what an outcome means, and for which
prediction it is the last word.
"""

from typing import Any

import msgspec

from loopline.data.columns import canonical_text, parse_number, parse_time
from loopline.errors import RequestError
from loopline.model.signature import Signature

_LONGEST = 200


class _Outcome(msgspec.Struct, forbid_unknown_fields=True):
    label: str | int | float | bool
    prediction_id: str | None = None
    key: str | int | float | bool | None = None
    observed_at: str | None = None


_decode = msgspec.json.Decoder(list[_Outcome]).decode


def read_outcomes(body: bytes, signature: Signature) -> list[list[Any]]:
    """Return `[prediction_id, key, label, observed_at]` for each outcome in `body`.

    A label is a class's text, or a regression's number; `observed_at` is in microseconds.

    Raises:
        RequestError: one of them cannot be; then none is kept.
    """
    try:
        outcomes = _decode(body if body.lstrip()[:1] == b"[" else b"[" + body + b"]")
    except (ValueError, RecursionError) as error:
        raise RequestError(
            f"This is no feedback: {error!s:.300}. Send one object or a list of them, such as "
            '{"prediction_id": "...", "label": "1", "observed_at": "2013-04-01T06:30:00Z"}; '
            "key may stand in place of prediction_id."
        ) from None
    if not outcomes:
        raise RequestError("The list has no outcomes.")
    return [_entry(outcome, place, signature) for place, outcome in enumerate(outcomes)]


def _entry(outcome: _Outcome, place: int, signature: Signature) -> list[Any]:
    key = canonical_text(outcome.key)
    if (outcome.prediction_id is None) == (key is None):
        raise RequestError(f"Outcome {place} needs prediction_id or key, one of them.")
    if key is not None and signature.key is None:
        raise RequestError(
            f"Outcome {place} has a key, but the contract names no data.key. Send the "
            "prediction_id that came with the prediction."
        )
    if max(len(outcome.prediction_id or ""), len(key or "")) > _LONGEST:
        raise RequestError(f"Outcome {place} has an id of more than {_LONGEST} characters.")
    observed = None
    if outcome.observed_at is not None:
        observed = parse_time(outcome.observed_at.strip())
        if observed is None:
            raise RequestError(
                f"observed_at of outcome {place} is {outcome.observed_at!r:.60}; write a time such "
                "as 2013-04-01T06:30:00Z."
            )
    return [outcome.prediction_id, key, _label(outcome.label, place, signature), observed]


def _label(label: str | int | float | bool, place: int, signature: Signature) -> str | float:
    if signature.task == "regression":
        number = parse_number(label.strip()) if isinstance(label, str) else float(label)
        if number is None:
            raise RequestError(
                f"The label of outcome {place} is {label!r:.60}, but it is a number."
            )
        return number
    text = canonical_text(label)
    if text not in signature.classes:
        raise RequestError(
            f"The label of outcome {place} is {label!r:.60}, but the classes are "
            f"{', '.join(signature.classes[:20])}."
        )
    return text
