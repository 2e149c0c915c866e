"""The rules fire when they should and not before: promtool runs the proof beside them."""

import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from loopline.contract.load import load
from loopline.contract.schema import Contract
from loopline.delivery import alerts
from loopline.delivery.dashboards import PROOF, RULES, Wanted, write

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed"
)
PLAIN = """
project: credit
problem: {task: binary, target: y, costs: {false_positive: 1}}
goals: [{metric: cost_per_prediction, below_baseline_by: 5%}]
data: {source: x.csv}
"""
FULL = r"""
project: a
problem:
  task: binary
  target: y
  owner: '{{ template "x" }} "them" <a@b.example>'
  costs: {currency: "€ \"", false_positive: 1}
goals:
  - {metric: roc_auc, at_least: 0.65}
  - {metric: latency_p99, at_most: 25 ms}
  - {metric: latency_p50, at_most: 3 ms}
  - {metric: error_rate, at_most: 2%}
data: {source: x.csv, columns: {'a "b" {{ $labels.x }} \ c': {type: category}}}
fairness:
  - {by: 'a "b" {{ $labels.x }} \ c', metric: recall, ratio_at_least: 0.8}
monitor: {quiet: 22:00-07:00 Europe/Berlin}
respond:
  - {when: error_rate > 0.5%, do: [alert, rollback]}
"""


def contract(tmp_path: Path, text: str) -> Contract:
    path = tmp_path / "loopline.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@needs_promtool
@pytest.mark.parametrize("text", [PLAIN, FULL], ids=["plain", "full"])
def test_promtool_accepts_the_rules_and_sees_each_fire_and_each_keep_still(tmp_path, text):
    known = contract(tmp_path, text)
    write(known, Wanted(has_dashboard=False), tmp_path)

    checked = promtool("check", "rules", "--lint-fatal", tmp_path / RULES)
    tested = promtool("test", "rules", tmp_path / PROOF)

    assert checked.returncode == 0, checked.stderr
    assert tested.returncode == 0, tested.stdout + tested.stderr
    for rule in alerts.rules(known):
        fires = [case.labels is not None for case in rule.cases]
        assert True in fires, rule.alert
        assert False in fires, rule.alert


@needs_promtool
@pytest.mark.parametrize(
    ("before", "after"),
    [("== 0", "== 2"), ("> 0.005", "> 0.5"), ("for: 15m", "for: 1m"), ("page", "ticket")],
)
def test_the_proof_fails_when_a_rule_is_broken(tmp_path, before, after):
    write(contract(tmp_path, FULL), Wanted(has_dashboard=False), tmp_path)
    rules = tmp_path / RULES
    text = rules.read_text(encoding="utf-8")
    assert before in text
    rules.write_text(text.replace(before, after), encoding="utf-8")

    assert promtool("test", "rules", tmp_path / PROOF).returncode != 0


def test_limits_are_the_contracts_own_the_lowest_of_goals_and_responses(tmp_path):
    rules = {rule.alert: rule for rule in alerts.rules(contract(tmp_path, FULL))}

    assert rules["LooplineErrors"].expression.endswith("> 0.005")
    assert rules["LooplineSlowP50"].expression.endswith("> 0.003")
    assert rules["LooplineSlowP99"].expression.endswith("> 0.025")
    assert "LooplineSlowP95" not in rules


def test_a_contract_without_limits_gets_one_for_errors_that_says_so_and_none_for_latency(tmp_path):
    rules = {rule.alert: rule for rule in alerts.rules(contract(tmp_path, PLAIN))}

    assert rules["LooplineErrors"].expression.endswith("> 0.01")
    assert "names no limit" in rules["LooplineErrors"].description
    assert not [name for name in rules if name.startswith("LooplineSlow")]


def test_no_name_of_the_contract_is_a_template_or_ends_a_matcher(tmp_path):
    known = contract(tmp_path, FULL)
    write(known, Wanted(has_dashboard=False), tmp_path)

    read = YAML(typ="safe").load((tmp_path / RULES).read_text(encoding="utf-8"))

    [group] = read["groups"]
    by_name = [rule for rule in group["rules"] if "recall by" in rule["expr"]]
    assert [rule["expr"] for rule in by_name] == [
        'loopline_goal_met{project="a",goal="recall by a \\"b\\" {{ $labels.x }} \\\\ c"} == 0'
    ]
    owner = by_name[0]["annotations"]["owner"]
    assert owner == '{{ "{{" }} template "x" }} "them" <a@b.example>'
