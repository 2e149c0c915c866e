"""Whether a run would do again what was done already.

Reads a few file times and one small file: no data, no table, no database, and none of the
libraries behind them, so that `loopline run` with nothing to do answers at once.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import msgspec

import loopline
from loopline.contract.load import FILE_NAME, project_name
from loopline.data.sources.base import stamp
from loopline.errors import ContractError
from loopline.settings import Settings
from loopline.training.provenance import own_code


def _path(root: Path, settings: Settings) -> Path:
    """Return where a run is remembered: several projects may share a home."""
    return settings.home / "cache" / f"{project_name(root / FILE_NAME)}.json"


def fingerprint(root: Path, settings: Settings, source: Any) -> dict[str, Any] | None:
    """Return what a run depends on, or None where that cannot be told cheaply (a database)."""
    try:
        files = stamp(source, root)
    except OSError:  # reading it will say what is wrong
        return None
    if files is None:
        return None
    places = f"{settings.database_url}\n{settings.store_url}".encode()
    return {
        "loopline": loopline.__version__,
        "contract": _digest(root / "loopline.yaml"),
        "code": {str(path.relative_to(root)): _digest(path) for path in own_code(root)},
        "source": files,
        # Where its version is: as a hash, since a URL may hold a password.
        "places": hashlib.sha256(places).hexdigest(),
    }


def find(root: Path, settings: Settings) -> dict[str, Any] | None:
    """Return the summary of the last run if nothing it depended on has changed since."""
    try:
        kept = msgspec.json.decode(_path(root, settings).read_bytes())
    except (OSError, msgspec.DecodeError, ContractError):  # the run will say what is wrong
        return None
    try:
        now = fingerprint(root, settings, kept["data_source"])
    except OSError:
        return None
    # Through JSON, so that what was stored and what is found now have the same types.
    same = now is not None and msgspec.json.decode(msgspec.json.encode(now)) == kept["depends_on"]
    summary: dict[str, Any] = kept["summary"]
    return summary if same else None


def keep(
    root: Path,
    settings: Settings,
    depends_on: dict[str, Any] | None,
    source: Any,
    summary: dict[str, Any],
) -> None:
    """Remember `summary` as the outcome of a run that depended on `depends_on`."""
    path = _path(root, settings)
    if depends_on is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.draft")  # another run may end at the same moment
    draft.write_bytes(
        msgspec.json.encode({"depends_on": depends_on, "data_source": source, "summary": summary})
    )
    draft.replace(path)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
