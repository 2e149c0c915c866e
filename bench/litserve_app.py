"""The model as LitServe's documentation serves one: up to 32 requests scored together.

Run in LitServe's own environment, so it imports nothing of the bench and of Loopline.
"""

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import litserve
import pandas as pd

_BATCH, _WAIT_SECONDS = 32, 0.005


class Flights(litserve.LitAPI):
    """Rows of several requests become one dataframe, and the answers are dealt out again."""

    def setup(self, device: str) -> None:
        """Load the model, in the one process that scores."""
        self._kinds, self._model = pickle.loads(Path(os.environ["BENCH_MODEL"]).read_bytes())
        self._numbers = {name: float for name, kind in self._kinds.items() if kind == "number"}

    def decode_request(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the rows of one request."""
        flights: list[dict[str, Any]] = request["flights"]
        return flights

    def batch(self, inputs: list[list[dict[str, Any]]]) -> tuple[pd.DataFrame, list[int]]:
        """Return the rows of all requests, and how many each has."""
        rows = [row for flights in inputs for row in flights]
        columns = {name: [row[name] for row in rows] for name in self._kinds}
        return pd.DataFrame(columns).astype(self._numbers), [len(flights) for flights in inputs]

    def predict(self, batch: tuple[pd.DataFrame, list[int]]) -> tuple[list[float], list[int]]:
        """Return the probability of each row."""
        frame, lengths = batch
        return self._model.predict_proba(frame)[:, 1].tolist(), lengths

    def unbatch(self, output: tuple[list[float], list[int]]) -> list[list[float]]:
        """Return the answers request by request."""
        probabilities, lengths = output
        ends = [sum(lengths[: place + 1]) for place in range(len(lengths))]
        return [probabilities[end - n : end] for end, n in zip(ends, lengths, strict=True)]

    def encode_response(self, output: list[float]) -> dict[str, list[float]]:
        """Return one request's answer."""
        return {"probabilities": output}


if __name__ == "__main__":
    server = litserve.LitServer(
        Flights(max_batch_size=_BATCH, batch_timeout=_WAIT_SECONDS),
        accelerator="cpu",
        workers_per_device=1,
        timeout=60,
    )
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        log_level="error",
        generate_client_file=False,
        access_log=False,
    )
