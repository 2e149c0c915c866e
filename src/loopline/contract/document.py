"""A YAML file as plain values, with the line of every key: what faults are reported against.

Built from YAML's nodes rather than from a loader's objects, so that duplicate keys, foreign tags
and a line for every value come from one walk, and no tag of the file ever makes an object.
"""

from dataclasses import dataclass, field
from typing import Any

Path = tuple[str | int, ...]

_YAML = "tag:yaml.org,2002:"
_VALUES = {_YAML + kind for kind in ("str", "int", "float", "bool", "null")}
_TAGS = _VALUES | {_YAML + "map", _YAML + "seq", _YAML + "timestamp"}  # a date stays its text
_NODES_AT_MOST = 50_000  # an alias counts each time, so that nested aliases cannot explode
_DEPTH_AT_MOST = 30


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, and where."""

    path: Path
    text: str
    line: int | None = None
    """Where the path alone does not say it: syntax, the second of two equal keys."""


@dataclass
class Document:
    """What a YAML file says, and on which lines."""

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """Return the line of `path`, or of the nearest thing around it that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def has(self, path: Path) -> bool:
        """Whether the file writes `path`."""
        return path in self.lines

    def get(self, path: Path) -> Any:
        """Return what the file says at `path`, or None."""
        value = self.value
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value


def spell(path: Path) -> str:
    """Return a path as people write it: `goals[0].at_least`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_document(text: str) -> Document:
    """Parse `text`; what is wrong with it as YAML is in the document's faults."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    document = Document()
    yaml = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(filter(None, (error.context, error.problem))).replace("\n", " ")
        document.faults.append(
            Fault((), f"this is not YAML: {what}.", mark.line + 1 if mark else None)
        )
    except RecursionError:
        document.faults.append(Fault((), "the file is too deeply nested."))
    except YAMLError as error:  # a character YAML does not allow
        document.faults.append(Fault((), f"this is not YAML: {str(error).splitlines()[0]}."))
    else:
        if node is not None:
            document.lines[()] = 1
            document.value = _Walk(document, yaml.constructor).value(node, ())
    return document


class _Walk:
    def __init__(self, document: Document, constructor: Any) -> None:
        self._document = document
        self._construct = constructor.construct_object
        self._nodes = 0
        self._is_bounded = True

    def value(self, node: Any, path: Path) -> Any:
        self._nodes += 1
        if self._nodes > _NODES_AT_MOST or len(path) > _DEPTH_AT_MOST:
            if self._is_bounded:
                self._fault(node, path, "from here on the file is too large or too deeply nested.")
            self._is_bounded = False
            return None
        if str(node.tag) not in _TAGS:
            self._fault(node, path, f"the tag {node.tag} means nothing here. Remove it.")
        if node.id == "mapping":
            return self._mapping(node, path)
        if node.id == "sequence":
            return self._sequence(node, path)
        return self._scalar(node, path)

    def _mapping(self, node: Any, path: Path) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value) if key_node.id == "scalar" else "?"
            here = (*path, key)
            line = key_node.start_mark.line + 1
            if key in value:
                first = self._document.lines[here]
                text = f"{spell(here)} is here twice; line {first} has it first. Keep one."
                self._document.faults.append(Fault(here, text, line))
                continue
            self._document.lines[here] = line
            value[key] = self.value(value_node, here)
        return value

    def _sequence(self, node: Any, path: Path) -> list[Any]:
        items = []
        for index, item in enumerate(node.value):
            self._document.lines[*path, index] = item.start_mark.line + 1
            items.append(self.value(item, (*path, index)))
        return items

    def _scalar(self, node: Any, path: Path) -> Any:
        if str(node.tag) not in _VALUES:
            return str(node.value)
        try:
            return self._construct(node, deep=True)
        except ValueError:  # an explicit tag that its text does not fit, such as `!!int x`
            self._fault(node, path, f"'{node.value}' does not fit its tag {node.tag}.")
            return str(node.value)

    def _fault(self, node: Any, path: Path, text: str) -> None:
        self._document.faults.append(Fault(path, text, node.start_mark.line + 1))
