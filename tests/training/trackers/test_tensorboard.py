"""Event files, read back frame by frame."""

import struct
import sys
from pathlib import Path

import pytest
from tests.training.finished import RUN

from loopline.errors import MissingExtraError
from loopline.training.trackers.base import Exhibit
from loopline.training.trackers.tensorboard import Tensorboard


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Each frame is a length, its checksum, an event and its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, dict[int, float]] = {}
    [path] = folder.iterdir()
    content, place = path.read_bytes(), 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        event = Event.FromString(content[place + 12 : place + 12 + length])
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault(value.tag, {})[event.step] = value.simple_value
        place += 16 + length
    return found


def test_trials_are_steps_and_figures_are_scalars(tmp_path):
    place = Tensorboard(tmp_path).mirror(Exhibit(RUN, figures={"test.roc_auc": 0.75}))

    found = scalars(Path(place))
    assert found["trials/linear/log_loss"] == pytest.approx({0: 0.5, 1: 0.6, 2: 0.7})
    assert found["test/roc_auc"] == {0: 0.75}
    assert found["validation/log_loss"] == {0: 0.5}


def test_a_run_is_written_once_and_a_torn_one_anew(tmp_path):
    (tmp_path / ".run-1").mkdir()
    (tmp_path / ".run-1" / "events.torn").write_bytes(b"half")
    tracker = Tensorboard(tmp_path)

    first = tracker.mirror(Exhibit(RUN))
    before = [(path, path.stat().st_mtime_ns) for path in Path(first).iterdir()]
    second = tracker.mirror(Exhibit(RUN))

    assert first == second
    assert [(path, path.stat().st_mtime_ns) for path in Path(second).iterdir()] == before
    assert [path.name for path in tmp_path.iterdir()] == ["run-1"]


def test_without_the_library_the_message_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)

    with pytest.raises(MissingExtraError, match=r"loopline\[tensorboard\]"):
        Tensorboard(tmp_path)
