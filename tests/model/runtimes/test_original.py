"""The worker: it alone unpickles, it may die, and its callers get an answer or a clear error."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import cloudpickle
import msgspec
import numpy as np
import pytest

from loopline.errors import RequestError, RuntimeUnavailableError
from loopline.governance.signing import Keys
from loopline.model.bundle import open_bundle, write
from loopline.model.runtimes.original import OriginalRuntime
from loopline.model.signature import Feature, Input, Signature
from loopline.store.objects import Objects

SIGNATURE = Signature(
    "sum",
    "regression",
    (Input("a", "number"), Input("t", "category")),
    (Feature("a", "number"), Feature("t", "category", ("x", "y"))),
)


def _estimator():
    """An estimator that travels whole, so that the worker starts without scikit-learn."""

    class Talkative:
        def predict(self, rows):
            import os
            import time

            print("printed by the model")  # noqa: T201 - as a team's own may
            first = rows[0, 0]
            if first == -1:
                raise ValueError("no negative numbers\nand more")
            if first == -2:
                os._exit(3)
            if first == -3:
                time.sleep(60)
            return rows.sum(axis=1)

    return Talkative()


@pytest.fixture
def runtime(tmp_path):
    objects, keys = Objects((tmp_path / "store").as_uri()), Keys(tmp_path / "home")
    files = {
        "signature.json": msgspec.json.encode(SIGNATURE),
        "original.pkl": cloudpickle.dumps(("matrix", _estimator())),
    }
    digest = write(objects, keys, "bundles/sum/1", files)
    bundle = open_bundle(objects, keys, "bundles/sum/1", digest)
    started = OriginalRuntime(bundle, tmp_path / "home", objects.url, dict(os.environ))
    yield started
    started.close()


def _columns(*numbers, text="y"):
    texts = np.full(len(numbers), text, dtype=object)
    return {"a": np.array(numbers, dtype=np.float64), "t": texts}


def test_the_worker_answers_whatever_the_model_prints(runtime):
    assert runtime.process_id is None

    assert runtime.score(_columns(1.0, 2.5)).tolist() == [3.0, 4.5]
    gaps = runtime.score(_columns(1.0, np.nan, text=None))

    assert np.isnan(gaps).all()
    assert runtime.process_id not in (None, os.getpid())


def test_rows_that_the_model_refuses_are_the_callers_fault_and_the_worker_stays(runtime):
    runtime.score(_columns(0.0))
    process = runtime.process_id

    with pytest.raises(RequestError, match=r"It says: ValueError: no negative numbers$"):
        runtime.score(_columns(-1.0))

    assert runtime.score(_columns(1.0)).tolist() == [3.0]
    assert runtime.process_id == process


def test_a_killed_worker_is_started_again_with_the_next_request(runtime):
    runtime.score(_columns(1.0))
    process = runtime.process_id

    os.kill(process, signal.SIGKILL)
    os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)

    assert runtime.score(_columns(1.0)).tolist() == [3.0]
    assert runtime.process_id != process


def test_a_worker_that_dies_over_a_request_fails_that_one_alone(runtime):
    with pytest.raises(RuntimeUnavailableError, match=r"stopped answering \(it ended\)"):
        runtime.score(_columns(-2.0))

    assert runtime.score(_columns(1.0)).tolist() == [3.0]


def test_a_worker_that_takes_too_long_is_ended(runtime, monkeypatch):
    runtime.score(_columns(1.0))
    process = runtime.process_id
    monkeypatch.setattr(runtime, "_seconds", 0.3)

    with pytest.raises(RuntimeUnavailableError, match="took too long"):
        runtime.score(_columns(-3.0))

    assert runtime.process_id is None
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_stopped_worker_holds_no_caller_even_with_more_than_a_pipe_takes(runtime, monkeypatch):
    runtime.score(_columns(1.0))
    os.kill(runtime.process_id, signal.SIGSTOP)
    monkeypatch.setattr(runtime, "_seconds", 0.3)
    began = time.monotonic()

    with pytest.raises(RuntimeUnavailableError, match="took too long"):
        runtime.score(_columns(*range(100_000)))

    assert time.monotonic() - began < 10


def test_large_requests_pass_whole(runtime):
    numbers = np.random.default_rng(0).normal(size=200_000) ** 2

    found = runtime.score(_columns(*numbers, text="x"))

    assert np.array_equal(found, numbers + 1)


def test_callers_at_once_each_get_their_own_answer(runtime):
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda k: runtime.score(_columns(*[float(k)] * 3)), range(60)))

    assert [scores.tolist() for scores in found] == [[k + 2.0] * 3 for k in range(60)]


def test_ctrl_c_leaves_the_worker_to_the_server(runtime):
    runtime.score(_columns(1.0))
    process = runtime.process_id

    os.kill(process, signal.SIGINT)

    assert runtime.score(_columns(1.0)).tolist() == [3.0]
    assert runtime.process_id == process


def test_closing_ends_the_worker(runtime):
    runtime.score(_columns(1.0))
    process = runtime.process_id

    runtime.close()

    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_the_worker_verifies_the_bundle_itself(runtime, tmp_path):
    path = tmp_path / "store" / "bundles" / "sum" / "1" / "original.pkl"
    path.write_bytes(path.read_bytes()[:-1] + b"!")

    with pytest.raises(RuntimeUnavailableError, match=r"original\.pkl is not what was signed"):
        runtime.score(_columns(1.0))
