"""Dashboards for Grafana and alerts for Prometheus, from the contract: a folder other tools read.

Each file is written by its format's own library and read back before it counts as written: no name
of the contract can add a line, a template or an expression to it.
"""

from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from loopline.contract.metrics import METRICS
from loopline.contract.schema import Contract
from loopline.delivery import alerts, routing
from loopline.delivery.alerts import job, quoted
from loopline.errors import StoreError
from loopline.extras import require

RULES, PROOF = "rules.yaml", "rules_test.yaml"
ALERTMANAGER, PROMETHEUS, DASHBOARD = "alertmanager.yaml", "prometheus.yaml", "dashboard.json"
_SOURCE = "${source}"


@dataclass(frozen=True)
class Wanted:
    """What to write."""

    webhook: str | None = None
    """Where Alertmanager sends to; None leaves its receivers empty."""
    server: str = "127.0.0.1:8080"
    watcher: str = "127.0.0.1:9464"
    has_dashboard: bool = True


def write(contract: Contract, wanted: Wanted, folder: Path) -> list[Path]:
    """Write the files to `folder`, and return them.

    Raises:
        MissingExtraError: the dashboard is wanted, and Grafana's SDK is not installed.
        StoreError: they cannot be written.
    """
    content = {
        RULES: _yaml(alerts.document(contract)),
        PROOF: _yaml(alerts.proof(contract, RULES)),
        ALERTMANAGER: _yaml(routing.alertmanager(contract, wanted.webhook)),
        PROMETHEUS: _yaml(routing.prometheus(contract, RULES, wanted.server, wanted.watcher)),
    }
    if wanted.has_dashboard:
        content[DASHBOARD] = dashboard(contract)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in content.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"Cannot write to {folder}: {error.strerror}.") from error
    return [folder / name for name in content]


def _yaml(content: dict[str, Any]) -> str:
    from ruamel.yaml import YAML

    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.width = 4096
    written = StringIO()
    writer.dump(content, written)
    text = written.getvalue()
    if YAML(typ="safe", pure=True).load(text) != content:
        raise StoreError("The rules would not be read back as they were written: a name is odd.")
    return text


def dashboard(contract: Contract) -> str:
    """Return a dashboard of Grafana as JSON.

    Raises:
        MissingExtraError: Grafana's SDK is not installed.
    """
    sdk = "grafana_foundation_sdk"
    builders = require(f"{sdk}.builders.dashboard", extra="grafana")
    models = require(f"{sdk}.models.dashboard", extra="grafana")
    encoder = require(f"{sdk}.cog.encoder", extra="grafana")
    made = (
        builders.Dashboard(f"{contract.project}: promises and service")
        .uid(job(contract)[:40])
        .description(_told(contract))
        .tags(["loopline", contract.project])
        .refresh("1m")
        .time("now-7d", "now")
        .timezone("utc")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(builders.DatasourceVariable("source").label("Source").type("prometheus"))
        .with_variable(
            builders.QueryVariable("environment")
            .label("Environment")
            .datasource(models.DataSourceRef(type_val="prometheus", uid=_SOURCE))
            .query(f"label_values(loopline_window_predictions{{{_own(contract)}}}, environment)")
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .include_all(True)
            .multi(True)
        )
    )
    made = made.with_row(builders.Row("Promises"))
    for name in _promised(contract):
        made = made.with_panel(_promise(contract, name))
    made = made.with_row(builders.Row("What came in"))
    made = made.with_panel(_drift(contract)).with_panel(_findings(contract))
    made = made.with_panel(_outcomes(contract))
    made = made.with_row(builders.Row("Service"))
    for panel in _service(contract):
        made = made.with_panel(panel)
    return f"{encoder.JSONEncoder(sort_keys=True, indent=2).encode(made.build())}\n"


def _told(contract: Contract) -> str:
    problem = contract.problem
    return " ".join(filter(None, (problem.question, problem.decision, problem.owner)))


def _own(contract: Contract) -> str:
    return f"project={quoted(contract.project)}"


def _promised(contract: Contract) -> list[str]:
    names = [goal.metric for goal in contract.goals]
    names += [f"{rule.metric} by {rule.by}" for rule in contract.fairness]
    return list(dict.fromkeys(names))


def _lines(title: str, unit: str, width: int, told: str, *queries: tuple[str, str]) -> Any:
    """Return a panel of lines over time; each query is an expression and its legend."""
    series = require("grafana_foundation_sdk.builders.timeseries", extra="grafana")
    queried = require("grafana_foundation_sdk.builders.prometheus", extra="grafana")
    common = require("grafana_foundation_sdk.builders.common", extra="grafana")
    kinds = require("grafana_foundation_sdk.models.common", extra="grafana")
    models = require("grafana_foundation_sdk.models.dashboard", extra="grafana")
    panel = (
        series.Panel()
        .title(title)
        .description(told)
        .unit(unit)
        .height(8)
        .span(width)
        .fill_opacity(0)
        .show_points(kinds.VisibilityMode.AUTO)
        .datasource(models.DataSourceRef(type_val="prometheus", uid=_SOURCE))
        .legend(
            common.VizLegendOptions()
            .display_mode(kinds.LegendDisplayMode.LIST)
            .placement(kinds.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
    )
    for place, (expression, legend) in enumerate(queries):
        panel = panel.with_target(
            queried.Dataquery().expr(expression).legend_format(legend).ref_id(chr(65 + place))
        )
    red = [
        models.DynamicConfigValue(
            id_val="color", value={"mode": "fixed", "fixedColor": "red"}
        ),
        models.DynamicConfigValue(
            id_val="custom.lineStyle", value={"fill": "dash", "dash": [8, 6]}
        ),
    ]  # fmt: skip
    return panel.override_by_regexp("/^limit/", red)


def _promise(contract: Contract, name: str) -> Any:
    where = f'{_own(contract)},environment=~"$environment",goal={quoted(name)}'
    metric = name.split(" by ", 1)[0]
    known = METRICS.get(name)
    unit = "none"
    if known is not None and metric.startswith("latency"):
        unit = "s"
    elif known is not None and known.needs_costs and contract.problem.costs is not None:
        unit = f"suffix: {contract.problem.costs.currency}"
    elif known is not None and metric.endswith("_rate"):
        unit = "percentunit"
    return _lines(
        name,
        unit,
        12,
        "As the watcher judged it, and what it must keep to.",
        (f"loopline_goal_value{{{where}}}", "v{{version}} {{environment}}"),
        (f"loopline_goal_limit{{{where}}}", "limit {{environment}}"),
    )


def _drift(contract: Contract) -> Any:
    where = f'{_own(contract)},environment=~"$environment"'
    return _lines(
        "Drift: PSI of the worst columns",
        "none",
        12,
        "How far each column is from the rows that its version was trained on.",
        (f"topk(10, loopline_drift_psi{{{where}}})", "{{column}} v{{version}}"),
        (f"vector({contract.monitor.drift.get('psi', 0.2):g})", "limit"),
    )


def _findings(contract: Contract) -> Any:
    where = f'{_own(contract)},environment=~"$environment"'
    return _lines(
        "Open findings",
        "none",
        6,
        "By kind.",
        (f"sum by (kind) (loopline_findings_open{{{where}}})", "{{kind}}"),
    )


def _outcomes(contract: Contract) -> Any:
    where = f'{_own(contract)},environment=~"$environment"'
    return _lines(
        "Outcomes known",
        "percentunit",
        6,
        "Share of the predictions whose outcome is known, where goals are judged.",
        (f"loopline_labels_coverage{{{where}}}", "v{{version}} {{environment}}"),
    )


def _service(contract: Contract) -> list[Any]:
    own = f"job={quoted(job(contract))}"
    bucket = f"loopline_prediction_seconds_bucket{{{own}}}"
    quantiles = [
        (f"histogram_quantile({share}, sum by (le) (rate({bucket}[$__rate_interval])))", name)
        for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    ]
    rate = f"rate(loopline_requests_total{{{own}}}[$__rate_interval])"
    return [
        _lines("Requests", "reqps", 8, "By status.", (f"sum by (status) ({rate})", "{{status}}")),
        _lines("Latency", "s", 8, "From the request read to its answer.", *quantiles),
        _lines(
            "Log",
            "bytes",
            8,
            "Not on disk yet, and not folded yet.",
            (f"sum(loopline_log_lag_bytes{{{own}}})", "not on disk"),
            (f"loopline_log_waiting_bytes{{{_own(contract)}}}", "not folded"),
        ),
    ]
