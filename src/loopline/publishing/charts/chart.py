"""One drawing with its words and its figures, as pages and notebooks show it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from typing import Any

_PADDING = {"left": 16, "right": 8, "top": 6, "bottom": 6}
"""Pixels around a drawing whose letters nobody has measured as wide as a browser draws them."""
_SAYS = {True: "✓ holds: ", False: "✗ missed: ", None: ""}


@dataclass(frozen=True)
class Chart:
    """One drawing, its words, and its figures as a table."""

    title: str
    alt: str
    """What it shows, for who cannot see it."""
    spec: Mapping[str, Any] = field(repr=False)
    """Vega-Lite."""
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = field(default=(), repr=False)
    """The figures, beside the drawing."""
    note: str = ""
    holds: bool | None = None
    """Whether the promise that it is about holds; None where it is about none, or not judged."""

    @cached_property
    def svg(self) -> str:
        """The drawing as it stands, without a script: what a notebook shows, offline too."""
        import vl_convert

        drawn: str = vl_convert.vegalite_to_svg(
            {**self.spec, "padding": _PADDING}, vl_version=vega_lite()
        )
        return drawn

    def _repr_html_(self) -> str:
        note = f"<p>{escape(self.note)}</p>" if self.note else ""
        return (
            '<div style="background:#fff;color:#1b1f24;padding:.5rem;overflow-x:auto">'
            f"<h4>{_SAYS[self.holds]}{escape(self.title)}</h4>{self.svg}{note}</div>"
        )


class Charts(tuple[Chart, ...]):
    """Several charts, which a notebook draws below each other."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return f"<div>{''.join(chart._repr_html_() for chart in self)}</div>"


def vega_lite() -> str:
    """Return the version of Vega-Lite that Altair writes, as the renderer names it."""
    import altair as alt

    return ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
