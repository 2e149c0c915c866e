"""Bytes by key, with conditional writes, in a folder or any cloud.

`create` is the one conditional write that folders, S3, Azure Blob and GCS share: it fails when the
key is taken, so of two writers one learns that it lost. Everything that must not be overwritten
(releases above all) rests on it.

Clouds are reached through obstore. So is a folder, but for writing: obstore renames a finished file
into place without syncing it, so a power cut could leave a released key without its content. Here a
file is written beside its place, synced, linked or renamed into it, and the folders are synced too.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

from loopline.errors import AlreadyExistsError, StoreError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("file", "s3", "az", "abfss", "gs")
"""What a store's URL may start with; a path alone is a folder."""

_KEY = re.compile(r"[A-Za-z0-9_.=-]+(?:/[A-Za-z0-9_.=-]+)*")
_LONGEST_SEGMENT = 200  # file systems allow 255 bytes, and unfinished files need a longer name
_UNFINISHED = "~"  # no key contains it, so a file that a killed writer left is never listed


def check_key(key: str) -> str:
    """Return `key` if it is one: segments of letters, digits and `_.=-`, joined by single slashes.

    Raises:
        StoreError: it is not. Nothing is decoded, trimmed or repaired first.
    """
    segments = key.split("/") if isinstance(key, str) and _KEY.fullmatch(key) else []
    if not segments or any(set(part) == {"."} or len(part) > _LONGEST_SEGMENT for part in segments):
        raise StoreError(
            f"{key!r} is not a key. A key is made of letters, digits and _ . = - in segments of at "
            f"most {_LONGEST_SEGMENT} joined by single slashes, such as releases/churn/dev/1.json."
        )
    return key


class Objects:
    """One store: a folder, or a bucket under a prefix."""

    def __init__(self, url: str) -> None:
        """Open the store at `url`; a folder is made when something is first written to it.

        Credentials of a cloud come from its usual environment variables.

        Raises:
            StoreError: the URL is none that a store can have.
        """
        self._folder = _folder(url)
        self.url = url.rstrip("/") if self._folder is None else self._folder.as_uri()
        self._opened: ObjectStore | None = None

    def get(self, key: str) -> bytes:
        """Return the bytes under `key`.

        Raises:
            StoreError: there are none, or the store does not answer.
        """
        found = self.find(key)
        if found is None:
            raise StoreError(f"There is nothing under {key} in {self.url}.")
        return found

    def find(self, key: str) -> bytes | None:
        """Return the bytes under `key`, or None when there are none."""
        import obstore

        check_key(key)
        try:
            with _explained(f"read {key} from {self.url}"):
                return bytes(obstore.get(self._store, key).bytes())
        except FileNotFoundError:
            return None

    def put(self, key: str, data: bytes) -> None:
        """Write `data` under `key`, replacing what is there: readers see the old or the new."""
        self._write(check_key(key), data, only_if_absent=False)

    def create(self, key: str, data: bytes) -> None:
        """Write `data` under `key` unless the key is taken.

        Raises:
            AlreadyExistsError: it is taken; nothing was changed.
        """
        self._write(check_key(key), data, only_if_absent=True)

    def list(self, prefix: str = "") -> list[str]:
        """Return the keys below the folder `prefix`, sorted; all keys when it is empty."""
        import obstore

        below = check_key(prefix.removesuffix("/")) if prefix else None
        if self._folder is not None and not self._folder.is_dir():
            return []
        with _explained(f"list {prefix or 'everything'} in {self.url}"):
            pages = obstore.list(self._store, below)
            keys = [str(entry["path"]) for page in pages for entry in page]
        return sorted(key for key in keys if _KEY.fullmatch(key))

    def entries(self, prefix: str) -> dict[str, tuple[int, datetime]]:
        """Return size and last change of every key below the folder `prefix`."""
        import obstore

        below = check_key(prefix)
        if self._folder is not None and not self._folder.is_dir():
            return {}
        with _explained(f"list {prefix} in {self.url}"):
            found = {
                str(entry["path"]): (int(entry["size"]), entry["last_modified"])
                for page in obstore.list(self._store, below)
                for entry in page
            }
        return {key: found[key] for key in sorted(found) if _KEY.fullmatch(key)}

    def is_below(self, folder: Path) -> bool:
        """Return whether this store lies in `folder`, so that only who has that reads it."""
        return self._folder is not None and self._folder.is_relative_to(folder.absolute())

    def delete(self, key: str) -> None:
        """Remove `key`; one that is absent is fine."""
        import obstore

        check_key(key)
        with _explained(f"delete {key} from {self.url}"), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, key)

    def uri(self, key: str) -> str:
        """Return where other libraries find `key`: a path in a folder, else a URL."""
        check_key(key)
        return f"{self.url}/{key}" if self._folder is None else str(self._folder / key)

    @property
    def _store(self) -> "ObjectStore":
        if self._opened is None:
            from obstore.store import LocalStore, from_url

            if self._folder is None:
                with _explained(f"open {self.url}"):
                    self._opened = from_url(self.url)
            else:
                with _explained(f"open {self._folder}"):
                    self._opened = LocalStore(self._folder, mkdir=True)
        return self._opened

    def _write(self, key: str, data: bytes, *, only_if_absent: bool) -> None:
        import obstore
        from obstore.exceptions import AlreadyExistsError as Taken

        try:
            with _explained(f"write {key} to {self.url}"):
                if self._folder is not None:
                    _write_file(self._folder / key, data, only_if_absent=only_if_absent)
                else:
                    how: Literal["create", "overwrite"] = (
                        "create" if only_if_absent else "overwrite"
                    )
                    obstore.put(self._store, key, data, mode=how)
        except (FileExistsError, Taken) as error:
            raise AlreadyExistsError(
                f"{key} exists already in {self.url}; it was left as it is."
            ) from error


def _folder(url: str) -> Path | None:
    """Return the folder that `url` names, or None for a cloud's URL."""
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in url) or not url:
        raise StoreError(f"{url!r} is not a store's URL: it is empty or has control characters.")
    if "://" not in url:
        scheme, colon, _ = url.partition(":")
        if colon and scheme.lower() in SCHEMES:
            raise StoreError(f"{url} is not a store's URL: write {scheme}:// and then the place.")
        return Path(url).absolute()
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or parts.query or parts.fragment or parts.password is not None:
        # Not repeated: what does not belong there is often a key.
        raise StoreError(
            "This is not a store's URL. It is a folder, or starts with one of "
            f"{', '.join(f'{scheme}://' for scheme in SCHEMES)}, without ?, # and a password; "
            "credentials of a cloud come from its usual environment variables."
        )
    if parts.scheme != "file":
        if not parts.netloc or ".." in parts.path.split("/"):
            raise StoreError(f"{url} is not a store's URL. Write {parts.scheme}://BUCKET/PREFIX.")
        return None
    folder = Path(unquote(parts.path))
    if parts.netloc or not folder.is_absolute() or ".." in folder.parts:
        raise StoreError(
            f"{url} is not a folder's URL: write file:///, then the absolute path, without '..'."
        )
    return folder


@contextlib.contextmanager
def _explained(attempt: str) -> Iterator[None]:
    """Turn what the store says into our error; absent and taken keys pass as they are."""
    from obstore.exceptions import AlreadyExistsError as Taken
    from obstore.exceptions import BaseError

    try:
        yield
    except (FileNotFoundError, FileExistsError, Taken):
        raise
    except (BaseError, OSError, ValueError) as error:
        first = str(error).split("\n", 1)[0]
        raise StoreError(f"Could not {attempt}: {first}") from error


def _write_file(path: Path, data: bytes, *, only_if_absent: bool) -> None:
    """Put `data` at `path`, whole and on disk, or not at all."""
    if only_if_absent and path.exists():
        raise FileExistsError(path)
    new = _make_folder(path.parent)
    handle, name = tempfile.mkstemp(prefix=path.name + _UNFINISHED, dir=path.parent)
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(0o644)
        if only_if_absent:
            path.hardlink_to(draft)
        else:
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    for folder in (path.parent, *new):
        _sync(folder)


def _make_folder(folder: Path) -> list[Path]:
    """Make `folder`; return the folders that have a new entry, for they must be synced too."""
    missing = [folder, *folder.parents]
    missing = missing[: next(i for i, place in enumerate(missing) if place.is_dir())]
    folder.mkdir(parents=True, exist_ok=True)
    return [place.parent for place in missing]


def _sync(folder: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened there, and its entries are journalled
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
