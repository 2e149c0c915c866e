"""The model card: what one version is for, what it was made from and what it is worth.

Markdown, for people who read a model's bundle without Loopline. The sections follow Mitchell et
al., Model Cards for Model Reporting (2019).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from loopline.model.parity import TOLERANCE


def card(
    problem: dict[str, Any],
    snapshot: dict[str, Any],
    run: dict[str, Any],
    report: dict[str, Any],
    *,
    refusal: str | None,
) -> str:
    """Return a card made of records as plain dicts; `refusal` is why there is no exact plan."""
    lines = [
        f"# {_plain(report['project'])}",
        "",
        f"{_plain(problem['question'])} {_plain(problem['decision'])}".strip(),
        "",
        *_section("Use", _use(problem, report)),
        *_section("Data", _data(snapshot, run)),
        *_section("Model", _model(run, report, refusal)),
        *_section("Measured", _measured(report)),
        *_section("Gate", _gates(report)),
        *_section("Fairness", _fairness(report)),
        *_section("What drives it", _importance(report)),
    ]
    return "\n".join(lines) + "\n"


def _section(title: str, lines: Iterable[str]) -> list[str]:
    found = list(lines)
    return [f"## {title}", "", *found, ""] if found else []


def _use(problem: dict[str, Any], report: dict[str, Any]) -> Iterator[str]:
    yield f"- Task: {report['task']}; target: {_plain(problem['target'])}"
    if problem["owner"]:
        yield f"- Owner: {_plain(problem['owner'])}"
    if report["classes"]:
        yield f"- Classes: {', '.join(map(_plain, report['classes']))}"
    if report["threshold"] is not None:
        yield f"- Decision: positive where the probability is at least {report['threshold']:.6g}"


def _data(snapshot: dict[str, Any], run: dict[str, Any]) -> Iterator[str]:
    source = _plain(snapshot["source"])
    yield f"- Snapshot {snapshot['id']}: {snapshot['rows']:,} rows from {source}"
    yield f"- {snapshot['quarantined']:,} rows failed a blocking check and were kept apart"
    for name, value in run["split"].items():
        yield f"- Split, {_plain(name)}: {_plain(value)}"


def _model(run: dict[str, Any], report: dict[str, Any], refusal: str | None) -> Iterator[str]:
    parameters = ", ".join(f"{name} {value}" for name, value in run["parameters"].items())
    yield f"- {_plain(run['candidate'])}: {_plain(parameters) or 'no parameters'}"
    yield f"- Best of {len(run['trials'])} trials by {run['objective']}; seed {run['seed']}"
    proof = report["parity"]
    if refusal is not None:
        yield f"- Answers by its original, since it has no exact plan: {_plain(refusal)}"
    elif proof:
        yield (
            f"- Answers by its {_runtime(proof)}: over {proof['rows']:,} held-out and "
            f"{proof['hostile_rows']:,} hostile rows it differs from the original by at most "
            f"{proof['largest_difference']:.1g} and flips {proof['flipped']} labels"
        )


def _runtime(proof: dict[str, Any]) -> str:
    tolerance = proof.get("tolerance", TOLERANCE)
    return "exact plan" if tolerance <= TOLERANCE else f"network, proven to {tolerance:g}"


def _measured(report: dict[str, Any]) -> Iterator[str]:
    yield f"On {report['rows']:,} rows that trained nothing, with 95 % intervals:"
    yield ""
    other = report["champion"]
    heads = ["metric", "model", f"baseline ({_plain(report['baseline'])})"]
    yield from _table(
        [*heads, *([_plain(other)] if other else [])],
        [
            [
                name,
                _figure(own),
                _figure(report["baseline_metrics"].get(name)),
                *([_figure(report["champion_metrics"].get(name))] if other else []),
            ]
            for name, own in report["metrics"].items()
        ],
    )
    if other and report["champion_rows"] < report["rows"]:
        yield ""
        yield f"{_plain(other)} is measured on the {report['champion_rows']:,} rows unknown to it."


def _gates(report: dict[str, Any]) -> Iterator[str]:
    for gate in report["gates"]:
        yield f"- {'passed' if gate['passed'] else '**failed**'}: {_plain(gate['reason'])}"


def _fairness(report: dict[str, Any]) -> Iterator[str]:
    for rule in report["fairness"]:
        groups = ", ".join(
            f"{_plain(group['group'])} {_cell(group['figure'])} ({group['rows']:,} rows"
            f"{'' if group['judged'] else ', not judged'})"
            for group in rule["groups"]
        )
        gaps = [
            f"{words} {rule[gap]:.3g}"
            for gap, words in (("ratio", "smallest to largest"), ("difference", "difference"))
            if rule[gap] is not None
        ]
        told = ", ".join(gaps) or "too few rows to judge"
        yield f"- {_plain(rule['metric'])} by {_plain(rule['by'])}: {groups}; {told}"


def _importance(report: dict[str, Any]) -> Iterator[str]:
    found = list(report["importance"])[:15]
    if found:
        heads = list(found[0])
        yield from _table(heads, [[_cell(row[head]) for head in heads] for row in found])


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _figure(estimate: dict[str, float] | None) -> str:
    if estimate is None:
        return "not measured"
    return f"{estimate['value']:.4g} ({estimate['low']:.4g} to {estimate['high']:.4g})"


def _cell(value: Any) -> str:
    if value is None:
        return "undefined"
    return f"{value:.4g}" if isinstance(value, float) else _plain(value)


def _plain(value: Any) -> str:
    """Return text that Markdown, HTML and terminals show as it is, on one line."""
    words = " ".join(str(value).split())
    text = "".join(sign if sign.isprintable() else "\ufffd" for sign in words)
    text = text.replace("&", "&amp;")
    for mark in "\\`*_~[]<>|#":
        text = text.replace(mark, "&lt;" if mark == "<" else f"\\{mark}")
    return text
