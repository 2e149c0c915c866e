"""What a caller of the server does: sends flights, and later how they arrived."""

import http.client
import json
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec
import polars as pl

from loopline.errors import LooplineError

ROWS = 500
"""Flights in one request."""
OUTCOMES = 5000
"""Outcomes in one request."""
LATE_BY = timedelta(days=30)
"""How long after departure an airline's arrival times are published here."""
_KNOWN_LATER = ("dep_delay", "arr_delay")
_START_SECONDS = 30.0


class Client:
    """One keep-alive connection to `loopline serve`."""

    def __init__(self, port: int, project: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._path = f"/v2/models/{project}"

    def serving(self) -> str:
        """Return the version that answers."""
        return str(self._call("GET", self._path)["versions"][0])

    def wait_for(self, version: int) -> float:
        """Wait until `version` answers; return how many seconds that took.

        Raises:
            LooplineError: it does not within half a minute.
        """
        start = time.monotonic()
        while time.monotonic() < start + _START_SECONDS:
            try:
                if self._is_ready() and self.serving() == str(version):
                    return time.monotonic() - start
            except (OSError, http.client.HTTPException):
                self._connection.close()  # not listening yet
            time.sleep(0.05)
        raise LooplineError(
            f"The server does not answer with version {version} after {_START_SECONDS:.0f} s. "
            "Its output is in .loopline/logs/serve.log"
        )

    def predict(self, flights: pl.DataFrame) -> int:
        """Ask about every flight, in order; return how many were answered."""
        asked = flights.drop(_KNOWN_LATER).with_columns(
            pl.col("scheduled_departure").dt.strftime("%Y-%m-%dT%H:%M:%SZ")
        )
        for rows in asked.iter_slices(ROWS):
            split = {"columns": rows.columns, "data": rows.rows()}
            self._call("POST", "/invocations", {"dataframe_split": split})
        return flights.height

    def tell(self, flights: pl.DataFrame) -> int:
        """Say how flights arrived, late; return of how many that is known."""
        known = flights.filter(pl.col("arr_delay").is_not_null())
        outcomes = list(_outcomes(known))
        for start in range(0, len(outcomes), OUTCOMES):
            self._call("POST", "/feedback", outcomes[start : start + OUTCOMES])
        return len(outcomes)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _is_ready(self) -> bool:
        answer = self._send("GET", "/readyz", None)  # it listens before its models are loaded
        answer.read()
        return answer.status == 200

    def _call(self, method: str, path: str, body: object = None) -> Any:
        content = None if body is None else msgspec.json.encode(body)
        try:
            answer = self._send(method, path, content)
        except http.client.RemoteDisconnected:  # idle for too long, while a model was trained
            self._connection.close()
            answer = self._send(method, path, content)
        text = answer.read()
        if answer.status != 200:
            raise LooplineError(f"{path} answered {answer.status}: {text[:500].decode()}")
        return json.loads(text)

    def _send(self, method: str, path: str, content: bytes | None) -> http.client.HTTPResponse:
        head = {"Content-Type": "application/json"}
        self._connection.request(method, path, content, headers=head)
        return self._connection.getresponse()


def _outcomes(flights: pl.DataFrame) -> Iterator[dict[str, Any]]:
    late = flights.select(
        "flight_id", pl.col("arr_delay") > 15, pl.col("scheduled_departure") + LATE_BY
    )
    for key, label, moment in late.iter_rows():
        yield {"key": key, "label": label, "observed_at": f"{moment:%Y-%m-%dT%H:%M:%SZ}"}
