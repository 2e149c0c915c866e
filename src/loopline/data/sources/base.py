"""Where data comes from: one interface, one file per kind of source.

`stamp` says cheaply whether a source may have changed. It is asked before anything heavy is
imported, so this module imports neither polars nor pydantic.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from loopline import plugins
from loopline.contract.urls import without_secrets
from loopline.errors import SourceError
from loopline.settings import Settings

if TYPE_CHECKING:
    import polars as pl

    from loopline.contract.schema import Contract

_FIELDS = ("path", "url", "query", "format", "delimiter", "encoding")
_STORES = ("s3://", "s3a://", "az://", "abfs://", "abfss://", "adl://", "gs://")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://")


class Source(Protocol):
    """One kind of source."""

    def read(self, where: Mapping[str, Any], root: Path, settings: Settings) -> "pl.DataFrame":
        """Return all rows as they stand: CSV as text, other kinds in their own types.

        Args:
            where: `data.source` of the contract by field.
            root: what relative paths start from.
            settings: where `${SECRET}` comes from.

        Raises:
            SourceError: it is not there, cannot be read, or has no rows.
        """


def read(contract: "Contract", root: Path, settings: Settings) -> "pl.DataFrame":
    """Return the raw rows of the contract's source.

    Raises:
        SourceError: it is not there, cannot be read, or has no rows.
        SettingError: it names a secret that is not set.
    """
    return read_source(contract.data.source, root, settings)


def read_source(source: Any, root: Path, settings: Settings) -> "pl.DataFrame":
    """Return the raw rows of `source`: a path, or `data.source` in full."""
    where = fields(source)
    reader: Source = plugins.find("loopline.data.sources", _kind(where, root))()
    frame = reader.read(where, root, settings)
    check_names(frame.columns, describe(source))
    return frame


def check_names(names: Iterable[str], where: str) -> None:
    """Refuse a column whose name polars reads as a pattern: it would stand for other columns.

    Raises:
        SourceError: there is one.
    """
    for name in names:
        if name == "*" or (name.startswith("^") and name.endswith("$")):
            raise SourceError(
                f"{where} has a column called {name!r}, which reads as a pattern for other "
                "columns. Rename it."
            )


def check_mapping(configuration: Mapping[str, str], place: str) -> None:
    """Refuse a Delta table whose files call its columns otherwise: all would be read as missing.

    Raises:
        SourceError: it is one.
    """
    mode = configuration.get("delta.columnMapping.mode", "none")
    if mode != "none":
        raise SourceError(
            f"The Delta table {place} has its columns under other names in its files "
            f"(delta.columnMapping.mode is {mode}), which is not read. Write its rows to a table "
            "without that."
        )


def unread(place: str, error: Exception) -> SourceError:
    """Return what is said of a Delta table that cannot be read rightly."""
    hint = ""
    if "deletionVectors" in str(error):
        hint = (
            " Its deleted rows are still in its files: have its writer remove them (reorg table "
            "... apply (purge)), and set delta.enableDeletionVectors to false."
        )
    return SourceError(f"The Delta table {place} cannot be read: {error}{hint}")


def describe(source: Any) -> str:
    """Return `source` in one line; secrets stay `${NAME}`."""
    where = fields(source)
    place = without_secrets(where["path"] or where["url"] or "")
    return f"{place} {where['query'] or ''}".strip()


def stamp(source: Any, root: Path) -> dict[str, Any] | None:
    """Return what changes when `source` may have: files with size and time; None for a database.

    Raises:
        OSError: it is not there.
    """
    where = fields(source)
    if where["url"] or _SCHEME.match(where["path"] or ""):
        return None
    path = root / where["path"]
    log = path / "_delta_log"
    found = sorted(log.iterdir()) if log.is_dir() else files_of(path)
    stats = {str(file): file.stat() for file in found}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def files_of(path: Path) -> list[Path]:
    """Return the files that `path` means (itself, a folder's or a glob's) in name order.

    Raises:
        SourceError: there are none.
        FileNotFoundError: there is no such file.
    """
    if path.is_dir():
        inside = (file for file in path.iterdir() if file.is_file())
        found = sorted(file for file in inside if not file.name.startswith((".", "_")))
    elif any(sign in str(path) for sign in "*?[") and not path.exists():
        pattern = path.relative_to(path.anchor)
        found = sorted(file for file in Path(path.anchor).glob(str(pattern)) if file.is_file())
    else:
        path.stat()
        found = [path]
    if not found:
        raise SourceError(f"There are no files in {path}.")
    return found


def fields(source: Any) -> dict[str, Any]:
    """Return `data.source` by field, however it is written."""
    if isinstance(source, str):
        kind = "url" if _SCHEME.match(source) and not source.startswith(_STORES) else "path"
        return dict.fromkeys(_FIELDS) | {kind: source}
    given = source if isinstance(source, Mapping) else source.model_dump()
    return {name: given.get(name) for name in _FIELDS}


def _kind(where: Mapping[str, Any], root: Path) -> str:
    if (where["path"] is None) == (where["url"] is None):
        raise SourceError("data.source has either a path or a url (with a query).")
    if where["url"] is not None:
        return "sql"
    is_delta = where["format"] == "delta" or (root / where["path"] / "_delta_log").is_dir()
    return "delta" if is_delta or where["path"].startswith(_STORES) else "files"
