from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from loopline.scaffold.write import comment, flow, scalar

texts = st.text(st.characters(codec="utf-8"), max_size=30)
values = st.recursive(
    st.one_of(
        texts, st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans()
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)


def read(text: str) -> object:
    return YAML(typ="safe", pure=True).load(text)


@given(texts)
def test_any_text_is_a_safe_scalar_as_key_and_as_value(text: str) -> None:
    assert read(f"a: {scalar(text)}  # why\nb: 1\n") == {"a": text, "b": 1}
    assert read(f"a:\n  {scalar(text)}: 2  # why\n") == {"a": {text: 2}}


@given(values)
def test_any_value_reads_back_from_one_line(value: object) -> None:
    text = flow(value)

    assert "\n" not in text
    assert read(f"a: {text}  # why") == {"a": value}


@given(texts)
def test_a_comment_cannot_leave_its_line(text: str) -> None:
    assert read(f"a: 1  # {comment(text)}\nb: 2\n") == {"a": 1, "b": 2}


def test_plain_words_are_not_quoted_and_words_that_yaml_reads_otherwise_are() -> None:
    assert [scalar(word) for word in ("age", "a b", "n/a", "24 h")] == [
        "age",
        "a b",
        "n/a",
        '"24 h"',
    ]
    assert [scalar(word) for word in ("yes", "Null", "1", "1e3", "~", "")] == [
        '"yes"', '"Null"', '"1"', '"1e3"', '"~"', '""',
    ]  # fmt: skip
    assert scalar('extract(hour from "at")') == "'extract(hour from \"at\")'"
