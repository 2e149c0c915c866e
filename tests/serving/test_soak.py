"""A quarter of a minute of what `python -m bench.soak` does for twenty.

Releases go through a real S3 server where one is there, else through a folder.
"""

from pathlib import Path

import pytest

from bench import s3, soak


@pytest.mark.slow
def test_releases_and_killed_workers_lose_misroute_and_repeat_nothing(tmp_path: Path) -> None:
    options = soak._options(
        [
            "--minutes=0.2",
            "--period=12",
            f"--store={'s3' if s3.is_there() else 'folder'}",
            "--trained-on=1200",
            "--calibrate=1",
            "--rate=300",
            f"--keep={tmp_path}",
        ]
    )

    found = soak.soak(options)

    assert found.faults == []
    assert (found.acts, found.kills) == (3, 1)
    for one in found.servers.values():
        assert one.answered > 300
        assert len(one.switch_seconds) == 3
    assert found.servers["workers"].in_flight <= options.clients
    assert found.acknowledged <= found.folded
