"""The guesses as a contract a person wants to read: short lines, each guess beside its reason."""

import json
import re
from typing import Any

from loopline.scaffold.columns import ColumnGuess
from loopline.scaffold.guess import Guesses

_PLAIN = re.compile(r"[A-Za-z_][\w.%/ -]*(?<! )", re.ASCII)
_RESERVED = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"}
_GOALS = {
    "binary": "{metric: roc_auc, above_baseline_by: 5%}",
    "multiclass": "{metric: balanced_accuracy, above_baseline_by: 5%}",
    "regression": "{metric: rmse, below_baseline_by: 5%}",
}
_COSTS = {
    "binary": "{currency: EUR, false_positive: 5, false_negative: 50}",
    "multiclass": "{currency: EUR, matrix: {actual_class: {predicted_class: 5}}}",
    "regression": "{currency: EUR, under: 3, over: 1}",
}
_BASELINES = {
    "binary": ("the most frequent class", "majority", '{rule: "some_column > 10"}'),
    "multiclass": ("the most frequent class", "majority", ""),
    "regression": ("the mean", "mean", ""),
}
_FAIR = {
    "binary": "false_negative_rate, ratio_at_least: 0.8",
    "multiclass": "accuracy, ratio_at_least: 0.8",
    "regression": "mae, ratio_at_least: 0.8",
}


def scalar(value: object) -> str:
    """Return one value as YAML, safe in any place of a file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    if '"' in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    return '"' + "".join(_escaped(sign) for sign in text) + '"'


def _escaped(sign: str) -> str:
    if sign in '"\\':
        return "\\" + sign
    if sign.isprintable():
        return sign
    return f"\\u{ord(sign):04x}" if ord(sign) < 0x10000 else f"\\U{ord(sign):08x}"


def flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return scalar(value)


def comment(text: str) -> str:
    """Return `text` fit for a comment: on one line, nothing unprintable."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def contract_text(
    project: str, source: str | dict[str, str], missing: tuple[str, ...], guesses: Guesses
) -> str:
    """Return the text of a new project's loopline.yaml.

    Args:
        project: its name.
        source: where the data is, as `data.source` says it.
        missing: the texts that mean missing.
        guesses: what the data suggests.
    """
    blocks = [
        _head(project, guesses),
        _problem(guesses),
        _goals(guesses),
        _data(source, missing, guesses),
        _REST.format(fairness=_fairness(guesses)),
    ]
    return "\n".join(blocks)


def _head(project: str, guesses: Guesses) -> str:
    return (
        "# yaml-language-server: $schema=.loopline/loopline.schema.json\n"
        f"# What this project promises, guessed from {guesses.rows:,} rows by `loopline new`.\n"
        "# Read the reasons, put right what is wrong, then type: loopline check\n"
        f"project: {scalar(project)}\n"
    )


def _problem(guesses: Guesses) -> str:
    target = guesses.target
    lines = [
        "problem:",
        f"  question: {scalar(f'What will {target.name} be?')}  # in the words of those who ask",
        "  # decision: what is done with the answer, and by whom",
        "  # owner: who answers for it",
        f"  task: {target.task}  # {comment(target.why)}",
        f"  target: {scalar(target.name)}",
    ]
    if target.unlabelled:
        lines[-1] += f"  # no value in {target.unlabelled:,} of the rows: no part of the split"
    if target.positive is not None:
        lines.append(f"  positive: {scalar(target.positive)}  # {comment(target.why_positive)}")
    plain, kind, rule = _BASELINES[target.task]
    lines += [
        "  # What an error costs gives the threshold that costs least, and goals in money:",
        f"  # costs: {_COSTS[target.task]}",
        f"  # The rule used today is the baseline to beat; until it is written, {plain} is:",
        f"  # baseline: {rule or f'{{kind: {kind}}}'}",
    ]
    return "\n".join(lines) + "\n"


def _goals(guesses: Guesses) -> str:
    return (
        "# A model that fails one of these is not promoted, and one that fails later is reported.\n"
        "goals:\n"
        f"  - {_GOALS[guesses.target.task]}  # modest: it learned something. Say what is enough\n"
        "  - {metric: latency_p99, at_most: 50 ms}\n"
    )


def _data(source: str | dict[str, str], missing: tuple[str, ...], guesses: Guesses) -> str:
    lines = ["data:", f"  source: {flow(source)}"]
    for name in ("key", "time"):
        column = getattr(guesses, name)
        lines += [f"  {name}: {scalar(column)}"] if column is not None else []
    if guesses.key is None:
        lines.append("  # key: the column that names a row, for outcomes that come later")
    lines.append(f"  missing: {flow(missing)}  # texts that mean: no value")
    lines.append("  # Ranges and categories are those seen; others are counted, and warned of.")
    lines.append(
        "  # `feature: false` keeps a column from the model; no column unnamed here reaches it."
    )
    lines.append("  columns:")
    lines += [_column(column) for column in _with_target(guesses)]
    lines += [
        f"    # {comment(json.dumps(name, ensure_ascii=False))} is left out: {comment(why)}"
        for name, why in guesses.left_out.items()
    ]
    if guesses.features:
        lines.append("  features:  # row SQL, the same in training and serving")
        lines += [f"    {name}: {scalar(sql)}" for name, sql in guesses.features.items()]
    lines.append(f"  split: {flow(guesses.split)}  # {comment(guesses.why_split)}")
    return "\n".join(lines) + "\n"


def _with_target(guesses: Guesses) -> list[ColumnGuess]:
    target = guesses.target
    return [*guesses.columns, ColumnGuess(target.name, {"type": target.kind}, "the target")]


def _column(column: ColumnGuess) -> str:
    line = f"    {scalar(column.name)}: {flow(column.keys)}"
    return f"{line}  # {comment(column.why)}" if column.why else line


def _fairness(guesses: Guesses) -> str:
    if not guesses.sensitive:
        return ""
    lines = ["# Columns that describe people are here. To hold the model to treating them alike:"]
    lines.append("# fairness:")
    metric = _FAIR[guesses.target.task]
    lines += [
        f"#   - {{by: {comment(scalar(name))}, metric: {metric}}}" for name in guesses.sensitive
    ]
    return "\n".join(lines) + "\n\n"


_REST = """model:
  candidates: [linear, boosted_trees]  # or train: model.py:build, for your own estimator
  trials: 10
  seed: 7

{fairness}environments:
  dev: {{}}         # `loopline run` puts its version here, `loopline serve` serves it
  staging: {{}}     # from here on only versions that met the goals
  production: {{}}  # approvals: 1 asks for a second person

monitor: {{window: 7 days, drift: {{psi: 0.2}}, minimum_rows: 200, minimum_labels: 500}}

respond:
  - {{when: goal missed, do: [alert, retrain], cool_down: 7 days}}
  - {{when: error_rate > 1%, do: [alert, rollback], cool_down: 1 hour}}
  - {{when: drift, do: alert, cool_down: 1 day}}
"""
