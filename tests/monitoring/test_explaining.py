"""What holds a change is told of a column whatever it is called."""

import numpy as np
import polars as pl
import pytest

from loopline.monitoring.explaining import _holding


@pytest.mark.parametrize("name", ["carrier", "count", "value", "rows"])
def test_the_value_that_holds_a_change_is_found(name: str) -> None:
    values = pl.Series(name, ["UA", "AA"] * 400)
    after = np.arange(800) >= 400
    bins = np.where(after & (values == "UA").to_numpy(), 1, 0)  # only UA moved

    assert _holding(name, values, bins, after) == ({"column": name, "value": "UA", "share": 1.0},)
