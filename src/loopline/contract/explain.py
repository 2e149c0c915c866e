"""What pydantic found, in words that say the value found and what would be right."""

import difflib
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from loopline.contract.document import Document, Fault, Path, spell
from loopline.contract.schema import Contract

_KINDS = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "list": "a list, such as [a, b]",
    "dict": "a mapping of keys to values",
    "model": "a mapping of keys to values",
}
_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}


def explain(error: ValidationError, document: Document) -> list[Fault]:
    """Return each of pydantic's errors as a fault of the document."""
    return [_fault(details, document) for details in error.errors(include_url=False)]


def nearest(word: str, known: list[str], *, what: str = "Known") -> str:
    """Return a hint: the nearest of `known` to `word`, or all of them."""
    close = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"{what}: {', '.join(known)}." if known else ""


def shown(value: Any) -> str:
    """Return a value as a message shows it, on one line and short."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def path_of(details: Any, document: Document) -> Path:
    """Return where in the file an error is: pydantic also names branches of its own."""
    location = details["loc"]
    is_missing = details["type"] == "missing"
    path: Path = ()
    for part in location[:-1] if is_missing else location:
        if document.has((*path, part)):
            path = (*path, part)
    return (*path, location[-1]) if is_missing else path


def _fault(details: Any, document: Document) -> Fault:
    path = path_of(details, document)
    return Fault(path, _sentence(details, path, document.get(path)))


def _sentence(details: Any, path: Path, value: Any) -> str:
    kind, context = details["type"], details.get("ctx", {})
    name = spell(path) or "the file"
    if kind == "extra_forbidden":
        hint = nearest(str(path[-1]), _keys(path[:-1]), what="Known keys")
        return f"{name} is not a known key. {hint}"
    if kind == "missing":
        return f"{name} is missing. {_description(path)}".rstrip()
    begin = f"{name} is {shown(value)}, but"
    if kind == "literal_error":
        is_key = details["loc"][-1] == "[key]"
        begin = f"{name} is not a known key;" if is_key else begin
        choices = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        close = difflib.get_close_matches(str(path[-1] if is_key else value), choices, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        return f"{begin} it must be {context['expected']}.{hint}"
    if kind == "value_error":
        text = str(context["error"])
        return f"{name}: {text}." if isinstance(value, dict) else f"{begin} {text}."
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"{begin} it must be {words} {context[key]}."
    if kind == "too_short":
        return f"{name} is empty, but it needs at least one entry."
    expected = next((text for start, text in _KINDS.items() if kind.startswith(start)), None)
    hint = f' Write "{value}".' if expected == "text" and isinstance(value, int | float) else ""
    return f"{begin} it must be {expected}.{hint}" if expected else f"{begin} {details['msg']}."


def _model_at(path: Path) -> Any:
    """Return the pydantic model, or other annotation, that describes `path`."""
    here: Any = Contract
    for part in path:
        if isinstance(here, type) and issubclass(here, BaseModel):
            if part not in here.model_fields:
                return None
            here = here.model_fields[str(part)].annotation
        else:  # list[X] or dict[str, X], perhaps annotated or optional
            here = get_args(here)[-1] if get_args(here) else None
        here = _innermost(here)
    return here


def _innermost(annotation: Any) -> Any:
    """Return X of `Annotated[X, ...]`, `X | None` and `str | Model`."""
    if hasattr(annotation, "__metadata__"):
        return _innermost(get_args(annotation)[0])
    if type(annotation).__name__ in ("UnionType", "Union", "_UnionGenericAlias"):
        options = [_innermost(option) for option in get_args(annotation)]
        models = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
        return models[0] if models else options[0]
    return annotation


def _keys(path: Path) -> list[str]:
    model = _model_at(path)
    known = isinstance(model, type) and issubclass(model, BaseModel)
    return list(model.model_fields) if known else []


def _description(path: Path) -> str:
    model = _model_at(path[:-1])
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return ""
    field = model.model_fields.get(str(path[-1]))
    return (field.description or "") if field else ""
