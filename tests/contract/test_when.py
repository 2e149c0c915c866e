import pytest

from loopline.contract.when import When, parse_when


@pytest.mark.parametrize(
    ("text", "kind", "metric", "op", "limit"),
    [
        ("goal missed", "goal missed", "", "", 0.0),
        ("  Goal   missed ", "goal missed", "", "", 0.0),
        ("drift", "drift", "", "", 0.0),
        ("error_rate > 1%", "metric", "error_rate", ">", 0.01),
        ("roc_auc<0.6", "metric", "roc_auc", "<", 0.6),
        ("latency_p99 >= 50 ms", "metric", "latency_p99", ">=", 0.05),
        ("cost_per_prediction <= -2", "metric", "cost_per_prediction", "<=", -2.0),
    ],
)
def test_conditions_are_read(text: str, kind: str, metric: str, op: str, limit: float) -> None:
    when = parse_when(text)

    assert (when.kind, when.metric, when.op, float(when.limit)) == (kind, metric, op, limit)


@pytest.mark.parametrize("text", ["", "goal", "error_rate", "a = 1", "1 < a", "a > b"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"condition is|must be a number"):
        parse_when(text)


def test_a_condition_holds_by_its_operator_and_never_for_nothing() -> None:
    above, at_most = parse_when("error_rate > 1%"), parse_when("error_rate <= 1%")

    assert above.holds(0.02)
    assert not above.holds(0.01)
    assert at_most.holds(0.01)
    assert not above.holds(float("nan"))
    assert not at_most.holds(float("nan"))
    assert When("drift").kind == "drift"
