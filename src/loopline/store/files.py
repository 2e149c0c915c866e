"""Files that people bring, in a folder or in any cloud: found, described and read in order or not.

`objects.py` keeps what is ours, under keys that we make; here names are as people gave them.
"""

import contextlib
import fnmatch
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from loopline.errors import StoreError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_PATTERN = "*?["
_BUFFER = 1 << 20


@dataclass(frozen=True)
class File:
    """One file: where it lies, and what changes when it does."""

    place: str
    """A path, or a cloud's URL."""
    size: int
    stamp: str
    """Time or tag of its last change."""

    @property
    def name(self) -> str:
        """The last part of its place."""
        return self.place.rpartition("/")[2]

    def open(self) -> BinaryIO:
        """Open it for reading; a cloud's file is read in ranges, as they are asked for.

        Raises:
            StoreError: it cannot be read.
        """
        with _explained(self.place):
            if not is_remote(self.place):
                return Path(self.place).open("rb")
            return cast("BinaryIO", io.BufferedReader(_Remote(self.place), _BUFFER))

    def head(self, size: int) -> bytes:
        """Return its first `size` bytes, or all of them."""
        with self.open() as stream, _explained(self.place):
            return stream.read(size)


def is_remote(place: str) -> bool:
    """Whether `place` is a URL rather than a path."""
    return "://" in place


def of_path(path: Path) -> File:
    """Describe a file of this machine.

    Raises:
        OSError: it is not there.
    """
    stat = path.stat()
    return File(str(path), stat.st_size, str(stat.st_mtime_ns))


def of_url(url: str) -> list[File]:
    """Return the file at `url`, or those below it, or those that its pattern means, by name.

    Raises:
        StoreError: there are none, or the store does not answer.
    """
    import obstore

    bucket, path = _split(url)
    before = min((path.find(sign) for sign in _PATTERN if sign in path), default=len(path))
    is_pattern = before < len(path)
    prefix = path[:before].rpartition("/")[0] if is_pattern else path.rstrip("/")
    with _explained(url):
        store = _store(bucket)
        found = []
        if not is_pattern and prefix and not path.endswith("/"):
            with contextlib.suppress(FileNotFoundError):
                found = [obstore.head(store, prefix)]
        if not found:
            found = [entry for page in obstore.list(store, prefix or None) for entry in page]
            found = [entry for entry in found if _is_meant(str(entry["path"]), path, is_pattern)]
    files = [
        File(
            f"{bucket}/{entry['path']}",
            int(entry["size"]),
            str(entry.get("e_tag") or entry["last_modified"]),
        )
        for entry in found
    ]
    if not files:
        raise StoreError(f"There is nothing at {url}.")
    return sorted(files, key=lambda file: file.place)


def is_there(place: str) -> bool:
    """Whether there is a file at `place`, or something below it."""
    if not is_remote(place):
        path = Path(place)
        return path.exists() and not (path.is_dir() and not any(path.iterdir()))
    try:
        return bool(of_url(place))
    except StoreError as error:
        if error.__cause__ is not None:
            raise
        return False


def publish(place: str, write: Callable[[BinaryIO], object], draft: Path) -> None:
    """Have `write` write a file to `draft`, and put it at `place` whole, replacing what is there.

    Raises:
        StoreError: it cannot be written; what was there stays.
    """
    import obstore

    try:
        draft.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        if is_remote(place):
            bucket, path = _split(place)
            with _explained(place, "written"):
                obstore.put(_store(bucket), path, draft)
        else:
            draft.replace(place)
    except OSError as error:
        raise StoreError(f"{place} cannot be written: {error.strerror or error}.") from error
    finally:
        draft.unlink(missing_ok=True)


def remove(place: str) -> None:
    """Remove the file at `place`; one that is absent is fine."""
    import obstore

    if not is_remote(place):
        Path(place).unlink(missing_ok=True)
        return
    bucket, path = _split(place)
    with _explained(place, "removed"), contextlib.suppress(FileNotFoundError):
        obstore.delete(_store(bucket), path)


def _is_meant(key: str, path: str, is_pattern: bool) -> bool:
    if is_pattern:
        # As a shell reads it: a star does not cross a slash.
        return key.count("/") == path.count("/") and fnmatch.fnmatchcase(key, path)
    below = key.removeprefix(path.rstrip("/")).lstrip("/")
    return "/" not in below and not below.startswith((".", "_"))


def _split(url: str) -> tuple[str, str]:
    scheme, _, rest = url.partition("://")
    bucket, _, path = rest.partition("/")
    if not bucket or ".." in path.split("/"):
        raise StoreError(f"{url} is no file's URL. Write {scheme}://BUCKET/NAME.")
    return f"{scheme}://{bucket}", path


def _store(bucket: str) -> "ObjectStore":
    from obstore.store import from_url

    return from_url(bucket)


class _Remote(io.RawIOBase):
    """A cloud's file, as Python and Arrow read files."""

    def __init__(self, place: str) -> None:
        import obstore

        bucket, path = _split(place)
        self._reader: Any = obstore.open_reader(_store(bucket), path, buffer_size=_BUFFER)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = bytes(self._reader.read(len(buffer)))
        buffer[: len(found)] = found
        return len(found)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        return int(self._reader.tell())


@contextlib.contextmanager
def _explained(place: str, what: str = "read") -> Iterator[None]:
    """Turn what the store or the disk says into our error."""
    refused: tuple[type[Exception], ...] = (OSError,)
    if is_remote(place):
        from obstore.exceptions import BaseError

        refused = (BaseError, OSError)
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(f"There is no {place}.") from error
    except refused as error:
        raise StoreError(f"{place} cannot be {what}: {str(error).splitlines()[0]}") from error
