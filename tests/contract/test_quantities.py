"""Numbers, shares and times, as a person writes them and as they are written again."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ConfigDict, TypeAdapter, ValidationError

from loopline.contract.quantities import Amount, Duration, Quantity, Share, Text

duration, share, text = (TypeAdapter(kind) for kind in (Duration, Share, Text))
quantity = TypeAdapter(Quantity, config=ConfigDict(arbitrary_types_allowed=True))


@pytest.mark.parametrize(
    ("written", "value", "unit"),
    [
        (0.65, 0.65, ""),
        ("0.65", 0.65, ""),
        (3, 3.0, ""),
        ("-2", -2.0, ""),
        ("+.5", 0.5, ""),
        ("1e-3", 0.001, ""),
        ("5%", 0.05, "%"),
        (" 12.5 % ", 0.125, "%"),
        ("25 ms", 0.025, "s"),
        ("25MS", 0.025, "s"),
        ("1 minute", 60.0, "s"),
        ("7 days", 604_800.0, "s"),
        ("2 weeks", 1_209_600.0, "s"),
        ("10us", 1e-05, "s"),
    ],
)
def test_what_is_written_is_read(written: object, value: float, unit: str) -> None:
    amount = Amount.parse(written)

    assert (float(amount), amount.unit) == (pytest.approx(value, rel=1e-15), unit)
    assert Amount.parse(amount) is amount


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("many", "this must be a number, a percentage such as 5% or a time such as 25 ms"),
        ("", "this must be a number"),
        ("5 %%", "this must be a number"),
        ("1,5", "this must be a number"),
        (True, "this must be a number"),
        (None, "this must be a number"),
        ([5], "this must be a number"),
        ("5 parsecs", "there is no unit 'parsecs'. Units: %, us, ms, s, second"),
        ("1e999", "this must be a finite number"),
        (float("nan"), "this must be a finite number"),
        (float("-inf"), "this must be a finite number"),
        ("nan", "this must be a number"),
    ],
)
def test_what_is_none_of_them_is_said(written: object, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        Amount.parse(written)


@pytest.mark.parametrize(
    ("written", "shown"),
    [("5%", "5%"), ("12.5%", "12.5%"), ("25 ms", "25 ms"), ("90 s", "90 s"), (0.65, "0.65")],
)
def test_it_is_shown_as_a_person_would_write_it(written: object, shown: str) -> None:
    assert str(Amount.parse(written)) == shown


numbers = st.floats(-1e9, 1e9)


@given(numbers, st.sampled_from(["", "%", "ms", "s", "days"]))
def test_what_is_written_again_reads_as_the_same_amount(number: float, unit: str) -> None:
    amount = Amount.parse(f"{number!r} {unit}".strip() if unit else number)

    again = Amount.parse(amount.written())

    assert (float(again), again.unit) == (float(amount), amount.unit)
    assert quantity.validate_python(quantity.dump_python(amount)) == amount


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("7 days", timedelta(days=7)),
        ("12 hours", timedelta(hours=12)),
        ("90 s", timedelta(seconds=90)),
        (timedelta(days=2), timedelta(days=2)),
    ],
)
def test_a_duration_is_a_time(written: object, expected: timedelta) -> None:
    found = duration.validate_python(written)

    assert found == expected
    assert duration.validate_python(duration.dump_python(found)) == found


@pytest.mark.parametrize("written", [7, "7", "5%", "0 days", "-1 days", "1e99 days"])
def test_what_is_no_time_is_no_duration(written: object) -> None:
    with pytest.raises(ValidationError, match="this must be a time such as 7 days or 12 hours"):
        duration.validate_python(written)


@given(st.integers(1, 10**9))
def test_durations_are_written_again_to_the_microsecond(microseconds: int) -> None:
    exact = timedelta(microseconds=microseconds)

    assert duration.validate_python(duration.dump_python(exact)) == exact


def test_a_share_lies_between_none_and_all() -> None:
    assert share.validate_python("70%") == pytest.approx(0.7)
    assert share.validate_python(0) == 0.0
    assert share.validate_python(1) == 1.0
    for wrong in ("101%", -0.1, 70, "1 s"):
        with pytest.raises(ValidationError, match="a share lies between 0% and 100%"):
            share.validate_python(wrong)


@pytest.mark.parametrize(
    ("written", "expected"),
    [(2, "2"), (5.0, "5"), (0.5, "0.5"), (True, "true"), (False, "false"), ("Yes", "Yes")],
)
def test_a_value_of_the_data_is_text_however_yaml_reads_it(written: object, expected: str) -> None:
    assert text.validate_python(written) == expected
