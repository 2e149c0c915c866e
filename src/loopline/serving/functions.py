"""Cloud Functions: what `functions-framework --target predict` calls, in a `main.py` of two lines.

    from loopline.serving.functions import function
    predict = function()

The function is the same application as `loopline serve`. It is opened with the first request, from
`LOOPLINE_PROJECT`, `LOOPLINE_HOME` and `LOOPLINE_STORE`, and serves the environment that
`LOOPLINE_ENVIRONMENT` names. Its address is public unless Google's IAM guards it, which a function
cannot see, so callers send a token of Loopline's too.
"""

import atexit
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from loopline.errors import ServingError, SettingError
from loopline.governance.access import Access
from loopline.serving.guard import Guard
from loopline.serving.inside import Inside, opened, plain_headers
from loopline.settings import Settings


class Function:
    """Answers what Flask hands over, without knowing Flask."""

    def __init__(self, settings: Settings | None = None) -> None:
        """Without `settings`, those of the process's environment are read at the first call."""
        self._settings = settings
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._inside: Inside | None = None

    def __call__(self, request: Any) -> tuple[bytes, int, list[tuple[str, str]]]:
        """Answer a Flask request with what Flask makes an answer of.

        Raises:
            ServingError: no token is set.
            SettingError: no project is named.
            ReleaseError: nothing is released there, or the document cannot be used.
        """
        with self._lock:  # the framework has threads, a model one event loop
            if self._inside is None:
                self._inside = self._open()
            answered = self._inside.call(
                request.method,
                request.path,
                plain_headers(request.headers),
                request.get_data(),
                request.query_string,
            )
        headers = [(n.decode(), v.decode("latin-1")) for n, v in answered.headers]
        return answered.body, answered.status, headers

    def close(self) -> None:
        """Seal the log."""
        self._stack.close()
        self._inside = None

    def _open(self) -> Inside:
        settings = self._settings or Settings.read(Path.cwd())
        named = settings.environment
        if not named.get("LOOPLINE_PROJECT"):
            raise SettingError(
                "No project is named. Set LOOPLINE_PROJECT for the function, such as churn."
            )
        access = Access(settings.home, settings.token)
        if not access.exists("predict"):
            raise ServingError(
                "Anybody could call this function. Set LOOPLINE_TOKEN, which callers must send."
            )
        atexit.register(self.close)
        return self._stack.enter_context(
            opened(
                named["LOOPLINE_PROJECT"],
                settings,
                environment=named.get("LOOPLINE_ENVIRONMENT") or "production",
                log="durable",
                guard=Guard(access, needs_token=True),
            )
        )


def function(made: Function | None = None) -> Callable[[Any], Any]:
    """Return what the framework takes for a target: a plain function, and no object that is one."""
    answers = made or Function()

    def predict(request: Any) -> Any:
        return answers(request)

    return predict
