"""Without the compiled kernels everything still works, with the same answers."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import loopline
from loopline.kernels.library import library

# Scores a plan and counts a column, as the server and the watcher do.
WORK = """
import sys
import numpy as np
from sklearn.linear_model import LogisticRegression
from loopline.counts.kernel import count_column
from loopline.kernels.library import library
from loopline.model.compile.estimator import compile_plan
from loopline.model.signature import Feature, Input, Signature

generator = np.random.default_rng(3)
matrix = generator.standard_normal((500, 2))
fitted = LogisticRegression().fit(matrix, matrix[:, 0] > 0.2)
signature = Signature(
    "p", "binary", (Input("a", "number"), Input("b", "number")),
    (Feature("a", "number"), Feature("b", "number")), ("0", "1"), 0.5,
)
plan = compile_plan(fitted, signature, "matrix")
numbers = generator.standard_normal(5000) * 10.0 ** generator.integers(-30, 30, 5000)
print(sys.modules["loopline"].__file__, library() is None)
print(plan.score(matrix).tobytes().hex())
print(count_column(numbers).to_bytes().hex())
"""


def test_kernels_of_other_sources_are_refused(tmp_path: Path) -> None:
    if library() is None:
        pytest.skip("nothing was compiled here")
    pulled = tmp_path / "loopline"
    shutil.copytree(Path(loopline.__file__).parent, pulled)
    with (pulled / "kernels" / "turns.c").open("a") as source:
        source.write("/* what a pull brought */\n")

    look = "from loopline.kernels.library import library; library()"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{look}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert "was built from other sources than lie beside it" in done.stderr
    assert "make setup" in done.stderr


def test_a_package_without_compiled_kernels_gives_the_same_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    without = tmp_path / "loopline"
    shutil.copytree(
        Path(loopline.__file__).parent, without, ignore=shutil.ignore_patterns("*.so", "*.pyc")
    )

    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{WORK}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    exec(WORK, {})

    found, scores, counts = done.stdout.splitlines()
    _, here_scores, here_counts = capsys.readouterr().out.splitlines()
    assert found == f"{without / '__init__.py'} True"
    assert counts == here_counts
    # `exp` is the C library's in one and numpy's in the other.
    one, other = (np.frombuffer(bytes.fromhex(text)) for text in (scores, here_scores))
    np.testing.assert_array_max_ulp(one, other, maxulp=4)
