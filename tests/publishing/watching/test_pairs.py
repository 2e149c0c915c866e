"""Pairs are drawn over time, beside the training rows they are held against."""

import json
from dataclasses import replace

import numpy as np

from loopline.counts.pairs import association, count_pairs, moved
from loopline.monitoring.pairs import Together


def test_a_pair_is_drawn_over_time_beside_its_training_rows(past, chart, history, point):
    draw = np.random.default_rng(1)
    x = draw.normal(size=400)
    y = x + draw.normal(size=400)
    before = count_pairs(x, y, (0.0, 0.0))
    now = count_pairs(x, draw.permutation(y), (0.0, 0.0))
    change, current = moved(before, now), association(now)
    seen = replace(
        history(replace(point(0, 0.7), together={"x:y": current}), point(1, 0.7)),
        together=(Together(("x", "y"), 400, change),),
    )

    made = chart(past, seen, "x and y")

    assert made.title == "x and y: rank correlation"
    assert made.rows[0][:3] == ("x:y", f"{change.reference.value:.3f}", f"{current.value:.3f}")
    assert '"training rows"' in json.dumps(made.spec)


def test_where_no_stretch_alone_has_enough_rows_the_window_is_drawn(
    past, chart, history, point, rows_of
):
    draw = np.random.default_rng(1)
    x = draw.normal(size=400)
    counted = count_pairs(x, x + draw.normal(size=400), (0.0, 0.0))
    change = moved(counted, counted)
    seen = replace(
        history(point(0, 0.7), point(1, 0.7)), together=(Together(("x", "y"), 400, change),)
    )

    made = chart(past, seen, "x and y")

    day = 24 * 3_600_000
    drawn = {row["at"]: row["value"] for row in rows_of(made.spec) if row.get("series") == "v1"}
    assert drawn == {1.5 * day: change.current.value}
