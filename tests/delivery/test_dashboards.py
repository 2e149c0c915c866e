"""The dashboard: every promise has its panel, and every query is one that Prometheus takes."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from loopline.cli.main import cli
from loopline.contract.load import load
from loopline.delivery import dashboards
from loopline.delivery.dashboards import Wanted, write
from loopline.errors import MissingExtraError, StoreError

CONTRACT = r"""
project: credit
problem:
  {task: binary, target: y, question: "Is it \"good\"?", costs: {currency: EUR, false_positive: 1}}
goals:
  - {metric: cost_per_prediction, below_baseline_by: 5%}
  - {metric: latency_p99, at_most: 25 ms}
data: {source: x.csv, columns: {'a "b"\ c': {type: category}}}
fairness: [{by: 'a "b"\ c', metric: recall, ratio_at_least: 0.8}]
monitor: {drift: {psi: 0.3}}
"""


@pytest.fixture
def contract(tmp_path: Path):
    (tmp_path / "loopline.yaml").write_text(CONTRACT)
    return load(tmp_path / "loopline.yaml")


@pytest.fixture
def drawn(contract) -> dict:
    pytest.importorskip("grafana_foundation_sdk")
    return json.loads(dashboards.dashboard(contract))


def panels(drawn: dict) -> list[dict]:
    return [panel for panel in drawn["panels"] if panel["type"] != "row"]


def test_every_goal_and_fairness_rule_has_a_panel_in_its_unit(drawn):
    units = {panel["title"]: panel["fieldConfig"]["defaults"]["unit"] for panel in panels(drawn)}

    assert units["cost_per_prediction"] == "suffix: EUR"
    assert units["latency_p99"] == "s"
    assert units['recall by a "b"\\ c'] == "none"
    assert {"Drift: PSI of the worst columns", "Open findings", "Outcomes known", "Latency"} <= set(
        units
    )


def test_grafana_s_own_types_read_the_dashboard_and_lose_nothing(drawn):
    """Made from Grafana's schema: what they do not know would be gone."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    odd = {**drawn, "panels": [{**drawn["panels"][1], "legend": "of no schema"}]}

    assert json.loads(JSONEncoder().encode(Dashboard.from_json(drawn))) == drawn
    assert json.loads(JSONEncoder().encode(Dashboard.from_json(odd))) != odd


def test_a_panel_shows_value_and_limit_and_panels_do_not_overlap(drawn):
    first = panels(drawn)[0]

    assert [target["legendFormat"] for target in first["targets"]] == [
        "v{{version}} {{environment}}", "limit {{environment}}"
    ]  # fmt: skip
    taken = set()
    for panel in drawn["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_every_query_is_one_that_prometheus_takes(drawn, tmp_path):
    queries = [target["expr"] for panel in panels(drawn) for target in panel["targets"]]
    filled = [
        query.replace("$__rate_interval", "5m").replace("$environment", "production")
        for query in queries
    ]
    rules = [{"record": f"a:b{n}", "expr": query} for n, query in enumerate(filled)]
    file = tmp_path / "rules.json"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "a", "rules": rules}]}))

    done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr
    assert len(filled) > 10


def test_its_queries_name_gauges_that_are_documented(drawn):
    docs = Path(__file__).parents[2] / "docs" / "reference"
    known = (docs / "metrics.md").read_text() + (docs / "http.md").read_text()
    named = set(re.findall(r"loopline_[a-z_]+", json.dumps(panels(drawn))))

    assert len(named) > 6
    assert [name for name in named if name.removesuffix("_bucket") not in known] == []


def test_without_the_sdk_the_rest_is_written_and_the_dashboard_asks_for_the_extra(
    contract, tmp_path, monkeypatch
):
    def missing(module: str, *, extra: str) -> None:
        raise MissingExtraError(f"{module}: {extra}")

    monkeypatch.setattr(dashboards, "require", missing)

    with pytest.raises(MissingExtraError, match="grafana"):
        write(contract, Wanted(), tmp_path / "a")
    assert not (tmp_path / "a").exists()
    written = write(contract, Wanted(has_dashboard=False), tmp_path / "b")
    assert [path.name for path in written] == [
        "rules.yaml", "rules_test.yaml", "alertmanager.yaml", "prometheus.yaml"
    ]  # fmt: skip


def test_a_folder_that_cannot_be_written_to_is_named(contract, tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match=r"Cannot write to .*file"):
        write(contract, Wanted(has_dashboard=False), tmp_path / "file" / "a")


def test_the_command_says_what_it_wrote_and_how_to_try_it(contract, tmp_path):
    shown = CliRunner().invoke(
        cli,
        ["generate", "dashboards", "--project", str(tmp_path), "--no-grafana", "--out",
         str(tmp_path / "made")],
        catch_exceptions=False,
    )  # fmt: skip

    assert shown.exit_code == 0
    assert "made/rules.yaml" in shown.output
    assert f"promtool test rules {tmp_path}/made/rules_test.yaml" in shown.output
