"""Columns arrive at the worker as they left the server."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from loopline.model.runtimes.wire import pack, unpack

numbers = npst.arrays(
    st.sampled_from([np.float64, np.int64, np.bool_, np.float32]),
    npst.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=5),
)
times = npst.arrays(np.dtype("datetime64[us]"), st.integers(0, 5))
texts = st.lists(st.one_of(st.none(), st.text(), st.integers(-9, 9)), max_size=6)


@given(st.dictionaries(st.text(), st.one_of(numbers, times), max_size=4), texts)
def test_what_is_packed_is_unpacked(columns: dict[str, np.ndarray], words: list) -> None:
    objects = np.empty(len(words), object)
    objects[:] = words

    found = unpack(pack({**columns, "words": objects}))

    assert list(found) == list({**columns, "words": 0})
    for name, values in {**columns, "words": objects}.items():
        assert found[name].dtype == values.dtype
        assert found[name].shape == values.shape
        if values.dtype.kind == "O":
            assert found[name].tolist() == values.tolist()
        else:
            assert found[name].tobytes() == values.tobytes()


def test_a_view_with_gaps_arrives_as_what_it_shows() -> None:
    grid = np.arange(12.0).reshape(3, 4)

    found = unpack(pack({"column": grid[:, 1], "turned": grid.T}))

    assert found["column"].tolist() == [1.0, 5.0, 9.0]
    assert found["turned"].tolist() == grid.T.tolist()
