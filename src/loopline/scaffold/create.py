"""The folder of a new project: contract, schema for editors, a place for tests, a page to start."""

import difflib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from loopline.contract.load import load
from loopline.contract.reference import json_schema
from loopline.contract.schema import NAME
from loopline.data.columns import parse_number
from loopline.data.conforming import convert, infer_types, missing_tokens
from loopline.data.sources.base import read_source
from loopline.data.sources.files import FileFormat, examine
from loopline.errors import LooplineError, SourceError
from loopline.evaluation.behaviour import EXAMPLE
from loopline.scaffold.guess import Guesses, guess, unspeakable
from loopline.scaffold.target import guess_target, require_target
from loopline.scaffold.write import comment, contract_text
from loopline.settings import Settings

_YEAR = re.compile(r"(18|19|20)\d{2}")  # tables have columns named after years

_README = """# {name}

`loopline.yaml` says what is predicted ({target}), from which data, and what is good enough.

    loopline check     # is the contract right, does it fit the data? Changes nothing
    loopline run       # data -> trained, proven, registered version
    loopline model list
    loopline serve     # answers http://127.0.0.1:8080
    loopline watch     # what drifts, which goals are missed, and what is done about it
    loopline status    # where this project stands, and what is next

Everything Loopline keeps is in `.loopline/` here, until `LOOPLINE_HOME` says otherwise.
`tests/model/` holds what the model must do whatever its metrics say.
"""


@dataclass(frozen=True)
class Created:
    """A new project, and what it was guessed from."""

    folder: Path
    guesses: Guesses


def create(
    name: str, data: Path, target: str, *, task: str | None = None, parent: Path | None = None
) -> Created:
    """Make the project `name` in `parent` (here by default) from a data file, ready to run.

    Nothing is written before everything is known.

    Raises:
        LooplineError: the name or the folder cannot be used.
        SourceError: the data cannot be read, or nothing can be learned from it.
    """
    parent = (parent or Path.cwd()).absolute()
    folder = _folder(name, parent)
    where = _existing(data)
    frame, file_format = _read(where)
    if target not in frame.columns:
        target = target.strip()  # as the names in a CSV file are read
    require_target(target, frame.columns, hint=_unlike_a_header(target, frame, file_format))
    left_out = unspeakable(frame.schema, target)
    frame = frame.drop(left_out)
    missing = file_format.missing
    types = infer_types(frame, missing)
    if types[target] == "boolean":
        types[target] = "category"  # yes stays yes, as callers and labels will say it
    column = convert(frame, {target: types[target]}, missing).frame.get_column(target)
    target_guess = guess_target(column, types[target], task)
    types[target] = target_guess.kind
    guesses = guess(convert(frame, types, missing).frame, types, target_guess, left_out)
    source = _source(_path_from(folder, where, parent), file_format)
    files = {
        "loopline.yaml": contract_text(name, source, missing, guesses),
        ".gitignore": ".loopline/\n__pycache__/\n",
        "README.md": _README.format(name=name, target=_code(target)),
        "tests/model/test_behaviour.py": EXAMPLE,
        ".loopline/loopline.schema.json": json.dumps(json_schema(), indent=2) + "\n",
    }
    _write(folder, files)
    return Created(folder, guesses)


def _write(folder: Path, files: dict[str, str]) -> None:
    """Write a project that loads, or nothing: half of one would be in the way of the next call."""
    had = folder.exists()
    try:
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        load(folder / "loopline.yaml")
    except BaseException as error:  # Ctrl-C too; the folder was not there, or empty
        shutil.rmtree(folder, ignore_errors=True)
        if had:
            folder.mkdir(exist_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(folder)  # a write that fails does not say where
        raise


def _code(text: str) -> str:
    """Return `text` as code in Markdown, on one line, whatever backticks it holds."""
    line = comment(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence}{line}{fence}" if len(fence) == 1 else f"{fence} {line} {fence}"


def _folder(name: str, parent: Path) -> Path:
    if not NAME.fullmatch(name):
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:64].strip("-") or "my-project"
        raise LooplineError(
            f"'{name}' cannot be a project's name: it has lower-case letters, digits and dashes, "
            f"at most 64. Write for example {slug}."
        )
    folder = parent / name
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LooplineError(
            f"{folder} is there already and is not empty. Choose another name, or remove it."
        )
    return folder


def _existing(data: Path) -> Path:
    if data.exists():
        return Path(os.path.normpath(data.absolute()))
    folder = data.parent
    beside = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    close = difflib.get_close_matches(data.name, beside, n=1)
    hint = f"Did you mean {folder / close[0]}?" if close else f"Looked in {folder.absolute()}."
    raise SourceError(f"There is no file {data}. {hint}")


def _read(data: Path) -> tuple[pl.DataFrame, FileFormat]:
    if not (data / "_delta_log").is_dir():
        return examine(data)
    frame = read_source(str(data), data, Settings.read(data))
    return frame, FileFormat("delta", missing=missing_tokens(frame))


def _unlike_a_header(target: str, frame: pl.DataFrame, file_format: FileFormat) -> str:
    """Return what may be wrong with a CSV file that does not name the target, if anything."""
    if file_format.format != "csv":
        return ""
    if any(target in name.split() for name in frame.columns):
        return (
            "The names are not separated by a comma, semicolon, tab or bar; write the file with "
            "one of them. "
        )
    above = (re.split(r"[,;|\t]", ",".join(row)) for row in frame.head(20).iter_rows())
    if any(target in names for names in above):
        return "The line with the names must be the first: remove those above it. "
    values = [name for name in frame.columns if parse_number(name) is not None]
    if any(_YEAR.fullmatch(name) is None for name in values):
        return (
            f"The first line reads like values ({', '.join(values[:3])}): put one with the names "
            "above it. "
        )
    return ""


def _path_from(folder: Path, data: Path, parent: Path) -> str:
    """Return the data's path from the project: relative where they would move together."""
    near = data.resolve()
    if near.is_relative_to(parent.resolve()):
        return Path(os.path.relpath(near, folder.resolve())).as_posix()
    return data.as_posix()


def _source(path: str, file_format: FileFormat) -> str | dict[str, str]:
    """Return `data.source`; what was found out of a CSV file is fixed where it is unusual."""
    parts = {"path": path}
    if file_format.delimiter is not None and file_format.delimiter != ",":
        parts["delimiter"] = file_format.delimiter
    encoding = file_format.encoding or "utf-8"
    if encoding.lower() not in {"utf-8", "utf-8-sig", "ascii"}:
        parts["encoding"] = encoding
    return parts if len(parts) > 1 else path
