"""Any page: what stands in it is text or data, never code."""

import json
import re
from importlib.resources import files

import pytest

from loopline.counts.kernel import Profile
from loopline.counts.saved import Profiled
from loopline.publishing import profile
from loopline.publishing.page import _kinds, _packed, embedded
from loopline.publishing.sheets import Sheet


def test_data_in_a_page_can_end_no_block_and_comes_back_as_it_was():
    content = {"</script><script>": ["<!--", "\u2028", "&amp;"]}

    text = embedded(content)

    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == content


def test_a_table_that_two_charts_draw_stands_in_the_page_once():
    rows = [{"at": 1, "name": "a"}, {"at": 2, "name": "b"}]
    layers = [{"data": {"values": rows}}, {"data": {"values": [dict(row) for row in rows]}}]

    packed = _packed([{"layer": layers}, {"data": {"values": rows}, "axis": {"values": [1, 2]}}])

    assert packed == {
        "tables": [[["at", "name"], [1, "a"], [2, "b"]]],
        "specs": [
            {"layer": [{"data": {"values": 0}}, {"data": {"values": 0}}]},
            # The ticks of an axis are no table.
            {"data": {"values": 0}, "axis": {"values": [1, 2]}},
        ],
    }


def test_a_column_of_figures_stands_to_the_right_and_names_do_not():
    rows = [
        ("2026-03-01 12:00", "v1", "1,234", "34.46 USD", "-0.5", "12.5%", "1e-05", "3 days"),
        ("2026-03-01 13:00", "12", "", "4 USD", "7", "3.00%", "0.1", "4 days"),
    ]

    assert _kinds(rows) == ["when", "", "number", "number", "number", "number", "number", ""]


def test_a_text_cannot_hide_nor_turn_around_what_stands_beside_it():
    table = [("\u202egnp.exe\x00", "\u05e9\u05dc\u05d5\u05dd", "two\nlines")]

    page = profile.html(
        [Profiled("t", 1, {}, Profile({}))], [], [("Columns", Sheet(("a", "b", "c"), table))]
    )

    assert "\ufffdgnp.exe\ufffd" in page
    assert not set("\u202e\x00") & set(page)
    # A language written from the right is as it was, and so is a line's end.
    assert "\u05e9\u05dc\u05d5\u05dd" in page
    assert "two\nlines" in page


def luminance(color: str) -> float:
    """Return the relative luminance of WCAG 2."""
    digits = color if len(color) == 6 else "".join(2 * digit for digit in color)
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_colour_of_a_text_can_be_read_on_its_ground(scheme):
    style = (files("loopline.publishing") / "page.css").read_text(encoding="utf-8")
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[scheme]
    colors = dict(re.findall(r"--([\w-]+): #([0-9a-f]+);", block))
    ground = luminance(colors["ground"])

    for name in ("ink", "faint", "good", "bad", "warn", "series-1"):
        low, high = sorted((luminance(colors[name]), ground))
        assert (high + 0.05) / (low + 0.05) >= 4.5, name
