"""Where the watcher's gauges are read: a port on loopback, or a file of node-exporter's.

The port answers `GET /metrics` and nothing else, only to this machine and only by a name of it: a
page in somebody's browser cannot read it by a name of its own that leads here. The file takes the
place of the last one whole, so that no reader sees half of it.
"""

import os
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from loopline.errors import SettingError, StoreError
from loopline.governance.access import host_allowed
from loopline.serving.metrics import CONTENT_TYPE

_HOST = "127.0.0.1"


class Exposed:
    """Shows what it was told last; a context that ends with the port closed."""

    def __init__(self, port: int | None = None, file: Path | None = None) -> None:
        """Listen on `port` of loopback (0 takes a free one) and write `file`, each where given.

        Raises:
            SettingError: the port is taken.
        """
        self._content = b""
        self._file = file
        self._server: ThreadingHTTPServer | None = None
        if port is None:
            return
        try:
            self._server = ThreadingHTTPServer((_HOST, port), self._handler())
        except OSError as error:
            raise SettingError(
                f"The metrics cannot be shown on {_HOST}:{port}: {error.strerror}. Name another "
                "port with --metrics-port."
            ) from error
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    @property
    def port(self) -> int | None:
        """The port that is listened on."""
        return None if self._server is None else self._server.server_address[1]

    def show(self, content: bytes) -> None:
        """Show `content` from now on.

        Raises:
            StoreError: the file cannot be written.
        """
        self._content = content
        if self._file is not None:
            _replace(self._file, content)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10  # seconds: a caller that says nothing holds no thread for ever
            server_version, sys_version = "loopline", ""

            def do_GET(self) -> None:
                if not host_allowed(self.headers.get("Host")):
                    self._answer(421, b"This is answered by the name of this machine alone.\n")
                elif self.path.split("?")[0] != "/metrics":
                    self._answer(404, b"There is only /metrics here.\n")
                else:
                    self._answer(200, outer._content)

            def _answer(self, status: int, content: bytes) -> None:
                self.send_response(status)
                kind = CONTENT_TYPE.decode() if status == 200 else "text/plain; charset=utf-8"
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("X-Content-Type-Options", "nosniff")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing of requests."""

        return Handler


def _replace(file: Path, content: bytes) -> None:
    try:
        handle, draft = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(handle, "wb") as opened:
                opened.write(content)
            Path(draft).chmod(0o644)  # node-exporter runs as another user
            Path(draft).replace(file)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StoreError(f"The metrics cannot be written to {file}: {error.strerror}.") from error
