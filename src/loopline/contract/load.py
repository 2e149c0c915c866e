"""Read loopline.yaml; report every fault with its line.

One pass over the text for syntax, duplicate keys and lines, one by pydantic for the shape, one
for what the parts mean together. A part of the wrong shape is set aside, so that the rest is
still looked at and everything wrong is said at once.
"""

import copy
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loopline.errors import ContractError

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

    from loopline.contract.document import Document, Fault
    from loopline.contract.document import Path as Place
    from loopline.contract.schema import Contract

FILE_NAME = "loopline.yaml"
_LARGEST_FILE = 2_000_000
_PROJECT = re.compile(
    r"""^project:[ \t]*(["']?)([a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?)\1[ \t]*(?:#.*)?$""",
    re.MULTILINE,
)

# What stands where a part is missing or of the wrong shape, while the rest is looked at.
_REQUIRED: dict[tuple[str, ...], Any] = {
    ("project",): "project",
    ("problem",): {"task": "binary", "target": "?"},
    ("problem", "task"): "binary",
    ("problem", "target"): "?",
    ("goals",): [{"metric": "error_rate", "at_most": 1}],
    ("data",): {"source": "?"},
    ("data", "source"): "?",
    ("respond", "when"): "drift",
    ("respond", "do"): "alert",
}
_ITEMS: dict[str, Any] = {
    "goals": {"metric": "error_rate", "at_most": 1},
    "checks": {"rows_at_least": 1},
    "fairness": {"by": "?", "metric": "accuracy", "ratio_at_least": 1},
    "respond": {"when": "drift", "do": "alert"},
}


def load(path: Path) -> "Contract":
    """Read and check the contract in `path`.

    Raises:
        ContractError: everything that is wrong with it, in the order of its lines.
    """
    from pydantic import ValidationError

    from loopline.contract.document import Fault, read_document
    from loopline.contract.explain import explain
    from loopline.contract.schema import Contract

    document = read_document(_text(path))
    faults = list(document.faults)
    if not isinstance(document.value, dict):
        faults = faults or [
            Fault((), "this must be a mapping of keys to values, such as project: churn.")
        ]
        raise _error(path, document, faults)
    contract: Contract | None = None
    aside: set[Place] = set()
    try:
        contract = Contract.model_validate(document.value)
    except ValidationError as error:
        faults += explain(error, document)
        contract = _rest(error, document, aside)
    if contract is not None:
        faults += _meaning(contract, aside)
    if faults:
        raise _error(path, document, faults)
    assert contract is not None  # noqa: S101  # for mypy: without a contract there are faults
    return contract


def project_name(path: Path) -> str:
    """Return the project's name without reading the rest; imports no library.

    Raises:
        ContractError: there is none, or it is no name.
    """
    match = _PROJECT.search(_text(path))
    if match is None:
        raise ContractError(
            [
                f"{path.name}: project is missing or no name. Write a line such as "
                "'project: churn', with lower-case letters, digits and dashes."
            ]
        )
    return match[2]


def contract_hash(path: Path) -> str:
    """Return the SHA-256 of the contract's bytes; imports no library."""
    return hashlib.sha256(_text(path).encode()).hexdigest()


def idle(contract: "Contract") -> list[str]:
    """Return the keys that the file sets and nothing acts on yet."""
    from loopline.contract.document import spell

    return [spell(path) for path in _idle(contract, ())]


def _idle(value: Any, path: "Place") -> Iterator["Place"]:
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _idle(item, (*path, key))
    elif hasattr(value, "model_fields_set"):
        part: BaseModel = value
        for name, field in type(part).model_fields.items():
            if name not in part.model_fields_set:
                continue
            extra = field.json_schema_extra
            if isinstance(extra, dict) and extra.get("idle"):
                yield (*path, name)
            else:
                yield from _idle(getattr(part, name), (*path, name))


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise ContractError(
            [
                f"There is no {path.name} in {path.parent.resolve()}. Go to a project's folder, or "
                "make a project with: loopline new NAME --data FILE --target COLUMN"
            ]
        ) from None
    except OSError as error:
        raise ContractError([f"{path} cannot be read: {error.strerror}."]) from error
    if len(raw) > _LARGEST_FILE:
        raise ContractError([f"{path.name} has {len(raw):,} bytes, and may have 2,000,000."])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        text = "this is not UTF-8 text. Save the file in the encoding UTF-8."
        raise ContractError([f"{path.name}:{line}: {text}"]) from error


def _error(path: Path, document: "Document", faults: "list[Fault]") -> ContractError:
    lines = sorted({(fault.line or document.line(fault.path), fault.text) for fault in faults})
    return ContractError([f"{path.name}:{line}: {text}" for line, text in lines])


def _meaning(contract: "Contract", aside: "set[Place]") -> "Iterator[Fault]":
    from loopline.contract import meaning

    is_known = not {("problem",), ("problem", "task")} & aside
    tasks = [contract.problem.task] if is_known else ["binary", "multiclass", "regression"]
    for fault in meaning.faults(contract, tasks):
        if not any(fault.path[: len(place)] == place for place in aside):
            yield fault


def _rest(error: "ValidationError", document: "Document", aside: "set[Place]") -> "Contract | None":
    """Return the contract with what is wrong set aside, and add where that was to `aside`."""
    from pydantic import ValidationError

    from loopline.contract.explain import path_of
    from loopline.contract.schema import Contract

    value = copy.deepcopy(document.value)
    for _ in range(10):  # setting one part aside can make the one around it invalid
        for details in error.errors(include_url=False):
            _set_aside(value, path_of(details, document), aside)
        try:
            return Contract.model_validate(value)
        except ValidationError as again:
            error = again
    return None


def _set_aside(value: Any, path: "Place", aside: "set[Place]") -> None:
    if not path:
        return
    parent = value
    for part in path[:-1]:
        if not isinstance(parent, dict | list) or (isinstance(parent, dict) and part not in parent):
            return
        parent = parent[part]  # type: ignore[index]  # a list's part is an int
    last = path[-1]
    keys = tuple(part for part in path if isinstance(part, str))
    if keys in _REQUIRED and keys[-1] == last:
        parent[last] = copy.deepcopy(_REQUIRED[keys])
    elif isinstance(parent, list) and path[-2] in _ITEMS:
        parent[last] = copy.deepcopy(_ITEMS[str(path[-2])])  # type: ignore[index]
    elif isinstance(parent, dict) and last in parent and path not in aside:
        del parent[last]
    else:  # a missing key, or an entry of a list of plain values: what holds it is no use
        _set_aside(value, path[:-1], aside)
    aside.add(path)
