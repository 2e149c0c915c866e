"""Segments of a prediction log, as a server leaves them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from loopline.serving.log import HEADER, SEALED, frame


def write_segment(folder: Path, number: int, payloads: Iterable[Any]) -> None:
    """Write the segment with this number, sealed."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = b"".join(frame(payload) for payload in payloads)
    (folder / f"{number}-1-bench.log").write_bytes(HEADER + frames + frame(SEALED))
