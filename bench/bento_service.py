"""The model as BentoML's documentation serves one, with adaptive batching.

Rows are a list: of a dataframe BentoML 1.4.40 takes the shape for the number of rows, so that
batching fails. Run in an environment of its own, so it imports nothing of the bench and Loopline.
"""

import os
import pickle
from pathlib import Path
from typing import Any

import bentoml
import pandas as pd

_KINDS, _MODEL = pickle.loads(Path(os.environ["BENCH_MODEL"]).read_bytes())
_NUMBERS = {name: float for name, kind in _KINDS.items() if kind == "number"}


@bentoml.service(workers=1, threads=1, traffic={"timeout": 60, "max_concurrency": 512})
class Flights:
    """One worker; requests that arrive together are scored together."""

    @bentoml.api(batchable=True, max_batch_size=3200)
    def predict(self, flights: list[dict[str, Any]]) -> list[float]:
        """Return the probability of each flight."""
        columns = {name: [flight[name] for flight in flights] for name in _KINDS}
        frame = pd.DataFrame(columns).astype(_NUMBERS)
        probabilities: list[float] = _MODEL.predict_proba(frame)[:, 1].tolist()
        return probabilities
