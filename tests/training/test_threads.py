"""Numerical libraries on one thread, whichever came first."""

import subprocess
import sys

_AFTERWARDS = """
from loopline.training.threads import one_thread
with one_thread():
    from threadpoolctl import threadpool_info
    from sklearn.ensemble import HistGradientBoostingClassifier
    assert threadpool_info()
    print(max(library["num_threads"] for library in threadpool_info()))
"""


def test_a_library_that_is_first_used_within_has_one_thread_too() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _AFTERWARDS],
        capture_output=True,
        text=True,
        check=True,
        env={"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "4"},
    )

    assert done.stdout.strip() == "1"
