"""What the environment decides: locations, URLs, names of secrets.

`loopline.yaml` says what a project promises; this says where things are. Nothing else reads the
environment, and nothing is read at import.
"""

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loopline.errors import SettingError


@dataclass(frozen=True)
class Settings:
    """Where one project keeps its things."""

    home: Path
    """`LOOPLINE_HOME`: keys, logs, caches; by default `.loopline` in the project."""
    database_url: str = field(repr=False)
    """`LOOPLINE_DATABASE`: the ledger, runs and counts; by default SQLite in the home."""
    store_url: str
    """`LOOPLINE_STORE`: bundles, snapshots, releases; by default a folder in the home."""
    tracking_uri: str
    """`LOOPLINE_MLFLOW` or `MLFLOW_TRACKING_URI`: where runs are mirrored; `off` for nowhere."""
    actor: str
    """`LOOPLINE_ACTOR`: who acts, as the ledger writes it; by default the user's login."""
    token: str | None = field(repr=False)
    """`LOOPLINE_TOKEN`: what callers of the server must show; needed beyond loopback."""
    webhook: str | None = field(repr=False)
    """`LOOPLINE_WEBHOOK`: where alerts are posted."""
    workers: int = 1
    """`LOOPLINE_WORKERS`: processes that answer, where `serve --workers` names no other number."""
    timeout_seconds: float = 30.0
    """`LOOPLINE_TIMEOUT`: seconds that a caller waits for an original before it gets a 504."""
    webhook_secret: str | None = field(default=None, repr=False)
    """`LOOPLINE_WEBHOOK_SECRET`: signs what is posted there, as standardwebhooks.com says."""
    alertmanager: str | None = None
    """`LOOPLINE_ALERTMANAGER`: where Prometheus' Alertmanager listens, such as
    `http://127.0.0.1:9093`."""
    smtp: str | None = None
    """`LOOPLINE_SMTP`: the mail server, `smtps://USER@HOST` or `smtp://USER@HOST:587`."""
    smtp_password: str | None = field(default=None, repr=False)
    """`LOOPLINE_SMTP_PASSWORD`: the user's password there."""
    mail_from: str | None = None
    """`LOOPLINE_MAIL_FROM`: whose alerts by e-mail are."""
    mail_to: tuple[str, ...] = ()
    """`LOOPLINE_MAIL_TO`: who gets them; addresses with commas between them."""
    apprise: tuple[str, ...] = field(default=(), repr=False)
    """`LOOPLINE_APPRISE`: Apprise's URLs of chats, with spaces between them."""
    webhook_private: bool = False
    """`LOOPLINE_WEBHOOK_PRIVATE`: 1 lets alerts go to loopback and private addresses."""
    platform_authenticates: bool = False
    """`LOOPLINE_ACCESS`: `platform` where only callers that a platform has authenticated reach the
    server, so that it asks for no token; by default `token`."""
    environment: Mapping[str, str] = field(repr=False, compare=False, default_factory=dict)

    @classmethod
    def read(cls, root: Path, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the environment for the project in `root`."""
        environ = dict(os.environ if environ is None else environ)
        home = Path(environ.get("LOOPLINE_HOME") or root / ".loopline").absolute()
        tracking = environ.get("LOOPLINE_MLFLOW") or environ.get("MLFLOW_TRACKING_URI")
        return cls(
            home=home,
            database_url=environ.get("LOOPLINE_DATABASE") or f"sqlite:///{home / 'loopline.db'}",
            store_url=environ.get("LOOPLINE_STORE") or (home / "store").as_uri(),
            tracking_uri=tracking or f"sqlite:///{home / 'mlflow.db'}",
            actor=environ.get("LOOPLINE_ACTOR") or _login(),
            token=environ.get("LOOPLINE_TOKEN") or None,
            webhook=environ.get("LOOPLINE_WEBHOOK") or None,
            workers=int(_number(environ, "LOOPLINE_WORKERS", 1, most=64, whole=True)),
            timeout_seconds=_number(environ, "LOOPLINE_TIMEOUT", 30.0, most=3600.0),
            webhook_secret=environ.get("LOOPLINE_WEBHOOK_SECRET") or None,
            alertmanager=environ.get("LOOPLINE_ALERTMANAGER") or None,
            smtp=environ.get("LOOPLINE_SMTP") or None,
            smtp_password=environ.get("LOOPLINE_SMTP_PASSWORD") or None,
            mail_from=environ.get("LOOPLINE_MAIL_FROM") or None,
            mail_to=tuple(
                filter(None, map(str.strip, environ.get("LOOPLINE_MAIL_TO", "").split(",")))
            ),
            apprise=tuple(environ.get("LOOPLINE_APPRISE", "").split()),
            webhook_private=environ.get("LOOPLINE_WEBHOOK_PRIVATE") == "1",
            platform_authenticates=_authenticates(environ),
            environment=environ,
        )

    def secret(self, name: str) -> str:
        """Return the environment variable `name`, which the contract refers to as `${name}`.

        Raises:
            SettingError: it is not set.
        """
        value = self.environment.get(name)
        if value is None:
            raise SettingError(
                f"loopline.yaml refers to ${{{name}}}, but the environment variable {name} is not "
                f"set. Set it, for example: export {name}=..."
            )
        return value


def colour(environ: Mapping[str, str] | None = None) -> bool | None:
    """Return False where `NO_COLOR` is set to anything; None leaves it to the terminal."""
    return False if (os.environ if environ is None else environ).get("NO_COLOR") else None


def _authenticates(environ: Mapping[str, str]) -> bool:
    said = environ.get("LOOPLINE_ACCESS") or "token"
    if said not in {"token", "platform"}:
        raise SettingError(f"LOOPLINE_ACCESS is {said!r:.40}, but it is token or platform.")
    if said == "platform" and environ.get("LOOPLINE_TOKEN"):
        raise SettingError(
            "LOOPLINE_ACCESS is platform, so no token is asked for, and LOOPLINE_TOKEN is set. "
            "Unset one of them."
        )
    return said == "platform"


def _number(
    environ: Mapping[str, str], name: str, usual: float, *, most: float, whole: bool = False
) -> float:
    text = environ.get(name)
    if not text:
        return usual
    try:
        number = float(int(text)) if whole else float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= most:
        kind = "a whole number" if whole else "a number"
        raise SettingError(f"{name} is {text!r:.40}, but it is {kind} above 0, up to {most:g}.")
    return number


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return "unknown"
