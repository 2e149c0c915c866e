"""A query against any database that SQLAlchemy reaches."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from loopline.contract.urls import without_secrets
from loopline.data.columns import canonical_text
from loopline.errors import SourceError
from loopline.settings import Settings

__all__ = ["Sql"]

_INSTALL = '. Install it with: pip install "loopline[postgresql]"'
_SECRET = re.compile(r"\$\{(\w+)\}")


class Sql:
    """Runs `query` at `url`; `${NAME}` in the URL comes from the environment."""

    def read(self, where: Mapping[str, Any], root: Path, settings: Settings) -> pl.DataFrame:
        """Return the query's rows.

        Raises:
            SourceError: the database or the query does not work, or there are no rows.
        """
        frames = list(self.stream(where, root, settings))
        if not frames:
            raise SourceError(f"The query gives no rows: {where['query']}")
        return frames[0]

    def stream(
        self, where: Mapping[str, Any], root: Path, settings: Settings, rows: int | None = None
    ) -> Iterator[pl.DataFrame]:
        """Yield the query's rows, `rows` at a time without holding more, or all at once.

        In parts, a query without rows is one frame of its columns.

        Raises:
            SourceError: the database or the query does not work.
        """
        if not where["query"]:
            raise SourceError(
                "data.source names a database but no query. Write\n"
                "  source:\n    url: ...\n    query: select * from ..."
            )
        secrets = {name: settings.secret(name) for name in _SECRET.findall(where["url"])}
        url = _url(where["url"], secrets, root)
        try:
            engine = sa.create_engine(url, poolclass=sa.NullPool)
            # The transaction is never committed: a source is only read.
            with engine.connect().execution_options(stream_results=rows is not None) as connection:
                answer = connection.exec_driver_sql(where["query"])
                names = list(answer.keys()) if answer.returns_rows else []
                if len(set(names)) < len(names):
                    twice = sorted({name for name in names if names.count(name) > 1})
                    raise SourceError(
                        f"The query gives {', '.join(twice)} twice. Give each its own name."
                    )
                if rows is None:
                    found = answer.fetchall() if names else []
                    if found:
                        yield _frame(names, found)
                    return
                is_empty = True
                while names and (found := answer.fetchmany(rows)):
                    is_empty = False
                    yield _frame(names, found)
                if is_empty:
                    yield pl.DataFrame(schema=dict.fromkeys(names, pl.String))
        except (sa.exc.SQLAlchemyError, ImportError) as error:
            reason = _hidden(str(getattr(error, "orig", None) or error), secrets, url)
            hint = _INSTALL if "psycopg" in reason and isinstance(error, ImportError) else ""
            shown = without_secrets(where["url"])
            raise SourceError(f"{shown} cannot be read: {reason}{hint}") from None


def _frame(names: list[str], rows: Sequence[Any]) -> pl.DataFrame:
    columns = zip(*rows, strict=True)
    return pl.DataFrame([_series(n, list(c)) for n, c in zip(names, columns, strict=True)])


def _url(text: str, secrets: Mapping[str, str], root: Path) -> URL:
    # Filled in after parsing where it can be, so that a password may hold any character.
    try:
        url = make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        url = None
    if url is None or _SECRET.search(f"{url.drivername}{url.port or ''}"):
        try:
            url = make_url(_filled(text, secrets))
        except (sa.exc.ArgumentError, ValueError) as error:
            raise SourceError(
                f"data.source.url is '{without_secrets(text)}', which is no database URL such as "
                f"postgresql://user:${{PASSWORD}}@host/database."
            ) from error
    parts: dict[str, Any] = {
        part: _filled(value, secrets)
        for part in ("username", "password", "host", "database")
        if isinstance(value := getattr(url, part), str)
    }
    query = {name: _all_filled(value, secrets) for name, value in url.query.items()}
    url = url.set(**parts, query=query)
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
        path = root / url.database
        if not path.is_file():  # SQLite would make an empty one
            raise SourceError(f"There is no database {path}.")
        url = url.set(database=str(path))
    return url


def _filled(text: str, secrets: Mapping[str, str]) -> str:
    return _SECRET.sub(lambda found: secrets[found[1]], text)


def _all_filled(value: str | tuple[str, ...], secrets: Mapping[str, str]) -> str | tuple[str, ...]:
    if isinstance(value, str):
        return _filled(value, secrets)
    return tuple(_filled(part, secrets) for part in value)


def _hidden(message: str, secrets: Mapping[str, str], url: URL) -> str:
    """Return `message` in one line without what must not be shown."""
    known = {value: f"${{{name}}}" for name, value in secrets.items()}
    if url.password:
        known.setdefault(str(url.password), "***")
    for value in sorted(known, key=len, reverse=True):
        message = message.replace(value, known[value]) if value else message
    return " ".join(message.split())


def _series(name: str, values: list[Any]) -> pl.Series:
    try:
        series = pl.Series(name, values, strict=True)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        series = None  # SQLite lets a column hold numbers and texts side by side
    if series is None or series.dtype == pl.Object:
        return pl.Series(name, [canonical_text(value) for value in values], pl.String)
    return series
