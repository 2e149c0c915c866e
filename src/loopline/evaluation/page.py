"""The report as one HTML page: self-contained, offline, without a script.

Bars and points are plain SVG shapes whose sizes are attributes, so the page needs neither a
script nor inline styles, and its policy forbids both. Every text is escaped by the template.
"""

import hashlib
import re
from base64 import b64encode
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loopline.contract.metrics import METRICS
from loopline.errors import StoreError
from loopline.evaluation.gates import figure
from loopline.evaluation.report import Estimate, Report

if TYPE_CHECKING:
    from jinja2 import Template

_RESTLESS = re.compile(
    r"[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2060\ufeff\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Signs that are not seen, turn around what follows, or are none (half a surrogate)."""
_WIDTH = 100.0
"""Of every chart, in its own units."""


def write(report: Report, file: Path) -> Path:
    """Write the page to `file`, and return where that is.

    Raises:
        StoreError: it cannot be written there.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(html(report), encoding="utf-8")
    except OSError as error:
        raise StoreError(f"The page cannot be written to {file}: {error.strerror}.") from error
    return file


def html(report: Report) -> str:
    """Return the page."""
    style = _style()
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return template("loopline.evaluation", "page.html").render(
        report=report,
        style=style,
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'",
        rows=metric_rows(report),
        figure=lambda metric, value: figure(report, metric, value),
        share=_share,
        points=_points(report),
        confusion=_confusion(report),
    )


def metric_rows(report: Report) -> list[dict[str, Any]]:
    """Return a row per metric for a table: own, baseline and champion, with their intervals.

    Each has `name`, `better` (higher, lower or either), `own`, `baseline` and `champion` as text
    or "", and `against`: the comparison with the champion, else with the baseline, or None.
    """
    rival = report.champion or "baseline"
    compared = {each.metric: each for each in report.comparisons if each.against == rival}
    known = [name for name in METRICS if name in report.metrics]
    known.sort(key=lambda name: name != report.primary)
    return [
        {
            "name": name,
            "better": METRICS[name].direction,
            "own": _text(report, name, report.metrics.get(name)),
            "baseline": _text(report, name, report.baseline_metrics.get(name)),
            "champion": _text(report, name, report.champion_metrics.get(name)),
            "against": compared.get(name),
        }
        for name in known
    ]


def _text(report: Report, name: str, estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    value, low, high = (
        figure(report, name, each) for each in (estimate.value, estimate.low, estimate.high)
    )
    return value if low == high else f"{value} ({low} to {high})"


def _share(part: float, whole: float) -> float:
    """Return a bar's length; nothing is drawn to the left."""
    return round(_WIDTH * max(0.0, part) / whole, 2) if whole > 0 else 0.0


def _points(report: Report) -> list[dict[str, float]]:
    """Return the calibration as places on a square of side 100, larger where more rows are."""
    if not report.calibration:
        return []
    values = [each[side] for each in report.calibration for side in ("predicted", "observed")]
    low, high = (min(values), max(values)) if report.task == "regression" else (0.0, 1.0)
    extent = (high - low) or 1.0
    most = max(each["rows"] for each in report.calibration)
    return [
        {
            "x": round(_WIDTH * (each["predicted"] - low) / extent, 2),
            "y": round(_WIDTH - _WIDTH * (each["observed"] - low) / extent, 2),
            "size": round(1.2 + 2.8 * float(each["rows"] / most) ** 0.5, 2),
        }
        for each in report.calibration
    ]


def _confusion(report: Report) -> list[list[int]]:
    size = len(report.classes)
    counts = [each["rows"] for each in report.confusion]
    return [counts[start : start + size] for start in range(0, len(counts), size or 1)]


@cache
def _style() -> str:
    from importlib.resources import files

    return (files("loopline.evaluation") / "page.css").read_text(encoding="utf-8")


def still(text: str) -> str:
    """Return a text that can neither hide nor turn around what stands beside it on a page."""
    return _RESTLESS.sub("\ufffd", text)


@cache
def template(package: str, name: str) -> "Template":
    """Return a page's template, as every page is made: what it is filled with is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package, ""),
        autoescape=True,
        undefined=StrictUndefined,
        # What is marked as markup, scripts and styles, is ours; all else is a text of somebody's.
        finalize=lambda shown: still(shown) if type(shown) is str else shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
