"""Takes segments of the log that grow no more to the store, where any watcher folds them.

A thread of its own looks every few seconds, so no prediction waits for it, and what the store
cannot take now stays on disk and is tried again. A segment is removed here once it is there, under
the name that it had here: killed in between, it is in both places, and folded once, for it is known
by name.

Only a store outside the home is taken anything to: what lies in the home is read there.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

from loopline.errors import StoreError
from loopline.serving.log import HEADER, SEGMENT, final
from loopline.store.objects import Objects

EVERY_SECONDS = 5.0
LAST_SECONDS = 5.0
"""How long a server that ends waits for its last segment to arrive."""

_log = logging.getLogger(__name__)


def key(project: str, environment: str, name: str) -> str:
    """Return where the store has a segment."""
    return f"log/{project}/{environment}/{name}"


class Uploader:
    """Uploads the segments of one folder, `HOME/log/PROJECT/ENVIRONMENT`."""

    def __init__(self, folder: Path, objects: Objects) -> None:
        self._folder = folder
        self._objects = objects
        home = folder.parents[2]
        self._is_needed = not objects.is_below(home)
        self.uploaded = 0
        """Segments that arrived."""
        self.failure: str | None = None
        """What the store last said, until it takes segments again."""
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Upload from now on, in a thread."""
        if self._is_needed:
            self._thread = threading.Thread(target=self._run, name="upload", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Upload what is sealed by now, within a few seconds, and stop; the rest stays on disk."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(LAST_SECONDS)

    def once(self) -> int:
        """Upload every segment that grows no more; return how many arrived."""
        before = self.uploaded
        if self._is_needed:
            try:
                for path in self._segments():
                    self._take(path)
                self.failure = None
            except (StoreError, OSError) as error:
                if self.failure is None:
                    _log.error("Segments of the log wait on this disk: %s", error)
                self.failure = str(error)
        return self.uploaded - before

    def _take(self, path: Path) -> None:
        # It may have been taken, here or by another process, since the folder was listed.
        with contextlib.suppress(FileNotFoundError), final(path) as is_final:
            if not is_final:
                return
            content = path.read_bytes()
            if len(content) > len(HEADER):
                project, environment = self._folder.parts[-2:]
                self._objects.put(key(project, environment, path.name), content)
                self.uploaded += 1
            path.unlink()

    def _segments(self) -> Iterator[Path]:
        for path in sorted(self._folder.glob("*.log")):
            if SEGMENT.fullmatch(path.name):
                yield path

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_SECONDS):
            self.once()
        self.once()
