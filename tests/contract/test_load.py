from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loopline.contract.load import contract_hash, idle, load, project_name
from loopline.contract.schema import Contract
from loopline.errors import ContractError
from loopline.scaffold.write import flow

SMALLEST = """
project: churn
problem: {task: binary, target: churned}
goals:
  - {metric: roc_auc, at_least: 0.65}
data:
  source: customers.csv
"""

TEN_FAULTS = """\
project: My Churn
problem:
  task: binary
  target: churned
  cost: {currency: EUR, false_positive: 5}
goals:
  - {metric: recall, at_least: 1.2}
  - {metric: roc_acu, at_least: 70%}
  - {metric: cost_per_prediction, below_baseline_by: 5%}
data:
  source: customers.csv
  columns:
    age: {type: nubmer, minimum: 0}
    age: {type: integer}
  split: {by: time}
  window: 7 dags
respond:
  - {when: errors above 1%, do: alert}
"""

TEN_MESSAGES = [
    "loopline.yaml:1: project is 'My Churn', but a name has lower-case letters, digits and dashes, "
    "at most 64. Write my-churn.",
    "loopline.yaml:5: problem.cost is not a known key. Did you mean 'costs'?",
    "loopline.yaml:7: goals[0].at_least is 1.2, but recall lies between 0 and 1. "
    "Write 0.92 for 92 %.",
    "loopline.yaml:8: goals[1].metric is 'roc_acu', but there is no such metric. "
    "Did you mean 'roc_auc'?",
    "loopline.yaml:9: goals[2].metric: cost_per_prediction is money, but problem.costs says "
    "nothing. Write what an error costs, such as `costs: {currency: EUR, false_positive: 5, "
    "false_negative: 50}`, or choose another metric.",
    "loopline.yaml:13: data.columns.age.type is 'nubmer', but it must be 'number', 'integer', "
    "'boolean', 'category', 'text' or 'time'. Did you mean 'number'?",
    "loopline.yaml:14: data.columns.age is here twice; line 13 has it first. Keep one.",
    "loopline.yaml:15: data.split.by is time, but data.time does not say which column that is.",
    "loopline.yaml:16: data.window is '7 dags', but there is no unit 'dags'. Units: %, us, ms, s, "
    "second, seconds, minute, minutes, hour, hours, day, days, week, weeks.",
    "loopline.yaml:18: respond[0].when is 'errors above 1%', but a condition is 'goal missed', "
    "'drift' or a metric compared with a number, such as 'error_rate > 1%'.",
]


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "loopline.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def faults(path: Path) -> list[str]:
    with pytest.raises(ContractError) as caught:
        load(path)
    return caught.value.faults


def test_ten_different_faults_give_their_messages_with_their_lines(write) -> None:
    assert faults(write(TEN_FAULTS)) == TEN_MESSAGES
    assert len(TEN_MESSAGES) == 10


def test_the_smallest_contract_loads_with_its_defaults(write) -> None:
    contract = load(write(SMALLEST))

    assert contract.project == "churn"
    assert list(contract.environments) == ["dev", "staging", "production"]
    assert contract.monitor.drift == {"psi": 0.2}
    assert contract.data.split.by == "stratified"
    assert idle(contract) == []


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ("{multivariate: 0.6}", {"psi": 0.2, "multivariate": 0.6}),
        ("{ks: 0.1, correlation: 0.2}", {"ks": 0.1, "correlation": 0.2}),
        ("{}", {}),
    ],
)
def test_who_limits_columns_together_keeps_the_limit_of_each(
    write, written: str, known: dict[str, float]
) -> None:
    contract = load(write(f"{SMALLEST}\nmonitor: {{drift: {written}}}\n"))

    assert contract.monitor.drift == known


def test_the_demo_contract_loads() -> None:
    import loopline.demo

    contract = load(Path(loopline.demo.__file__).parent / "loopline.yaml")

    assert contract.model.candidates == ["linear", "boosted_trees"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("project: churn", "project is missing"),
        ("task: binary, ", "problem.task is missing"),
        ("source: customers.csv", "data is empty"),
    ],
)
def test_a_missing_part_is_named(write, change: str, message: str) -> None:
    found = faults(write(SMALLEST.replace(change, "")))

    assert len(found) == 1
    assert message in found[0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("task: binary", "task: regression", "roc_auc, which is for binary and multiclass tasks"),
        ("at_least: 0.65", "at_most: 0.65", "roc_auc is better the higher it is. Write at_least"),
        ("at_least: 0.65", "below_baseline_by: 5%", "Write above_baseline_by"),
        ("at_least: 0.65", "at_least: 0.65, at_most: 1", "This one has at_least and at_most"),
        ("at_least: 0.65", "at_least: soon", "must be a number, a percentage such as 5%"),
        ("at_least: 0.65", "at_least: 65 ms", "roc_auc is a number or a percentage"),
        ("roc_auc, at_least: 0.65", "latency_p99, at_most: 25", "latency_p99 is a time, such as"),
        ("roc_auc, at_least: 0.65", "latency_p99, below_baseline_by: 5%", "a baseline has no late"),
        ("target: churned", "target: churned, positive: null, owner: 7", 'Write "7"'),
        (
            "target: churned",
            "target: churned, baseline: {kind: mean}",
            "does not fit a binary task",
        ),
        ("target: churned", "target: churned, baseline: {kind: last_value}", "needs data.key"),
        ("target: churned", "target: churned, baseline: {}", "has either a rule, or kind"),
        (
            "target: churned",
            "target: churned, costs: {under: 3}",
            "problem.costs.under does not fit",
        ),
        ("source: customers.csv", "source: a\n  window: 3 days", "data.window needs data.time"),
        ("source: customers.csv", "source: {path: a, url: b}", "either path, or url and query"),
        (
            "source: customers.csv",
            "source: {url: 'postgresql://ada:pw@host/db', query: select 1}",
            "holds a password",
        ),
        ("source: customers.csv", "source: !!python/name:os.system ''", "means nothing here"),
        ("source: customers.csv", 'source: a\n  columns: {"a\\nb": {}}', "cannot be the name"),
        (
            "source: customers.csv",
            "source: a\n  columns: {a: {}}\n  features: {a: b}",
            "of a column",
        ),
        (
            "source: customers.csv",
            "source: a\n  key: customerid\n  columns: {customer_id: {}}",
            "data.key is 'customerid', but data.columns lists 'customer_id'",
        ),
        (
            "source: customers.csv",
            "source: a\n  time: at\n  columns: {at: {type: number}}",
            "data.columns.at.type is number. Write time",
        ),
        (
            "source: customers.csv",
            "source: a\nfairness: [{by: sexx, metric: recall, ratio_at_least: 0.8}]",
            "fairness[0].by is 'sexx', but data.columns lists no such column",
        ),
        (
            "source: customers.csv",
            "source: a\nrespond: [{when: error_rate > 120%, do: rollback}]",
            "error_rate lies between 0 and 1",
        ),
        (
            "source: customers.csv",
            "source: a\nrespond: [{when: drift, do: explode}]",
            "it must be 'alert', 'retrain' or 'rollback'",
        ),
        ("source: customers.csv", "source: a\nenvironments: {production: {}}", "dev is missing"),
        ("source: customers.csv", "source: a\nenvironments: {dev: {}, Prod: {}}", "'Prod' cannot"),
        ("source: customers.csv", "source: a\nmonitor: {drift: {psy: 1}}", "Did you mean 'psi'?"),
        (
            "source: customers.csv",
            "source: a\nmonitor: {drift: {multivariate: 0.3}}",
            "monitor.drift.multivariate is 0.3, but an area lies between 0.5",
        ),
        ("source: customers.csv", "source: a\nmonitor: {pairs: [[a]]}", "a pair is two columns"),
        (
            "source: customers.csv",
            "source: a\n  columns: {distance: {}}\nmonitor: {pairs: [[distance, distnce]]}",
            "monitor.pairs[0][1] is 'distnce', but data.columns lists no such column. "
            "Did you mean 'distance'?",
        ),
        (
            "source: customers.csv",
            "source: a\n  columns: {b: {}, c: {type: text}}\nmonitor: {pairs: [[b, c]]}",
            "monitor.pairs[0][1] is 'c', which goes together with nothing",
        ),
        (
            "source: customers.csv",
            "source: a\n  columns: {b: {}, c: {leaks: true}}\nmonitor: {pairs: [[c, b]]}",
            "monitor.pairs[0][0] is 'c', which callers do not send",
        ),
        (
            "source: customers.csv",
            "source: a\n  columns: {b: {}, c: {personal: direct}}\nmonitor: {pairs: [[b, c]]}",
            "monitor.pairs[0][1] is 'c', which is personal and never logged",
        ),
        (
            "source: customers.csv",
            "source: a\n  columns: {b: {}}\nmonitor: {pairs: [[b, b]]}",
            "monitor.pairs[0] names 'b' twice",
        ),
        (
            "source: customers.csv",
            "source: a\n  columns: {b: {}, c: {}}\nmonitor: {pairs: [[b, c], [c, b]]}",
            "monitor.pairs[1] has c and b a second time",
        ),
        (
            "source: customers.csv",
            "source: a\n  columns: {b: {minimum: 9, maximum: 1}}",
            "data.columns.b.maximum is 1, below the minimum 9",
        ),
        ("source: customers.csv", "source: a\nmodel: {trials: 0}", "must be at least 1"),
        ("source: customers.csv", "source: a\nmodel: {seed: x}", "it must be a whole number"),
    ],
)
def test_parts_that_do_not_fit_are_refused(write, old: str, new: str, message: str) -> None:
    found = faults(write(SMALLEST.replace(old, new)))

    assert len(found) == 1, found
    assert message in found[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "this must be a mapping"),
        ("- 1", "this must be a mapping"),
        ("a: [1,\nb: }", "loopline.yaml:2: this is not YAML"),
        ("a: b\n\tc: d", "loopline.yaml:2: this is not YAML"),
        ("a: 1\n---\nb: 2", "loopline.yaml:2: this is not YAML"),
        ("a: &a [*a]", "too large or too deeply nested"),
    ],
)
def test_what_is_no_contract_at_all_is_one_clear_message(write, text: str, message: str) -> None:
    assert any(message in fault for fault in faults(write(text)))


def test_bytes_that_are_no_text_are_refused_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "loopline.yaml"
    path.write_bytes(b"project: a\nb: \xff\xfe")

    assert faults(path) == [
        "loopline.yaml:2: this is not UTF-8 text. Save the file in the encoding UTF-8."
    ]


def test_aliases_cannot_make_a_small_file_huge(write) -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )

    assert any("too large" in fault for fault in faults(write(text)))


def test_values_of_the_data_may_be_written_as_numbers_or_booleans(write) -> None:
    text = SMALLEST.replace("target: churned", "target: churned, positive: true")
    contract = load(
        write(text + "  missing: [-999, 5.0, NA]\n  columns: {a: {categories: [1, 2]}}")
    )

    assert contract.problem.positive == "true"
    assert contract.data.missing == ["-999", "5", "NA"]
    assert contract.data.columns["a"].categories == ["1", "2"]


def test_idle_keys_are_named_only_where_the_file_sets_them(write) -> None:
    text = SMALLEST + "  columns: {a: {subject: true}, b: {}}\n"
    contract = load(write(text + "environments: {dev: {}, production: {shadow: true}}\n"))

    assert idle(contract) == [
        "data.columns.a.subject",
        "environments.production.shadow",
    ]


def test_the_name_is_read_without_the_rest_of_the_file(write) -> None:
    assert project_name(write("# x\nproject: 'churn-2'  # the name\nproblem: [")) == "churn-2"
    for text in ("project: ../etc", "project: A", "other: 1", "project: a\\nb", " project: a"):
        with pytest.raises(ContractError, match="project is missing or no name"):
            project_name(write(text))


def test_reading_the_name_imports_neither_pydantic_nor_a_yaml_parser() -> None:
    import subprocess
    import sys

    code = (
        "import sys, loopline.contract.load as l; "
        "print([m for m in sys.modules if m.startswith(('pydantic', 'ruamel', 'polars'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_the_hash_follows_the_bytes(write) -> None:
    one = contract_hash(write(SMALLEST))
    two = contract_hash(write(SMALLEST + "# a comment\n"))

    assert len(one) == 64
    assert one != two


def test_an_absent_contract_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="loopline new NAME --data FILE"):
        load(tmp_path / "loopline.yaml")


names = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=12
)
columns = st.fixed_dictionaries(
    {"type": st.sampled_from(["number", "integer"])},
    optional={
        "minimum": st.floats(-1e6, 0),
        "maximum": st.floats(0, 1e6),
        "unit": names,
        "missing_at_most": st.floats(0, 1),
        "feature": st.booleans(),
        "description": st.text(max_size=30),
    },
)
goals = st.one_of(
    st.builds(lambda v: {"metric": "roc_auc", "at_least": v}, st.floats(0, 1)),
    st.builds(lambda v: {"metric": "log_loss", "below_baseline_by": f"{v}%"}, st.integers(0, 90)),
    st.builds(lambda v: {"metric": "latency_p99", "at_most": f"{v} ms"}, st.floats(0.1, 1e4)),
)
contracts = st.fixed_dictionaries(
    {
        "project": st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True),
        "problem": st.fixed_dictionaries(
            {"task": st.just("binary"), "target": st.just("= y")},
            optional={
                "question": st.text(max_size=30),
                "positive": names,
                "costs": st.fixed_dictionaries({"false_negative": st.floats(-100, 100)}),
            },
        ),
        "goals": st.lists(goals, min_size=1, max_size=3),
        "data": st.fixed_dictionaries(
            {"source": st.one_of(names, st.builds(lambda p: {"path": p}, names))},
            optional={
                "columns": st.dictionaries(names, columns, max_size=4),
                "missing": st.lists(names, max_size=3),
                "retention": st.builds(lambda n: f"{n} days", st.integers(1, 1000)),
                "window": st.just("90 minutes"),
                "time": st.just("= t"),
            },
        ),
    },
    optional={
        "model": st.fixed_dictionaries({"trials": st.integers(1, 50)}),
        "respond": st.lists(
            st.sampled_from(
                [{"when": "drift", "do": "alert"}, {"when": "error_rate > 1%", "do": ["rollback"]}]
            ),
            max_size=2,
        ),
    },
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contracts)
def test_a_contract_written_out_reads_back_the_same(tmp_path: Path, value: dict) -> None:
    if "window" in value["data"]:
        value["data"]["time"] = "= t"
    contract = Contract.model_validate(value)
    path = tmp_path / "loopline.yaml"
    written = contract.model_dump(mode="json", exclude_unset=True)
    path.write_text("".join(f"{key}: {flow(part)}\n" for key, part in written.items()))

    again = load(path)

    assert again == contract
    assert again.model_fields_set == contract.model_fields_set


@pytest.mark.parametrize(
    "steps", ["[50%, 5%, 100%]", "[5%, 50%]", "[0%, 100%]", "[50%, 50%, 100%]"]
)
def test_the_steps_of_a_rollout_grow_up_to_everybody(write, steps: str) -> None:
    with pytest.raises(ContractError, match=r"the steps of a rollout grow and end with everybody"):
        load(write(SMALLEST + f"environments: {{dev: {{}}, production: {{rollout: {steps}}}}}\n"))
