"""What a contract of the right shape can still get wrong: its parts do not fit each other.

Everything here is said from the file alone. What needs the data, or a parser for row SQL, is
said by `loopline check`.
"""

import difflib
import re
from collections.abc import Collection, Iterator

from loopline.contract.document import Fault, Path, spell
from loopline.contract.explain import nearest, shown
from loopline.contract.metrics import METRICS, Metric
from loopline.contract.quantities import Amount
from loopline.contract.schema import NAME, Column, Contract, Costs, Goal
from loopline.contract.urls import has_secret
from loopline.contract.when import KNOWN, parse_when

_COSTS = {
    "binary": ("false_positive", "false_negative", "true_positive", "true_negative"),
    "multiclass": ("matrix",),
    "regression": ("under", "over"),
}
_WORTH = {"higher": ("at_least", "above_baseline_by"), "lower": ("at_most", "below_baseline_by")}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def faults(contract: Contract, tasks: Collection[str]) -> Iterator[Fault]:
    """Yield what does not fit.

    Args:
        contract: of the right shape.
        tasks: the task; all of them where the file does not say it rightly.
    """
    yield from _names(contract)
    yield from _problem(contract, tasks)
    for index, goal in enumerate(contract.goals):
        yield from _goal(contract, goal, ("goals", index), tasks)
    yield from _columns(contract)
    yield from _data(contract)
    yield from _fairness(contract, tasks)
    yield from _responses(contract, tasks)
    yield from _monitor(contract)


def _names(contract: Contract) -> Iterator[Fault]:
    if not NAME.fullmatch(contract.project):
        slug = re.sub(r"[^a-z0-9]+", "-", contract.project.lower()).strip("-")[:64].strip("-")
        yield Fault(
            ("project",),
            f"project is {shown(contract.project)}, but a name has lower-case letters, digits and "
            f"dashes, at most 64. Write {slug or 'my-project'}.",
        )
    for name in contract.environments:
        if not NAME.fullmatch(name):
            text = "an environment's name has lower-case letters, digits and dashes, at most 64."
            yield Fault(("environments", name), f"{shown(name)} cannot be a name: {text}")
    if "dev" not in contract.environments:
        text = "environments.dev is missing: it is where `loopline run` puts a new version."
        yield Fault(("environments",), f"{text} Add `dev: {{}}`.")


def _problem(contract: Contract, tasks: Collection[str]) -> Iterator[Fault]:
    problem = contract.problem
    if problem.positive is not None and "binary" not in tasks:
        text = f"problem.positive is for binary tasks; this one is {problem.task}. Remove it."
        yield Fault(("problem", "positive"), text)
    if problem.costs is not None:
        fitting = {key for task in tasks for key in _COSTS[task]}
        for key in sorted(problem.costs.model_fields_set - fitting - {"currency"}):
            yield Fault(
                ("problem", "costs", key),
                f"problem.costs.{key} does not fit a {problem.task} task. Its costs are "
                f"{', '.join(sorted(fitting))}.",
            )
    baseline = problem.baseline
    if baseline is None:
        return
    path: Path = ("problem", "baseline")
    if (baseline.rule is not None) != (baseline.kind in (None, "rule")):
        text = "problem.baseline has either a rule, or kind: majority, mean or last_value."
        yield Fault(path, text)
    elif baseline.rule is not None and "binary" not in tasks:
        text = f"problem.baseline.rule is true or false, and this task is {problem.task}."
        yield Fault((*path, "rule"), f"{text} Use kind: {_plain_baseline(problem.task)}.")
    elif (baseline.kind == "mean" and "regression" not in tasks) or (
        baseline.kind == "majority" and tuple(tasks) == ("regression",)
    ):
        text = f"problem.baseline.kind is {baseline.kind}, which does not fit a {problem.task} task"
        yield Fault((*path, "kind"), f"{text}. Write {_plain_baseline(problem.task)}.")
    elif baseline.kind == "last_value" and None in (contract.data.key, contract.data.time):
        text = "problem.baseline.kind is last_value, which needs data.key and data.time: the last"
        yield Fault((*path, "kind"), f"{text} value of what, and when?")


def _plain_baseline(task: str) -> str:
    return "mean" if task == "regression" else "majority"


def _metric(name: str, known: dict[str, Metric], tasks: Collection[str], path: Path) -> str | None:
    """Return what is wrong with naming this metric."""
    here = [key for key, metric in known.items() if set(metric.tasks) & set(tasks)]
    if name not in known:
        hint = nearest(name, here, what="Metrics")
        return f"{spell(path)} is {shown(name)}, but there is no such metric. {hint}"
    if name not in here:
        return (
            f"{spell(path)} is {name}, which is for {' and '.join(known[name].tasks)} tasks; this "
            f"one is {next(iter(tasks))}. Metrics: {', '.join(here)}."
        )
    return None


def _money(costs: Costs | None, metric: Metric, name: str, path: Path) -> Iterator[Fault]:
    if metric.needs_costs and (costs is None or not costs.model_fields_set - {"currency"}):
        yield Fault(
            path,
            f"{spell(path)}: {name} is money, but problem.costs says nothing. Write what an error "
            "costs, such as `costs: {currency: EUR, false_positive: 5, false_negative: 50}`, or "
            "choose another metric.",
        )


def _limit(name: str, metric: Metric, value: Amount, path: Path) -> Iterator[Fault]:
    begin = f"{spell(path)} is {value}, but"
    if name.startswith("latency") != (value.unit == "s"):
        is_time = name.startswith("latency")
        what = "a time, such as 25 ms" if is_time else "a number or a percentage"
        yield Fault(path, f"{begin} {name} is {what}.")
    elif not metric.low <= value <= metric.high:
        span = (
            f"lies between {metric.low:g} and {metric.high:g}"
            if abs(metric.low) != float("inf") != metric.high
            else f"is at least {metric.low:g}"
            if metric.high == float("inf")
            else f"is at most {metric.high:g}"
        )
        hint = " Write 0.92 for 92 %." if (metric.low, metric.high) == (0, 1) else ""
        yield Fault(path, f"{begin} {name} {span}.{hint}")


def _goal(contract: Contract, goal: Goal, path: Path, tasks: Collection[str]) -> Iterator[Fault]:
    wrong = _metric(goal.metric, METRICS, tasks, (*path, "metric"))
    if wrong is not None:
        yield Fault((*path, "metric"), wrong)
        return
    metric = METRICS[goal.metric]
    yield from _money(contract.problem.costs, metric, goal.metric, (*path, "metric"))
    [(key, value)] = goal.conditions.items()
    here = (*path, key)
    if metric.direction != "either" and key not in _WORTH[metric.direction]:
        better = _WORTH[metric.direction][key.endswith("baseline_by")]
        text = (
            f"{spell(here)}: {goal.metric} is better the {metric.direction} it is. Write {better}."
        )
        yield Fault(here, text)
    elif not key.endswith("baseline_by"):
        yield from _limit(goal.metric, metric, value, here)
    elif metric.service:
        text = f"{spell(here)}: a baseline has no {goal.metric}. Write at_most."
        yield Fault(here, text)
    elif value < 0 or value.unit == "s":
        yield Fault(
            here, f"{spell(here)} is {value}, but it must be a share such as 5%, or an amount."
        )


def _columns(contract: Contract) -> Iterator[Fault]:
    for name, column in contract.data.columns.items():
        path: Path = ("data", "columns", name)
        if not name.strip() or _CONTROL.search(name):
            yield Fault(path, f"data.columns: {name!r} cannot be the name of a column.")
        for key, text in _column(column):
            yield Fault((*path, key), f"{spell((*path, key))} {text}")
    for name in contract.data.features:
        path = ("data", "features", name)
        if not name.strip() or _CONTROL.search(name):
            yield Fault(path, f"data.features: {name!r} cannot be the name of a feature.")
        elif name in contract.data.columns:
            text = f"{spell(path)} has the name of a column. Give the feature another name."
            yield Fault(path, text)


def _column(column: Column) -> Iterator[tuple[str, str]]:
    is_number = column.type in (None, "number", "integer")
    for key in ("minimum", "maximum"):
        if getattr(column, key) is not None and not is_number:
            yield key, f"is for numbers, and this column's type is {column.type}."
    low, high = column.minimum, column.maximum
    if low is not None and high is not None and low > high:
        yield "maximum", f"is {high:g}, below the minimum {low:g}."
    if column.categories is not None and column.type == "time":
        yield "categories", "is for values that repeat, and this column's type is time."
    elif column.categories is not None and len(set(column.categories)) < len(column.categories):
        yield "categories", "names a category twice."
    if column.leaks and column.feature and "feature" in column.model_fields_set:
        yield "feature", "is true, but the column leaks the target. Remove one of the two."


def _data(contract: Contract) -> Iterator[Fault]:
    data = contract.data
    is_whole = isinstance(data.source, str)
    place = data.source if isinstance(data.source, str) else data.source.url or data.source.path
    if has_secret(place or ""):
        here: Path = ("data", "source") if is_whole else ("data", "source", "url")
        text = f"{spell(here)} holds a password. Write ${{DB_PASSWORD}} and set that variable"
        yield Fault(here, f"{text} in the environment.")
    if data.split.by == "time" and data.time is None:
        text = "data.split.by is time, but data.time does not say which column that is."
        yield Fault(("data", "split", "by"), text)
    if data.window is not None and data.time is None:
        text = "data.window needs data.time: the column that says how old a row is."
        yield Fault(("data", "window"), text)
    for index, check in enumerate(data.checks):
        if check.fresh is not None and data.time is None:
            path: Path = ("data", "checks", index, "fresh")
            yield Fault(
                path, f"{spell(path)} needs data.time: the column that says how old a row is."
            )
    column = data.columns.get(data.time or "")
    if column is not None and column.type not in (None, "time"):
        text = f"data.time is {data.time}, but data.columns.{data.time}.type is {column.type}."
        yield Fault(("data", "time"), f"{text} Write time.")
    named: list[tuple[Path, str | None]] = [
        (("data", "key"), data.key),
        (("data", "time"), data.time),
        (("data", "split", "group"), data.split.group),
        (("problem", "target"), contract.problem.target),
    ]
    for path, name in named:
        yield from _misspelt(path, name, list(data.columns))


def _misspelt(path: Path, name: str | None, columns: list[str]) -> Iterator[Fault]:
    """A key, time or target need not be listed; one that nearly is listed is a slip."""
    if name is None or name in columns or re.search(r"[<>=(+*/'\"]", name):
        return
    alike = [column for column in columns if _letters(column) == _letters(name)]
    # x10 and x11 are two columns and no slip.
    others = [column for column in columns if _digitless(column) != _digitless(name)]
    close = alike or difflib.get_close_matches(name, others, n=1, cutoff=0.87)
    if close:
        yield Fault(
            path,
            f"{spell(path)} is {shown(name)}, but data.columns lists '{close[0]}'. Write that, or "
            "list this column too.",
        )


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())


def _digitless(name: str) -> str:
    return re.sub(r"\d", "", name)


def _fairness(contract: Contract, tasks: Collection[str]) -> Iterator[Fault]:
    columns = list(contract.data.columns)
    for index, rule in enumerate(contract.fairness):
        path: Path = ("fairness", index)
        if rule.by not in columns:
            here = (*path, "by")
            hint = nearest(rule.by, columns, what="Listed there")
            text = (
                f"{spell(here)} is {shown(rule.by)}, but data.columns lists no such column. {hint}"
            )
            yield Fault(here, text.rstrip())
        here = (*path, "metric")
        judged = {name: metric for name, metric in METRICS.items() if not metric.service}
        wrong = _metric(rule.metric, judged, tasks, here)
        if wrong is not None:
            yield Fault(here, wrong)
        else:
            yield from _money(contract.problem.costs, METRICS[rule.metric], rule.metric, here)


def _responses(contract: Contract, tasks: Collection[str]) -> Iterator[Fault]:
    for index, response in enumerate(contract.respond):
        path: Path = ("respond", index, "when")
        try:
            when = parse_when(response.when)
        except ValueError as error:
            yield Fault(path, f"{spell(path)} is {shown(response.when)}, but {error}.")
            continue
        if when.kind != "metric":
            continue
        wrong = _metric(when.metric, KNOWN, tasks, path)
        if wrong is not None:
            yield Fault(path, wrong)
            continue
        yield from _money(contract.problem.costs, KNOWN[when.metric], when.metric, path)
        yield from _limit(when.metric, KNOWN[when.metric], when.limit, path)


def _monitor(contract: Contract) -> Iterator[Fault]:
    area = contract.monitor.drift.get("multivariate")
    if area is not None and not 0.5 < area < 1:
        here: Path = ("monitor", "drift", "multivariate")
        text = "an area lies between 0.5 (told apart not at all) and 1. Write 0.6."
        yield Fault(here, f"{spell(here)} is {area:g}, but {text}")
    known: set[frozenset[str]] = set()
    for index, pair in enumerate(contract.monitor.pairs):
        path: Path = ("monitor", "pairs", index)
        for place, name in enumerate(pair):
            wrong = _unpaired(contract, name)
            if wrong:
                yield Fault((*path, place), f"{spell((*path, place))} is {shown(name)}, {wrong}")
        if pair[0] == pair[1]:
            yield Fault(path, f"{spell(path)} names {shown(pair[0])} twice. Write two columns.")
        elif frozenset(pair) in known:
            text = f"{spell(path)} has {pair[0]} and {pair[1]} a second time. Remove it."
            yield Fault(path, text)
        known.add(frozenset(pair))


def _unpaired(contract: Contract, name: str) -> str:
    """Return why a column goes into no pair; empty where it does."""
    data, columns = contract.data, list(contract.data.columns)
    column = data.columns.get(name)
    if column is None:
        hint = nearest(name, columns, what="Listed there")
        return f"but data.columns lists no such column. {hint}".rstrip()
    if name in {data.key, data.time} or column.type in ("text", "time"):
        return "which goes together with nothing: pairs are of numbers and categories."
    if column.personal == "direct":
        return "which is personal and never logged. Name another column."
    if column.leaks or name == contract.problem.target:
        return "which callers do not send: it is known only afterwards. Name another column."
    return ""
