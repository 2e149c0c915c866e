"""Any page: what stands in it is text or data, never code."""

import json

from loopline.counts.kernel import Profile
from loopline.counts.saved import Profiled
from loopline.publishing.page import _kinds, _packed, embedded, html


def test_data_in_a_page_can_end_no_block_and_comes_back_as_it_was():
    content = {"</script><script>": ["<!--", "\u2028", "&amp;"]}

    text = embedded(content)

    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == content


def shown(table):
    table_of = Profiled("t", 1, {"a": "number"}, Profile({}))
    return {
        "tables": [table_of], "drifted": 0, "limit": "0.2", "column_heads": ("a", "b", "c"),
        "columns": table, "change_heads": (), "changes": (), "charts": [], "more": 0,
    }  # fmt: skip


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

    page = html("profile.html", [], **shown(table))

    assert "\ufffdgnp.exe\ufffd" in page
    assert not set("\u202e\x00") & set(page)
    # A language written from the right is as it was, and so is a line's end.
    assert "\u05e9\u05dc\u05d5\u05dd" in page
    assert "two\nlines" in page
