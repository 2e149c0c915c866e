"""`loopline model`: versions, what serves where, and who decided it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loopline.cli.main import find_project, json_option, project_option
from loopline.cli.places import Place, compute_on
from loopline.cli.table import print_table

if TYPE_CHECKING:
    from loopline.evaluation.report import Estimate
    from loopline.project import Project
    from loopline.registry.release import Part, Release
    from loopline.registry.versions import Request

_WHY = click.option("--why", default="", help="The reason, as the ledger keeps it.")


@click.group(help="List, show, compare, promote and roll back versions.")
def command() -> None:
    """Hold the verbs below."""


@command.command("list", help="List every version, and what waits for approval.")
@json_option
@project_option
def list_(as_json: bool, project: Path | None) -> None:
    """Print a line per version, the newest first."""
    from loopline.registry.shares import told

    registry = _open(project).registry
    state = registry.state()
    versions = [state.version(number) for number in sorted(state.versions, reverse=True)]
    serving = {name: state.serving(name) for name in sorted(state.releases)}
    waiting = list(state.requests.values())
    if as_json:
        _print_json({"versions": versions, "serving": serving, "waiting": waiting})
        return
    if not versions:
        click.echo("There is no version yet. Train, prove and register one: loopline run")
        return
    rows = [
        (
            version.name,
            version.stage,
            "passed" if version.gate_passed else "failed",
            version.runtime,
            version.author,
            version.created_at[:16].replace("T", " "),
            version.digest[:12],
        )
        for version in versions
    ]
    heads = ("version", "stage", "gate", "runtime", "author", "created", "digest")
    print_table(heads, rows, whole=(0, 1, 2, 3))
    for name in serving:
        click.echo(f"{name} serves {told(registry.project, state.releases[name][-1].serves)}.")
    for request in waiting:
        click.echo(
            f"{registry.project}:{request.version} waits for {request.environment}: "
            f"{len(request.approved_by)} of {request.needed} approvals. "
            f"Another person can: loopline model approve {registry.project}:{request.version}"
        )


@command.command(help="Show one version: where it came from, and what was measured.")
@click.argument("name", default="latest")
@click.option(
    "--page",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the evaluation as one HTML page instead.",
)
@json_option
@project_option
def show(name: str, page: Path | None, as_json: bool, project: Path | None) -> None:
    """Print a version's record and its evaluation."""
    opened = _open(project)
    version = opened.registry.get(name)
    report = opened.report(version.number)
    if page is not None:
        from loopline.evaluation.page import write

        click.echo(f"The evaluation of {version.name} is in {write(report, page)}.")
        return
    if as_json:
        _print_json({"version": version, "report": report})
        return
    facts = {
        "stage": version.stage,
        "gate": "passed" if version.gate_passed else "failed",
        "runtime": version.runtime,
        "run": version.run,
        "snapshot": version.snapshot,
        "author": f"{version.author}, {version.created_at}",
        "digest": version.digest,
        "bundle": opened.objects.uri(version.bundle),
        "baseline": report.baseline,
        **({"champion": report.champion} if report.champion else {}),
    }
    print_table((version.name, ""), facts.items())
    rivals = [report.baseline_metrics, *([report.champion_metrics] if report.champion else [])]
    rows = [
        (
            metric,
            f"{own.value:.4g}",
            f"{own.low:.4g} to {own.high:.4g}",
            *(f"{rival[metric].value:.4g}" if metric in rival else "-" for rival in rivals),
        )
        for metric, own in report.metrics.items()
    ]
    click.echo()
    heads = ("metric", version.name, "95 % interval", "baseline", "champion")
    print_table(heads[: 3 + len(rivals)], rows, whole=range(5))
    click.echo(f"on {report.rows:,} rows that neither trained the model nor chose its threshold\n")
    held = [("holds" if one.passed else "fails", one.reason) for one in report.gates]
    print_table(("gate", ""), held)


@command.command(help="Compare two versions, figure by figure.")
@click.argument("a")
@click.argument("b")
@json_option
@project_option
def compare(a: str, b: str, as_json: bool, project: Path | None) -> None:
    """Print both versions' figures side by side."""
    opened = _open(project)
    versions = [opened.registry.get(name) for name in (a, b)]
    first, second = (opened.report(version.number) for version in versions)
    metrics = {
        metric: {"a": first.metrics.get(metric), "b": second.metrics.get(metric)}
        for metric in {**first.metrics, **second.metrics}
    }
    same = versions[0].snapshot == versions[1].snapshot
    if as_json:
        pair = {"a": versions[0], "b": versions[1]}
        _print_json({**pair, "same_snapshot": same, "metrics": metrics})
        return
    rows = [
        (metric, _figure(pair["a"]), _figure(pair["b"]), _difference(pair["a"], pair["b"]))
        for metric, pair in metrics.items()
    ]
    print_table(("metric", versions[0].name, versions[1].name, "difference"), rows)
    if not same:
        click.echo(
            f"They come from different snapshots ({versions[0].snapshot} and "
            f"{versions[1].snapshot}), so the rows they were measured on differ too."
        )


@command.command(
    help="Judge the predictions in a table that `loopline score --keep` wrote, with the outcome "
    "among what was kept: TABLE is a file, folder, Delta table or object-store URL, of any size."
)
@click.argument("table", metavar="TABLE")
@click.option(
    "--version",
    type=click.IntRange(1),
    help="The version to judge; by default the only one that TABLE has.",
)
@click.option("--on", type=Place(), help="Where; by default `compute`.")
@json_option
@project_option
def evaluate(
    table: str, version: int | None, on: str | None, as_json: bool, project: Path | None
) -> None:
    """Print every figure, beside the baseline's where the table has what that reads."""
    from loopline.data.batches import open_incoming
    from loopline.errors import SourceError
    from loopline.monitoring.reference import References
    from loopline.monitoring.scored import evaluate as judge
    from loopline.monitoring.scored import versions

    opened = _open(project)
    incoming = open_incoming(table, Path.cwd(), opened.settings)
    there = [version] if version is not None else versions(incoming)
    if len(there) != 1:
        said = f"the versions {', '.join(map(str, there))}" if there else "no known version"
        raise SourceError(f"{table} has predictions of {said}. Name one with --version.")
    compute = compute_on(on or opened.contract.compute)
    found = judge(opened.contract, References(opened.registry)(there[0]), incoming, compute)
    if as_json:
        _print_json(found)
        return
    figures = found.performance
    click.echo(
        f"{opened.registry.project}:{found.version} in {table}: {figures.labels:,} outcomes of "
        f"{figures.rows:,} predictions" + (f"; {found.others:,} of others" if found.others else "")
    )
    rows = [
        (name, f"{value:.6g}", _given(figures.bounds.get(name)),
         _given(figures.baseline_metrics.get(name)))
        for name, value in figures.metrics.items()
    ]  # fmt: skip
    print_table(("metric", "value", "at most off by", figures.baseline or ""), rows)


def _given(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


@command.command(help="Have an environment serve a version, or ask for the approval it needs.")
@click.argument("name", default="latest")
@click.option("--to", "environment", required=True, help="The environment.")
@click.option(
    "--share",
    metavar="SHARE",
    help="Of the callers, by hand: a canary's 5%, or 100%. Without it everybody, by the steps of "
    "the contract's rollout where it has some.",
)
@click.option("--arm", default="", metavar="NAME", help="What an A/B test calls this version.")
@click.option("--shadow", is_flag=True, help="Ask it too and log what it says; it answers nobody.")
@_WHY
@project_option
def promote(  # noqa: PLR0913, PLR0917 - a command's options
    name: str,
    environment: str,
    share: str | None,
    arm: str,
    shadow: bool,
    why: str,
    project: Path | None,
) -> None:
    """Promote a version whose gate passed."""
    from loopline.registry import promotion

    part = _part(share, arm, shadow=shadow)
    opened = _open(project)
    decided = promotion.promote(
        opened.registry,
        name,
        environment,
        by=opened.settings.actor,
        why=why,
        now=_now(),
        contract=opened.contract,
        part=part,
    )
    _print_decision(opened, decided)


def _part(share: str | None, arm: str, *, shadow: bool) -> "Part":
    from loopline.contract.quantities import Amount
    from loopline.registry.release import Part

    if share is None:
        if shadow and arm:
            raise click.UsageError("A shadow answers nobody, so it has neither --share nor --arm.")
        return Part(share=0.0 if shadow else 1.0, shadow=shadow, arm=arm)
    try:
        amount = Amount.parse(share)
    except ValueError as error:
        raise click.BadParameter(f"{share}: {error}.", param_hint="--share") from error
    if amount.unit == "s" or not 0 < amount <= 1:
        raise click.BadParameter(f"{share} is no share. Write 5%.", param_hint="--share")
    if shadow and (amount < 1 or arm):
        raise click.UsageError("A shadow answers nobody, so it has neither --share nor --arm.")
    at_once = float(amount) == 1 and not shadow
    return Part(share=0.0 if shadow else float(amount), shadow=shadow, arm=arm, at_once=at_once)


@command.command(help="Approve a promotion that someone else asked for.")
@click.argument("name")
@click.option("--env", "environment", help="The environment, if the version waits for several.")
@project_option
def approve(name: str, environment: str | None, project: Path | None) -> None:
    """Approve a promotion that waits."""
    from loopline.registry import promotion

    opened = _open(project)
    decided = promotion.approve(
        opened.registry,
        name,
        by=opened.settings.actor,
        now=_now(),
        contract=opened.contract,
        environment=environment,
    )
    _print_decision(opened, decided)


@command.command(help="Take out what ENV got last; its last good version answers again.")
@click.argument("place", metavar="[ENV]", required=False)
@click.option("--env", "environment", help="The environment, for those who prefer an option.")
@click.option("--why", required=True, help="The reason, as the ledger keeps it.")
@project_option
def rollback(place: str | None, environment: str | None, why: str, project: Path | None) -> None:
    """Roll an environment back."""
    from loopline.registry import promotion

    chosen = {name for name in (place, environment) if name}
    if len(chosen) != 1:
        raise click.UsageError("Name one environment: loopline model rollback production --why ...")
    opened = _open(project)
    decided = promotion.rollback(
        opened.registry, chosen.pop(), by=opened.settings.actor, why=why, now=_now()
    )
    _print_decision(opened, decided)


@command.command(help="Retire a version that serves nowhere: it stays on record, and stays out.")
@click.argument("name")
@_WHY
@project_option
def retire(name: str, why: str, project: Path | None) -> None:
    """Retire a version."""
    from loopline.registry import promotion

    opened = _open(project)
    version = promotion.retire(opened.registry, name, by=opened.settings.actor, why=why, now=_now())
    click.echo(f"{version.name} is retired.")


@command.command(help="Walk from a prediction back to the data that trained its model.")
@click.argument("prediction_id")
@json_option
@project_option
def lineage(prediction_id: str, as_json: bool, project: Path | None) -> None:
    """Print the chain: prediction, version, run, snapshot."""
    opened = _open(project)
    chain = opened.registry.lineage(prediction_id, opened.tables)
    if as_json:
        _print_json(chain)
        return
    shown = {
        "version": ("project", "number", "digest", "author", "created_at", "stage"),
        "run": ("id", "candidate", "parameters", "seed", "code", "started_at"),
        "snapshot": ("id", "hash", "rows", "source", "table", "table_version", "frozen_at"),
    }
    rows = [("prediction", name, value) for name, value in chain["prediction"].items()]
    for part, names in shown.items():
        record = chain[part]
        if record is None:
            rows.append((part, "", "not on record"))
        else:
            rows += [(part, name, record[name]) for name in names if name in record]
    print_table(("record", "", ""), ((part, name, str(value)) for part, name, value in rows))


def _open(project: Path | None) -> "Project":
    from loopline.project import Project

    return Project.open(find_project(project))


def _now() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)


def _print_decision(opened: "Project", decided: "Release | Request") -> None:
    from loopline.registry.release import Release
    from loopline.registry.shares import told

    project = opened.registry.project
    if isinstance(decided, Release):
        click.echo(
            f"{decided.environment} serves {told(project, decided.serves)} since release "
            f"{decided.number} by {decided.by}" + (f": {decided.why}" if decided.why else ".")
        )
        if decided.rollout is not None and decided.rollout.is_going_on:
            click.echo(
                f"It is {decided.rollout.told} of a rollout. `loopline watch` goes on when it may; "
                "what it waits for says: loopline status"
            )
        return
    missing = decided.needed - len(decided.approved_by)
    click.echo(
        f"{project}:{decided.version} waits for {missing} approval{'s' * (missing != 1)} before "
        f"{decided.environment} serves it. Another person, neither {decided.by} nor its author: "
        f"loopline model approve {project}:{decided.version}"
    )


def _print_json(answer: Any) -> None:
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(answer)))


def _figure(estimate: "Estimate | None") -> str:
    if estimate is None:
        return "-"
    return f"{estimate.value:.4g} ({estimate.low:.4g} to {estimate.high:.4g})"


def _difference(a: "Estimate | None", b: "Estimate | None") -> str:
    return "-" if a is None or b is None else f"{b.value - a.value:+.4g}"
