"""Every page with charts: self-contained, offline, under two megabytes.

Vega's JavaScript stands in the page, as vl-convert bundles it, and the page's policy names its
hash: no other script runs, nothing is fetched, and no text is ever read as code, for Vega evaluates
its expressions itself. Every name is escaped by the template; what the charts show is JSON in a
block that no browser runs.
"""

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from loopline import __version__
from loopline.errors import StoreError
from loopline.evaluation.page import template
from loopline.publishing.charts.chart import Chart, vega_lite

_FIGURE = re.compile(r"([-+]?[\d,]*\.?\d+(e[-+]?\d+)?( ?(%|ms|[A-Z]{3}))?)?")
"""A figure with its unit, or nothing."""
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d|open|")


def html(name: str, charts: Sequence[Chart], /, **shown: Any) -> str:
    """Return the page that the template `name` of this folder makes of `shown`.

    The template extends `page.html`, and draws each of the charts where it calls `drawing`.
    """
    style, script = _style(), _script()
    numbers = {id(chart): number for number, chart in enumerate(charts)}
    return template("loopline.publishing", name).render(
        **shown,
        kinds_of=_kinds,
        number=lambda chart: numbers[id(chart)],
        specs=embedded(_packed([chart.spec for chart in charts])),
        style=style,
        script=script,
        policy=f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'",
        version=__version__,
    )


def write(text: str, file: Path) -> Path:
    """Write a page to `file`, and return where that is.

    Raises:
        StoreError: it cannot be written there.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"The page cannot be written to {file}: {error.strerror}.") from error
    return file


def _packed(specs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the charts with each table of theirs once, its columns' names once: half the size.

    The page's script puts the tables back: `values` is the number of one then.
    """
    tables: dict[str, int] = {}

    def pack(part: Any) -> Any:
        if isinstance(part, list):
            return [pack(each) for each in part]
        if not isinstance(part, Mapping):
            return part
        return {
            name: number(each) if name == "values" and _is_table(each) else pack(each)
            for name, each in part.items()
        }

    def number(rows: Sequence[Mapping[str, Any]]) -> int:
        table = json.dumps([list(rows[0]), *(list(row.values()) for row in rows)])
        return tables.setdefault(table, len(tables))

    packed = [pack(spec) for spec in specs]
    return {"tables": [json.loads(table) for table in tables], "specs": packed}


def _is_table(values: Any) -> bool:
    return (
        isinstance(values, list)
        and bool(values)
        and all(isinstance(row, Mapping) and list(row) == list(values[0]) for row in values)
    )


def _kinds(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return what each column holds, where it matters for how it stands: `number` or `when`."""
    kinds = {"number": _FIGURE, "when": _MOMENT}
    return [
        next((kind for kind, shape in kinds.items() if all(map(shape.fullmatch, column))), "")
        for column in zip(*rows, strict=True)
    ]


def embedded(content: Any) -> str:
    """Return JSON that may stand in a page: no sign in it can end the block it is in."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _hash(text: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _style() -> str:
    from importlib.resources import files

    return (files("loopline.publishing") / "page.css").read_text(encoding="utf-8")


@cache
def _script() -> str:
    """Return Vega and what draws with it, as one script."""
    from importlib.resources import files

    import vl_convert

    own = (files("loopline.publishing") / "page.js").read_text(encoding="utf-8")
    bundle: str = vl_convert.javascript_bundle(own, vl_version=vega_lite())
    return bundle.replace("</script", "<\\/script")
