"""`loopline watch`: fold the log, compare what happens with what was promised, and respond."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loopline.cli.main import json_option, project_option
from loopline.cli.places import Place, compute_on

if TYPE_CHECKING:
    from threading import Event

    from loopline.monitoring.exposed import Exposed
    from loopline.monitoring.held import Held
    from loopline.monitoring.survey import Watched
    from loopline.response.watch import Pass, Watch

_SHOWN = 8
"""Columns of drift, the worst first; --json has all."""
_TOLD = ("cost_per_prediction", "roc_auc", "log_loss", "recall", "accuracy", "mae", "rmse")
"""Estimates that are printed; --json has all."""
_ENOUGH = 3
"""From so many past windows on it is said that estimates did not hold in most of them."""
_DRIFT = {
    "psi": "psi",
    "jensen_shannon": "js",
    "ks": "ks",
    "missing_rate": "missing",
    "new_category_rate": "new",
}


@click.command(help="Compare what happens with what was promised, and respond, until Ctrl-C.")
@click.option("--once", is_flag=True, help="Look once, and end.")
@click.option("--every", default="10s", show_default=True, help="How long to wait between looks.")
@click.option("--now", "moment", metavar="TIME", help="Look as of this time; implies --once.")
@click.option(
    "--strict", is_flag=True, help="Exit 1 when a finding is open, or nothing could be judged."
)
@click.option(
    "--report",
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[FILE]",
    help="Then write one HTML page about all of it; implies --once. By default to "
    "reports/PROJECT-watch.html in the home.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Show Prometheus the gauges of the last look on this port of 127.0.0.1, at /metrics.",
)
@click.option(
    "--metrics-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write them to this file, as node-exporter's textfile collector reads it.",
)
@click.option(
    "--on",
    type=Place(),
    default="threads",
    show_default=True,
    help="Where the log is folded and outcomes are joined; the counts are the same. Spark is for "
    "more of them than this machine folds in time.",
)
@project_option
@json_option
def command(  # noqa: PLR0913 - one argument an option
    *,
    once: bool,
    every: str,
    moment: str | None,
    strict: bool,
    report: str | None,
    metrics_port: int | None,
    metrics_file: Path | None,
    on: str,
    project: Path | None,
    as_json: bool,
) -> int:
    """Look, print, and look again."""
    from datetime import UTC

    from loopline.cli.main import find_project
    from loopline.monitoring.exposed import Exposed

    root = find_project(project)
    pause, now = _seconds(every), _moment(moment)
    if once or now is not None or report is not None:
        now = now or datetime.now(UTC)
        seen = _watch(root, on).once(now)
        _print(seen, as_json=as_json)
        if report is not None:
            _write_report(root, report, now)
        if metrics_file is not None:
            Exposed(file=metrics_file.absolute()).show(_gauges(seen, now))
        return int(strict and bool(seen.findings or not seen.is_judged))
    file = None if metrics_file is None else metrics_file.absolute()
    with Exposed(metrics_port, file) as exposed:
        if exposed.port is not None:
            click.echo(f"Metrics: http://127.0.0.1:{exposed.port}/metrics", err=True)
        _go_on(root, pause, exposed, on, as_json=as_json)
    return 0


def _gauges(seen: "Pass", now: datetime) -> bytes:
    from loopline.monitoring.gauges import exposition

    return exposition(
        seen.project, seen.watched, seen.judged, seen.findings, seen.waiting, now.timestamp()
    )


def _write_report(root: Path, file: str, now: datetime) -> None:
    from loopline.project import Project

    written = Project.open(root).watch_report(Path(file).absolute() if file else None, now=now)
    click.echo(f"\nReport: {written}", err=True)  # so that --json stays JSON


def _go_on(root: Path, pause: float, exposed: "Exposed", on: str, *, as_json: bool) -> None:
    """Look until Ctrl-C or SIGTERM; what a look cannot do now, the next one tries again."""
    import threading
    from datetime import UTC

    from loopline.contract.load import contract_hash
    from loopline.errors import LooplineError

    stop = threading.Event()
    _stop_at_signals(stop)
    watch, known, complaint, has_begun = None, "", "", False
    while not stop.is_set():
        try:
            found = contract_hash(root / "loopline.yaml")
            if watch is None or found != known:  # the contract was edited
                watch, known = _watch(root, on), found
            now = datetime.now(UTC)
            seen = watch.once(now)
            if seen.is_judged:  # else another watcher's gauges are the newer ones
                exposed.show(_gauges(seen, now))
            if not has_begun and not as_json:  # a quiet watcher and a stuck one look alike
                click.echo(
                    f"Watching {seen.project}, every {pause:g} s: what is new is told here. "
                    "All there is: loopline watch --once"
                )
            has_begun = True
            if as_json:
                _print(seen, as_json=True)
            elif news := _news(seen):
                click.echo(news)
            complaint = ""
        except LooplineError as error:
            if str(error) != complaint:
                complaint = str(error)
                click.echo(f"This look failed, and will be tried again: {error}", err=True)
        stop.wait(pause)


def _stop_at_signals(stop: "Event") -> None:
    """End after the look that is going on; at a second signal, at once."""
    import signal

    def ask(number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)


def _watch(root: Path, on: str) -> "Watch":
    from loopline.project import Project
    from loopline.response.telling import channels

    project, compute = Project.open(root), None
    if on != "threads":  # threads of this process have the log, the tables and the database here
        compute = compute_on(on)
    return project.watcher(channels(project.settings), compute)


def _seconds(text: str) -> float:
    from loopline.contract.quantities import Amount

    try:
        amount = Amount.parse(text)
    except ValueError as error:
        raise click.BadParameter(f"{text}: {error}.", param_hint="--every") from error
    if amount.unit != "s" or amount <= 0:
        raise click.BadParameter(f"{text} is no time. Write 10s.", param_hint="--every")
    return float(amount)


def _moment(text: str | None) -> datetime | None:
    from loopline.data.columns import parse_time
    from loopline.monitoring.windows import moment

    if text is None:
        return None
    found = parse_time(text.strip())
    if found is None:
        raise click.BadParameter(
            f"{text} is no time. Write 2013-04-01 or 2013-04-01T06:30:00Z.", param_hint="--now"
        )
    return moment(found)


def _print(seen: "Pass", *, as_json: bool) -> None:
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(seen))
        return
    folded = seen.folded
    click.echo(f"{seen.project} as of {_short(seen.at)} UTC")
    click.echo(
        f"  log        {folded.predictions:,} predictions, {folded.labels:,} outcomes and "
        f"{folded.errors:,} errors folded"
    )
    if seen.corrected or seen.unknown:
        click.echo(
            f"  outcomes   {seen.corrected:,} corrected, {seen.unknown:,} of unknown predictions"
        )
    if seen.held:
        click.echo(f"  held       {seen.held:,} alerts until quiet hours end (monitor.quiet)")
    for watched in seen.watched:
        _print_version(seen.project, watched)
    for title, lines in (
        ("open findings", [finding.message for finding in seen.findings]),
        (
            "rollout",
            [
                f"{seen.project}:{one.version} in {one.environment}: {one.told}"
                for one in seen.rollouts
            ],
        ),
        ("done", [f"{one.kind} ({one.outcome}): {one.why}" for one in seen.actions]),
        ("note", list(seen.notes)),
    ):
        if lines:
            click.echo(f"\n{title}")
            for line in lines:
                click.echo(f"  - {_plain(line)}")
    if not seen.watched and not seen.notes:
        click.echo("\nNothing is released, so there is nothing to watch. Start with: loopline run")
    elif not seen.findings and not seen.notes:
        click.echo("\nNo finding is open.")


def _print_version(project: str, watched: "Watched") -> None:
    start, end = (_short(moment) for moment in watched.window)
    role = "shadow" if watched.shadow else f"{watched.share:.0%} of the traffic"
    click.echo(f"\n{watched.environment}: {project}:{watched.version}, {role}")
    click.echo(f"  window     {start} to {end}: {watched.rows:,} predictions")
    if watched.apart:
        click.echo(f"  apart      {watched.apart:,} predictions of times far from their arrival")
    service = watched.service
    if service.requests:
        latency = ", ".join(f"{name} {s * 1000:.3g} ms" for name, s in service.latency.items())
        click.echo(
            f"  service    {service.requests:,} requests, {service.error_rate:.2%} failed, "
            f"{service.refused:,} refused; {latency or 'none answered'}"
        )
    elif not watched.rows:
        click.echo("  service    no request in this window. Predictions come from: loopline serve")
    for place, one in enumerate(watched.drift[:_SHOWN]):
        figures = "  ".join(
            f"{name} {one.figures[key]:.3f}" for key, name in _DRIFT.items() if key in one.figures
        )
        click.echo(f"  {'' if place else 'drift':10} {_plain(one.column):24.24} {figures}")
    if watched.rows and not watched.drift:
        click.echo("  drift      not judged yet: too few predictions (monitor.minimum_rows)")
    _print_together(watched)
    _print_estimation(watched)
    _print_performance(watched)


def _print_together(watched: "Watched") -> None:
    for place, one in enumerate(watched.pairs):
        found = one.moved
        click.echo(
            f"  {'' if place else 'pairs':10} {_plain(one.name):24.24} {found.current.value:.3f}, "
            f"was {found.reference.value:.3f} ({found.low:+.3f} to {found.high:+.3f})"
        )
    apart = watched.multivariate
    if apart is not None:
        area = apart.roc_auc
        click.echo(
            f"  together   told from training rows by all inputs: area {area.value:.3f} "
            f"({area.low:.3f} to {area.high:.3f})"
        )


def _print_estimation(watched: "Watched") -> None:
    """Say what outcomes to expect: the interval is where the realised figure should come to lie."""
    from loopline.evaluation.expectation import FEWEST_ROWS

    found = watched.estimation
    if found is None:
        if watched.rows:
            click.echo(
                f"  estimated  nothing: that takes a version trained with {FEWEST_ROWS} validation "
                "rows or more"
            )
        return
    click.echo(f"  estimated  of {found.rows:,} predictions, whatever is known; 95 % interval")
    for name, figure in found.metrics.items():
        if name not in _TOLD:
            continue
        if name in found.withdrawn:
            click.echo(f"  {'':10} {found.withdrawn[name]}")
            continue
        spread = f"{figure.low:.4g} to {figure.high:.4g}"
        wide = found.widened.get(name)
        if wide is not None:
            spread += (
                f"; widened by past misses {wide.low:.4g} to {wide.high:.4g} "
                f"({wide.level:.0%}, from {wide.stretches})"
            )
        click.echo(f"  {'':10} {name:24} {figure.value:9.4g}   {spread}")
    if watched.held is not None:
        _print_held(watched.held)


def _print_held(held: "Held") -> None:
    told = ", ".join(f"{name} in {held.inside[name]}" for name in _TOLD if name in held.inside)
    few = held.windows >= _ENOUGH and any(
        2 * held.inside[name] < held.windows for name in _TOLD if name in held.inside
    )
    caution = "; do not rely on them" if few else ""
    click.echo(f"  {'':10} of {held.windows} past windows, inside the interval: {told}{caution}")
    wide = ", ".join(
        f"{name} in {hits} of {count}"
        for name, (hits, count) in held.widened.items()
        if name in _TOLD
    )
    if wide:
        click.echo(f"  {'':10} inside the widened one: {wide}")


def _print_performance(watched: "Watched") -> None:
    found, expected = watched.performance, watched.expected
    if found is None:
        click.echo("  goals      not judged yet: too few outcomes (monitor.minimum_labels)")
        return
    click.echo(
        f"  goals      {found.window}: {found.labels:,} outcomes of {found.rows:,} predictions "
        f"({found.coverage:.0%})"
    )
    beside = found.baseline or ""
    was = "" if expected is None else "estimated (95 % interval)"
    width = max(len(beside), 9)
    click.echo(f"  {'':10} {'':24} {'model':>9}   {beside:{width}}   {was}".rstrip())
    for name, value in found.metrics.items():
        other = found.baseline_metrics.get(name)
        said = "" if other is None else f"{other:9.4g}"
        figure = None if expected is None else expected.metrics.get(name)
        thought = ""
        if figure is not None:
            thought = f"{figure.value:.4g} ({figure.low:.4g} to {figure.high:.4g})"
        click.echo(f"  {'':10} {name:24} {value:9.4g} {said:{width}}     {thought}".rstrip())


def _news(seen: "Pass") -> str:
    """Return what happened, in a few lines; nothing where nothing did."""
    folded = seen.folded
    lines = []
    if folded.predictions or folded.labels:
        lines.append(f"folded {folded.predictions:,} predictions, {folded.labels:,} outcomes")
    lines += [f"finding {finding.status}: {finding.message}" for finding in seen.news]
    lines += [f"{action.kind} {action.outcome}: {action.why}" for action in seen.actions]
    lines += seen.notes
    return "\n".join(f"{_short(seen.at)}  {_plain(line)}" for line in lines)


def _short(moment: str) -> str:
    return moment[:16].replace("T", " ")


def _plain(text: str) -> str:
    """Return `text` without control characters: column values come from callers."""
    return "".join(character if character.isprintable() else "?" for character in text)
