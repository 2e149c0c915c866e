"""Bodies read at once mean what they mean otherwise, or are read otherwise."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from loopline.data.row_sql import parse
from loopline.kernels.library import library
from loopline.model.signature import Feature, Input, Signature
from loopline.serving.dialects.base import Content
from loopline.serving.dialects.inference_protocol import InferenceProtocol
from loopline.serving.rows import Reader
from loopline.serving.tensors import Tensors

pytestmark = pytest.mark.skipif(library() is None, reason="the kernels were not compiled")

TYPES: dict[str, Any] = {
    "a": "number", "b": "integer", "c": "boolean", "d": "category", "e": "text", "f": "time",
    "größe": "number", "h": "category",
}  # fmt: skip
_NUMBERS = [
    "1", "0", "-1", "1.5", "3.0", "2e1", "-2.25e3", "1E-7", "123456789.123456789",
    "9007199254740991",
    "9007199254740993", "9223372036854775807", "1e23", "0.16521529854232803", "1e400", "-0", "-0.0",
    "01", "1.", "+1", ".5", "-", "1e", "-999", "4.9e-324", "1.7976931348623157e308", "0e0", "0E+5",
    "99999999999999999999999999999999999999999e-40", "true", "null", "NaN", "nul", '"39"',
]  # fmt: skip
_TEXTS = [
    '"5.0"', '"7.00"', '"-10.0"', '"x.0"', '".0"', '"\\ud83d\\ude00"', '"\\ud800"', '"a\\"b"',
    '"x"', '"5"', '"10"', '" x"', '"x "', '"?"', '""', '"true"', '"é"', '"München"',
    '"\\u00e9"', '"\\n"', '"a\tb"', '"\u00a0x"', '"x\u3000"', '"x0"', '"\u20ac"', '"-999"', '"1.5"',
    '"\U0001f600"', '"\x7f"', "null", "5", "-5", "5.5", "true", "10", "[1]", "{}",
]  # fmt: skip
_TIMES = [
    '"2013-01-01"', '"2013-01-01T05:00:00"', '"2013-01-01 05:00"', '"2013-02-29"',
    '"2012-02-29T23:59:59.123456Z"', '"2013-12-31T23:59:59.1234567"', '"2013-01-01T05:00:00+02:00"',
    '"2013-01-01T05:00:00-11:30"', '"2013-1-1"', '"2013-01-01T24:00"', '"1969-12-31T23:59:59"',
    '"0999-01-01"', '"9999-12-31"', '"2013-01-01T05:00:00.Z"', '"2013-01-01T05:00:60"', "null",
    '"2013-01-01T05:00:00 UTC"', '"?"', "5", '"2013-13-01"', '"1900-02-29"', '"1600-03-01"',
]  # fmt: skip
POOLS = {
    "number": _NUMBERS, "integer": _NUMBERS, "category": _TEXTS, "text": _TEXTS, "time": _TIMES,
    "boolean": ["true", "false", "null", '"true"', "1", "0", '"?"', "2"],
}  # fmt: skip
USUAL = {
    "number": ["1", "1.5", "-2e3", "null", "0.1", '"?"'], "integer": ["1", "0", "-7", "null"],
    "boolean": ["true", "false", "null"], "category": ['"x"', '"é"', '"unseen"', "null", "5"],
    "text": ['"abc"', '"de f"', "null", "7", '"?"'], "time": ['"2013-01-01T05:00:00"', "null"],
}  # fmt: skip


@pytest.fixture(scope="module")
def signature() -> Signature:
    hour = parse("extract(hour from f)", TYPES)
    week = parse("extract(week from f)", TYPES)
    size = parse("case when a > 1000 then 'long' when d = 'x' then 'short' else e end", TYPES)
    return Signature(
        "p",
        "binary",
        tuple(
            Input(name, kind, required=name not in {"c", "e", "h"}, logged=name != "b")
            for name, kind in TYPES.items()
        ),
        (
            Feature("a", "number"),
            Feature("b", "number"),
            Feature("d", "category", ("x", "5", "10", "true", "é", "München", "1.5")),
            Feature("hour", "number", sql=hour.sql, steps=hour.steps),
            Feature("week", "number", sql=week.sql, steps=week.steps),
            Feature("c", "number"),
            Feature("size", "category", ("long", "short", "z"), sql=size.sql, steps=size.steps),
            Feature("größe", "number"),
            Feature("h", "category", ("p", "q")),
        ),
        classes=("no", "yes"),
        missing=("?", "", "-999"),
    )


def bodies(chance: random.Random, count: int) -> Iterator[bytes]:
    """Yield requests of which most are usual, some strange, and some spoilt byte by byte."""
    signs = b'"{}[],:0123456789eE.-+ \\\x00\x01\x80\xff\xc3\xa9ntf'
    for _ in range(count):
        spoilt = bytearray(_body(chance, usual=chance.random() < 0.7).encode())
        for _ in range(chance.choice([0, 0, 0, 0, 1, 3])):
            at, act = chance.randrange(len(spoilt)), chance.random()
            if act < 0.4:
                spoilt[at] = chance.choice(signs)
            elif act < 0.7:
                del spoilt[at]
            else:
                spoilt.insert(at, chance.choice(signs))
        yield bytes(spoilt)


def _body(chance: random.Random, *, usual: bool) -> str:
    rows, names = chance.choice([1, 1, 2, 5]), list(TYPES)
    if chance.random() < 0.2:
        chance.shuffle(names)
    if chance.random() < 0.1:
        names.remove(chance.choice(names))
    if chance.random() < 0.03:
        names.append(chance.choice([*names, "zz"]))
    gap = chance.choice(["", " ", "\n\t "])
    tensors = []
    for name in names:
        kind = TYPES.get(name, "number")
        values = [
            chance.choice(USUAL[kind] if usual and chance.random() < 0.97 else POOLS[kind])
            for _ in range(rows)
        ]
        fields = [
            f'"name":{gap}{json.dumps(name, ensure_ascii=chance.random() < 0.5)}',
            f'"shape":{gap}[{gap}{rows}{gap}{chance.choice(["", "", f",{gap}1"])}]',
            f'"datatype"{gap}: "{chance.choice(["FP64", "BYTES", "INT64", "BOOL"])}"',
            f'"data":[{gap}{f",{gap}".join(values)}{gap}]',
        ]
        if chance.random() < 0.02:
            fields.append(chance.choice([*fields, '"parameters":{}']))
        if chance.random() < 0.3:
            fields[1], fields[2] = fields[2], fields[1]
        tensors.append("{" + f",{gap}".join(fields) + "}")
    parts = [f'"inputs":{gap}[{gap}' + f",{gap}".join(tensors) + "]"]
    if chance.random() < 0.2:
        parts.insert(chance.choice([0, 1]), f'"id":{gap}{chance.choice(_TEXTS)}')
    return f"{gap}{{{f',{gap}'.join(parts)}}}{gap}"


def test_whatever_is_read_at_once_is_what_the_decoder_and_the_rules_make_of_it(
    signature: Signature,
) -> None:
    dialect, reader = InferenceProtocol(signature, 1), Reader(signature, takes_columns=False)
    content, taken = Content("application/json"), 0

    for body in bodies(random.Random(7), 2_500):
        call = dialect.at_once(body, content)
        if call is None:
            continue
        taken += 1
        assert call.read is not None
        assert call.read.matrix is not None
        assert isinstance(call.read.logged, msgspec.Raw)
        seen, logged = call.read.matrix.copy(), msgspec.msgpack.decode(call.read.logged)
        known = dialect.read(body, content)
        rows = (
            reader.one(known.values) if known.rows == 1 else reader.many(known.values, known.rows)
        )
        assert (call.rows, call.unknown, call.client_id, call.options) == (
            known.rows, known.unknown, known.client_id, known.options,
        ), body  # fmt: skip
        assert logged == [list(column) for column in rows.logged], body
        np.testing.assert_array_equal(seen, rows.matrix, str(body))

    assert taken > 500


@pytest.mark.parametrize("which", ["late", "origin", "delay"])
@pytest.mark.parametrize("rows", [1, 100])
def test_answers_and_log_are_the_same_either_way(
    serve: Any, tensors: Callable[..., Any], request: pytest.FixtureRequest, which: str, rows: int
) -> None:
    trained = request.getfixturevalue(which)
    asked = {"id": "mine", "inputs": tensors(trained, trained.records[:rows])}

    def told(body: dict[str, Any]) -> tuple[Any, Any]:
        client = serve(trained)
        answer = client.post("/v2/models/flight-delays/infer", body)
        assert answer.status == 200
        [*_, frame] = [frame for frame in client.frames() if frame[0] == "p"]
        return answer.json["outputs"], frame[8:]

    assert told(asked) == told({**asked, "parameters": {}})  # which is read the other way


def test_reasons_raw_tensors_and_features_of_no_use_are_left_to_others(
    signature: Signature,
) -> None:
    dialect = InferenceProtocol(signature, 1)
    body = next(each for each in bodies(random.Random(7), 50) if _is_taken(dialect, each))

    assert dialect.at_once(body, Content("application/json", json_bytes=len(body))) is None
    assert dialect.at_once(body, Content("application/json", explain=3)) is None
    odd = Signature("p", "regression", (Input("a", "text"),), (Feature("a", "category", ("x",)),))
    with pytest.raises(LookupError, match="a is no category as it is sent"):
        Tensors(odd)
    assert InferenceProtocol(odd, 1).at_once(body, Content("application/json")) is None


def _is_taken(dialect: InferenceProtocol, body: bytes) -> bool:
    return dialect.at_once(body, Content("application/json")) is not None
