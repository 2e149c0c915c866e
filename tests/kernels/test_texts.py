"""Texts that need no touching are told from those that may: by Python's own string functions."""

import re

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopline.data.columns import WHOLE
from loopline.kernels import texts
from loopline.kernels.library import library
from loopline.kernels.texts import Marks, marks

pytestmark = pytest.mark.skipif(library() is None, reason="no C compiler found at install")
SIGNS = st.text(st.sampled_from("0.5a \t\u3000é"), max_size=16)
"""Texts of up to twelve bytes lie in their views, longer ones beside them."""


def views(*chunks: list[str | None]) -> pa.ChunkedArray:
    series = pl.concat([pl.Series("text", chunk, pl.String) for chunk in chunks], rechunk=False)
    return series.to_frame().to_arrow(compat_level=pl.CompatLevel.newest()).column("text")


@given(st.lists(SIGNS | st.none(), max_size=5), st.lists(SIGNS | st.none(), max_size=5))
def test_no_text_that_must_be_touched_is_passed_over(
    one: list[str | None], other: list[str | None]
) -> None:
    there = [text for text in one + other if text is not None]

    found = marks(views(one, other))

    edges = [sign for text in there if text for sign in (text[0], text[-1])]
    assert found.is_spaced == any(sign <= " " or sign >= "\x80" for sign in edges)
    assert found.is_spaced >= any(text != text.strip() for text in there)
    assert found.is_pointed == any(re.search(r"\.0+\Z", text) for text in there)
    assert found.is_pointed >= any(re.match(WHOLE, text) for text in there)


def test_plain_texts_short_and_long_need_nothing() -> None:
    plain = ["a b", "v10", "0.50", "1.5", "000", "", None, "a text of more than twelve bytes 0"]

    assert marks(views(plain, ["x"])) == Marks(is_spaced=False, is_pointed=False)


@pytest.mark.parametrize(
    ("text", "spaced", "pointed"),
    [
        (" a", True, False), ("a\t", True, False), ("\u3000a", True, False),
        ("5.0", False, True), ("-12.000", False, True), ("a text ends with 5.0", False, True),
        (" and here is a longer one", True, False), (".0", False, True),
    ],
)  # fmt: skip
def test_one_text_among_many_is_found(text: str, spaced: bool, pointed: bool) -> None:
    plain = [None, *["plain"] * 70]

    found = marks(views(plain, [*plain, text], plain))

    assert found == Marks(is_spaced=spaced, is_pointed=pointed)


def test_a_part_of_a_column_is_looked_at_alone() -> None:
    whole = views([" a", None, "b", None, " c"])

    assert not marks(whole.slice(1, 3)).is_spaced
    assert marks(whole.slice(1, 4)).is_spaced


def test_what_is_kept_otherwise_or_not_compiled_may_have_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert marks(pa.chunked_array([["a"]])) == Marks(is_spaced=True, is_pointed=True)
    monkeypatch.setattr(texts, "_function", lambda: None)
    assert marks(views(["a"])) == Marks(is_spaced=True, is_pointed=True)
