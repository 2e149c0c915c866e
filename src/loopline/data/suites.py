"""Checks that the team wrote elsewhere: SQL over the whole of the data, or a pandera schema.

A SQL suite is a file of queries over one table, `data`; each returns the rows that are wrong, so a
check holds where it returns none. Queries are parsed, and what runs is written anew from what was
parsed: one `select` over `data` and its own `with`, so that no file, function of files or other
table can be reached. A pandera schema is the team's own Python, as a model's file is.
"""

import copy
import importlib.util
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from loopline.contract.schema import Check, Contract, OnFail
from loopline.data.results import CheckResult, share_of
from loopline.errors import ValidationError
from loopline.extras import require

_EXAMPLES = 5
_MASK = "***"
_TABLE = "data"


def run(check: Check, frame: pl.DataFrame, contract: Contract, root: Path) -> list[CheckResult]:
    """Return what each check of a suite finds in `frame`.

    Raises:
        ValidationError: the suite is not there, or is none.
    """
    file, name = _file(check, root)
    if not name:
        return [query.run(frame, contract) for query in _queries(check, file)]
    return list(_of_pandera(check, _schema(file, name), frame, contract))


def _file(check: Check, root: Path) -> tuple[Path, str]:
    """Return a suite's file, and the name of its pandera schema; none of SQL.

    Raises:
        ValidationError: it is not there, or is none.
    """
    place, _, name = str(check.suite).partition(":")
    file = (root / place).resolve()
    if not file.is_relative_to(root.resolve()) or not file.is_file():
        raise ValidationError(
            f"The suite {check.suite} is no file of the project's folder. Name one there, such as "
            "checks.sql or suite.py:schema."
        )
    if (file.suffix == ".sql" and not name) or (file.suffix == ".py" and name):
        return file, name
    raise ValidationError(
        f"The suite {check.suite} is neither a file of SQL, such as checks.sql, nor a pandera "
        "schema in a Python file, such as suite.py:schema."
    )


@dataclass(frozen=True)
class Asked:
    """One check of a suite behind the source, where not every column is."""

    column: str | None
    name: str
    on_fail: OnFail
    failed: int = 0
    why_not: str = ""
    """Why it was not asked; empty where it was."""


def elsewhere(frame: pl.DataFrame, contract: Contract, root: Path) -> list[Asked]:
    """Ask the contract's suites of `frame`, as far as it has their columns.

    Types are the source's to judge: behind it, whole numbers may be kept as numbers.

    Raises:
        ValidationError: a suite is not there, or is none.
    """
    found: list[Asked] = []
    for check in contract.data.checks:
        if check.suite is None:
            continue
        file, name = _file(check, root)
        if name:
            found += _asked_of_schema(check, _schema(file, name), frame, contract)
            continue
        for query in _queries(check, file):
            lacking = _lacking(query, frame.columns)
            if lacking:
                found.append(Asked(None, query.name, check.on_fail, why_not=_absent(lacking)))
                continue
            try:
                found.append(_asked(query.run(frame, contract)))
            except ValidationError as error:
                found.append(Asked(None, query.name, check.on_fail, why_not=str(error)))
    return found


def _asked(one: CheckResult) -> Asked:
    return Asked(one.column, one.name, one.on_fail, one.failed)


def _absent(names: Sequence[str]) -> str:
    columns = ", ".join(names)
    return f"no column {columns} there" if len(names) == 1 else f"no columns {columns} there"


def _lacking(query: "Query", columns: Sequence[str]) -> list[str]:
    """Return which columns a query names that are not there."""
    import sqlglot
    from sqlglot import exp

    parsed = sqlglot.parse_one(query.sql, dialect="postgres")
    made = {each.alias for each in parsed.find_all(exp.Alias)}
    named = dict.fromkeys(each.name for each in parsed.find_all(exp.Column))
    return [name for name in named if name not in made and name not in columns and name != "*"]


def _asked_of_schema(
    check: Check, schema: Any, frame: pl.DataFrame, contract: Contract
) -> list[Asked]:
    absent = [name for name in schema.columns if name not in frame.columns]
    found = [
        Asked(name, f"{check.suite}: {each.error or each.name}", check.on_fail,
              why_not=_absent([name]))
        for name in absent
        for each in schema.columns[name].checks
    ]  # fmt: skip
    there = schema.remove_columns(absent) if absent else copy.deepcopy(schema)
    there = there.update_columns({name: {"dtype": None} for name in there.columns})
    there.strict = there.ordered = False
    if absent:
        found += [
            Asked(None, f"{check.suite}: {each.error or each.name}", check.on_fail,
                  why_not=_absent(absent))
            for each in schema.checks
        ]  # fmt: skip
        there.checks, there.unique = [], None
    return found + [_asked(one) for one in _of_pandera(check, there, frame, contract)]


def in_pieces(checks: Sequence[Check], root: Path) -> list["Query"]:
    """Return every query of the suites among `checks`, each of which can be asked piece by piece.

    Raises:
        ValidationError: one cannot, or a suite is not there.
    """
    found: list[Query] = []
    for check in checks:
        if check.suite is None:
            continue
        file, name = _file(check, root)
        if name:
            raise ValidationError(
                f"The suite {check.suite} is a pandera schema, which checks a whole table in "
                "memory. Write it as SQL to check data of any size, or check it without --data."
            )
        found += _queries(check, file)
    for query in found:
        if query.refusal is not None:
            raise ValidationError(
                f"{query.name} cannot be asked piece by piece: {query.refusal}. What selects rows "
                "of data, or groups them by columns of it, can; or check it without --data."
            )
    return found


# SQL


@dataclass(frozen=True)
class Query:
    """One query of a SQL suite: it selects the rows that are wrong."""

    check: Check
    name: str
    """As a person says it: `checks.sql: no flight arrives before it leaves`."""
    sql: str
    by: str | None = None
    """A column of `data` whose equal values must be together; None where each row stands alone."""
    columns: tuple[str, ...] = ()
    """What it names of `data`, where it groups."""
    refusal: str | None = None
    """Why it can only be asked of all rows at once."""

    def run(self, frame: pl.DataFrame, contract: Contract) -> CheckResult:
        """Return what it finds in `frame`.

        Raises:
            ValidationError: it names what `frame` does not have.
        """
        from polars.exceptions import PolarsError

        with pl.SQLContext({_TABLE: frame.lazy()}, register_globals=False) as context:
            try:
                lazy = context.execute(self.sql, eager=False)
                wrong = lazy.collect()
            except PolarsError as error:
                raise ValidationError(f"{self.name} cannot be run: {error!s:.300}") from error
        examples = tuple(_masked(row, contract) for row in wrong.head(_EXAMPLES).to_dicts())
        return _result(self.check, None, self.name, wrong.height, frame, examples)


def _queries(check: Check, file: Path) -> list[Query]:
    """Return each query of a file with its name: the comment before it, or which one it is."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        parsed = sqlglot.parse(file.read_text(encoding="utf-8"), dialect="postgres")
    except (SqlglotError, RecursionError, UnicodeDecodeError) as error:
        raise ValidationError(f"{file.name} cannot be read as SQL: {error!s:.300}") from error
    found = []
    for place, query in enumerate(filter(None, parsed), start=1):
        before = query.find(exp.With)
        said = query.comments or (None if before is None else before.comments) or []
        name = " ".join(" ".join(said).split()) or f"query {place}"
        _guard(file, name, query)
        sql = query.sql(dialect="postgres", comments=False)
        found.append(Query(check, f"{file.name}: {name}", sql, *_reach(query)))
    if not found:
        raise ValidationError(f"{file.name} has no query. Write one that selects the wrong rows.")
    return found


def _reach(query: Any) -> tuple[str | None, tuple[str, ...], str | None]:
    """Return by which column a query groups rows of `data`, what it reads then, and what stops it.

    A chain of `with`, each reading the one before, is one query: at most one of it may group, and
    that the one which reads `data`.
    """
    from sqlglot import exp

    whole = {
        exp.Window: "a window looks at other rows", exp.Order: "it orders rows",
        exp.Limit: "it has a limit", exp.Offset: "it has an offset", exp.Distinct: "it is distinct",
        exp.SetOperation: "it is several selects in one", exp.Subquery: "it has a query inside",
        exp.Exists: "it has a query inside", exp.Join: "it joins",
        exp.Anonymous: "what a function of its looks at is not known",
    }  # fmt: skip
    for node, why in whole.items():
        if query.find(node) is not None:
            return None, (), why
    groups: list[str] = []
    for select in query.find_all(exp.Select):
        own = [each for each in select.find_all(exp.AggFunc) if each.parent_select is select]
        group = select.args.get("group")
        if group is None and not own:
            continue
        source = select.find(exp.From)
        columns = [] if group is None else group.expressions
        if not columns or not all(isinstance(each, exp.Column) for each in columns):
            return None, (), "it sums up all rows, or groups them by something else than columns"
        if source is None or source.this.name != _TABLE or groups:
            return None, (), "it groups what was grouped before"
        groups.append(columns[0].name)
        if select.find(exp.Star) is not None and not all(
            isinstance(star.parent, exp.Count) for star in select.find_all(exp.Star)
        ):
            return None, (), "it groups, and names no columns but *"
    if not groups:
        return None, (), None
    names = tuple(dict.fromkeys(column.name for column in query.find_all(exp.Column)))
    return groups[0], names, None


def _guard(file: Path, name: str, query: Any) -> None:
    """Refuse what is no plain reading of the table `data`.

    Raises:
        ValidationError: it is something else.
    """
    from sqlglot import exp

    say = f"{file.name}: {name}"
    if not isinstance(query, exp.Select | exp.SetOperation) or query.find(exp.Into):
        raise ValidationError(f"{say} is no select. A check selects the rows that are wrong.")
    known = {_TABLE, *(each.alias_or_name for each in query.find_all(exp.CTE))}
    for table in query.find_all(exp.Table):
        plain = isinstance(table.this, exp.Identifier) and not table.db and not table.catalog
        if not plain or table.name not in known:
            raise ValidationError(
                f"{say} reads {table.sql(dialect='postgres'):.60}, and a suite reads the table "
                f"{_TABLE} alone."
            )


# pandera


def pandera_schema(place: str, root: Path) -> Any:
    """Return the pandera schema that `place` names, as `suite.py:schema`.

    Raises:
        ValidationError: there is none.
        MissingExtraError: pandera is not installed.
    """
    file, name = _file(Check(suite=place), root)
    if not name:
        raise ValidationError(
            f"{place} names no pandera schema. Write a Python file of the project and the schema "
            "in it: suite.py:schema"
        )
    return _schema(file, name)


def _schema(file: Path, name: str) -> Any:
    """Return the schema called `name`, from the team's own file.

    Raises:
        ValidationError: the file fails, or has no such schema.
        MissingExtraError: pandera is not installed.
    """
    with warnings.catch_warnings():
        # Where pyspark is installed too, pandera imports it, and that complains of new pandas.
        warnings.simplefilter("ignore")
        require("pandera.polars", extra="pandera")
    spec = importlib.util.spec_from_file_location(f"loopline_suite_{file.stem}", file)
    assert spec is not None  # noqa: S101 - of a file that is there
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the team's own code may raise anything; its name must be said
        raise ValidationError(
            f"{file.name} fails when it is imported: {type(error).__name__}: {error!s:.200}"
        ) from error
    finally:
        sys.dont_write_bytecode = before
    found: Any = getattr(module, name, None)
    if hasattr(found, "to_schema"):
        found = found.to_schema()
    if not hasattr(found, "validate") or not hasattr(found, "columns"):
        raise ValidationError(f"{file.name} has no pandera schema called {name}.")
    return found


def _of_pandera(
    check: Check, schema: Any, frame: pl.DataFrame, contract: Contract
) -> Iterator[CheckResult]:
    from pandera.errors import SchemaErrors

    failing: dict[tuple[str | None, str], list[dict[str, Any]]] = {}
    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as errors:
        for case in errors.failure_cases.to_dicts():
            column = case["column"] if case["schema_context"] == "Column" else None
            failing.setdefault((column, str(case["check"])), []).append(case)
    known = [(name, str(c.error or c.name)) for name, col in schema.columns.items()
             for c in col.checks]  # fmt: skip
    known += [(None, str(each.error or each.name)) for each in schema.checks]
    for column, name in dict.fromkeys([*known, *failing]):
        cases = failing.get((column, name), [])
        examples = tuple(
            _masked({column or "value": case["failure_case"], **_row(case)}, contract)
            for case in cases[:_EXAMPLES]
        )
        yield _result(check, column, f"{check.suite}: {name}", len(cases), frame, examples)


def _row(case: dict[str, Any]) -> dict[str, int]:
    return {} if case.get("index") is None else {"row": int(case["index"]) + 1}


def _result(
    check: Check,
    column: str | None,
    name: str,
    failed: int,
    frame: pl.DataFrame,
    examples: tuple[dict[str, Any], ...],
) -> CheckResult:
    share = share_of(failed, frame.height)
    return CheckResult(name, column, check.on_fail, failed, share, examples, not failed)


def _masked(row: dict[str, Any], contract: Contract) -> dict[str, Any]:
    """Return a row without what may be personal: a query may have called a column otherwise."""
    columns = contract.data.columns
    if all(column.personal is None for column in columns.values()):
        return row
    return {
        name: value
        if name == "row" or (name in columns and columns[name].personal is None)
        else _MASK
        for name, value in row.items()
    }
