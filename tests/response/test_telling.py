"""People are told once, together, and not at night; a crash loses nothing."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from loopline.contract.load import load
from loopline.errors import ChannelError, SettingError
from loopline.monitoring.channels.base import Alert
from loopline.monitoring.findings import Finding, Findings
from loopline.response.rules import Action
from loopline.response.telling import GIVE_UP, Telling, channels
from loopline.settings import Settings
from loopline.store.database import Database
from loopline.store.ledger import Ledger

CONTRACT = """
project: credit
problem: {task: binary, target: y}
goals: [{metric: roc_auc, at_least: 0.65}]
data: {source: x.csv}
monitor: {quiet: 22:00-07:00 Europe/Berlin}
"""
NOON = datetime(2026, 3, 2, 11, tzinfo=UTC)
NIGHT = datetime(2026, 3, 2, 22, tzinfo=UTC)
MORNING = datetime(2026, 3, 3, 6, tzinfo=UTC)  # 07:00 in Berlin


@dataclass
class Told:
    name: str = "memory"
    waits: bool = True
    follows: bool = False
    broken: bool = False
    alerts: list[Alert] = field(default_factory=list)

    def send(self, alert: Alert) -> None:
        if self.broken:
            raise ChannelError("It answered 503.")
        self.alerts.append(alert)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Database(f"sqlite:///{tmp_path / 'a.db'}"), "credit", "ada")


@pytest.fixture
def telling(tmp_path: Path, ledger: Ledger) -> Callable[..., Telling]:
    (tmp_path / "loopline.yaml").write_text(CONTRACT)
    return lambda *told: Telling(load(tmp_path / "loopline.yaml"), ledger, told)


@pytest.fixture
def found(ledger: Ledger) -> Callable[..., Finding]:
    def make(subject: str = "age", kind: str = "drift", now: datetime = NOON) -> Finding:
        finding = Finding(
            id=f"f-{subject}", project="credit", environment="production", version=3, kind=kind,
            subject=subject, metric="psi", value=0.5, limit=0.2, window=("a", "b"), rows=900,
            labels=None, message=f"{subject} drifted", evidence={}, status="open",
            found_at=now.isoformat().replace("+00:00", "Z"),
        )  # fmt: skip
        Findings(ledger).record([finding], now=now)
        return finding

    return make


@pytest.fixture
def alerted(ledger: Ledger, found: Callable[..., Finding]) -> Callable[..., Action]:
    def make(
        subject: str = "age", now: datetime = NOON, *, to: tuple[str, ...] = ("memory",),
        urgent: bool = False,
    ) -> Action:  # fmt: skip
        finding = found(subject, now=now)
        action = Action(
            id=f"a-{subject}-{now:%H%M}", kind="alert", rule="drift", findings=(finding.id,),
            environment="production", version=3, outcome="done",
            detail={"to": list(to), "urgent": urgent}, why=f"Open: {subject}.",
            at=now.isoformat().replace("+00:00", "Z"),
        )  # fmt: skip
        ledger.append("action.taken", action.id, action.__dict__, now=now)
        return action

    return make


def passed(ledger: Ledger, finding: Finding, now: datetime) -> None:
    Findings(ledger).record([replace(finding, status="resolved")], now=now)


def test_what_is_found_in_one_pass_is_one_message_the_urgent_first(telling, alerted):
    alerted("age")
    alerted("carrier", urgent=True)
    told = Told()

    [delivery] = telling(told).tell(NOON)

    [alert] = told.alerts
    assert alert.text == (
        "2 alerts:\ncredit:3 in production, drift: Open: carrier.\n"
        "credit:3 in production, drift: Open: age."
    )
    assert len(alert.lines) == 2
    assert {finding.subject for finding in alert.findings} == {"age", "carrier"}
    assert alert.is_urgent
    assert delivery.outcome == "delivered"
    assert delivery.alerts == ("a-carrier-1100", "a-age-1100")


def test_nothing_is_told_twice_by_this_watcher_or_the_next(telling, alerted, ledger):
    alerted()
    told = Told()
    first = telling(told)

    first.tell(NOON)
    first.tell(NOON)
    telling(told).tell(NOON)

    assert len(told.alerts) == 1
    assert len(ledger.events(kinds=["alert.delivered"])) == 1


def test_a_crash_between_the_message_and_its_event_repeats_the_same_id(telling, alerted, ledger):
    alerted()

    class Crash(Told):
        def send(self, alert: Alert) -> None:
            super().send(alert)
            raise KeyboardInterrupt

    lost, told = Crash(), Told()
    with pytest.raises(KeyboardInterrupt):
        telling(lost).tell(NOON)
    telling(told).tell(NOON + timedelta(seconds=10))

    assert [alert.id for alert in lost.alerts] == [alert.id for alert in told.alerts]
    assert len(told.alerts) == 1


def test_a_channel_that_fails_is_tried_again_later_and_the_others_are_not(telling, alerted):
    alerted(to=("memory", "dead"))
    told, dead = Told(), Told("dead", broken=True)
    both = telling(told, dead)

    failed = both.tell(NOON)[1]
    soon = both.tell(NOON + timedelta(seconds=30))
    again = both.tell(NOON + timedelta(seconds=61))
    rests = both.tell(NOON + timedelta(seconds=121))
    dead.broken = False
    [last] = both.tell(NOON + timedelta(seconds=182))

    assert (failed.outcome, failed.why) == ("failed", "It answered 503.")
    assert soon == []
    assert [one.outcome for one in again] == ["failed"]
    assert rests == []  # two minutes after the second failure
    assert (last.channel, last.outcome) == ("dead", "delivered")
    assert len(told.alerts) == len(dead.alerts) == 1


def test_something_new_is_tried_at_once_also_where_something_old_failed(telling, alerted):
    alerted()
    told = Told(broken=True)
    one = telling(told)
    one.tell(NOON)
    told.broken = False
    later = NOON + timedelta(seconds=10)
    alerted("carrier", now=later)

    [delivery] = one.tell(later)

    assert len(delivery.alerts) == 2


def test_what_cannot_be_delivered_for_days_is_let_go_and_said_to_be(telling, alerted, ledger):
    alerted()
    told = Told(broken=True)
    one = telling(told)
    one.tell(NOON)

    [delivery] = one.tell(NOON + GIVE_UP + timedelta(seconds=1))
    told.broken = False
    after = one.tell(NOON + GIVE_UP + timedelta(hours=1))

    assert (delivery.outcome, delivery.why) == (
        "given up", "It could not be delivered for 3 days."
    )  # fmt: skip
    assert after == []
    assert len(ledger.events(kinds=["alert.given_up"])) == 1


def test_quiet_hours_hold_what_can_wait_and_deliver_it_once_after(telling, alerted, ledger):
    alerted("age", now=NIGHT)
    alerted("carrier", now=NIGHT + timedelta(hours=1))
    told = Told()

    at_night = telling(told)
    assert at_night.tell(NIGHT + timedelta(hours=2)) == []
    assert at_night.held(NIGHT + timedelta(hours=2)) == 2
    assert telling(told).tell(MORNING - timedelta(seconds=1)) == []
    [delivery] = telling(told).tell(MORNING)  # another process, after a restart
    assert telling(told).tell(MORNING + timedelta(hours=1)) == []

    assert len(told.alerts) == 1
    assert len(delivery.alerts) == 2
    assert "(Found 2026-03-02 22:00 UTC.)" in told.alerts[0].lines[0]
    assert at_night.held(MORNING) == 0


def test_what_passed_in_the_night_is_told_as_passed(telling, alerted, ledger, found):
    alerted("age", now=NIGHT)
    passed(ledger, found("age", now=NIGHT), NIGHT + timedelta(hours=3))
    told = Told()

    telling(told).tell(MORNING)

    [alert] = told.alerts
    assert "This has passed since." in alert.text
    assert alert.findings == ()


def test_what_is_urgent_and_who_never_sleeps_is_told_at_night(telling, alerted):
    alerted("age", now=NIGHT, to=("memory", "log"))
    alerted("carrier", now=NIGHT, to=("memory", "log"), urgent=True)
    told, log = Told(), Told("log", waits=False)

    telling(told, log).tell(NIGHT)

    assert [alert.lines for alert in told.alerts] == [
        ("credit:3 in production, drift: Open: carrier.",)
    ]
    assert len(log.alerts[0].lines) == 2


def test_who_follows_hears_once_that_it_has_passed(telling, alerted, ledger, found):
    alerted(to=("follower", "memory"))
    follower, told = Told("follower", follows=True), Told()
    one = telling(follower, told)
    one.tell(NOON)

    passed(ledger, found("age"), NOON + timedelta(hours=1))
    one.tell(NOON + timedelta(hours=1))
    telling(follower, told).tell(NOON + timedelta(hours=2))

    assert [[each.subject for each in alert.passed] for alert in follower.alerts] == [[], ["age"]]
    assert len(told.alerts) == 1


def test_who_follows_is_reminded_of_what_stands_and_the_ledger_is_not(telling, alerted, ledger):
    alerted(to=("follower", "memory"))
    follower, told = Told("follower", follows=True), Told()
    one = telling(follower, told)
    one.tell(NOON)
    events = len(ledger.events())

    for minute in (1, 2, 7):  # at once after a start, and then every five minutes
        one.tell(NOON + timedelta(minutes=minute))

    assert [[each.subject for each in alert.findings] for alert in follower.alerts] == [["age"]] * 3
    assert len(told.alerts) == 1
    assert len(ledger.events()) == events


def test_a_channel_that_is_new_is_not_told_the_past(telling, alerted):
    alerted(to=("memory",))
    new = Told("new")

    assert telling(new).tell(NOON) == []


def test_a_newline_in_a_value_makes_no_line_of_its_own(telling, alerted):
    alerted("two\nlines")
    told = Told()

    telling(told).tell(NOON)

    assert told.alerts[0].text == "credit:3 in production, drift: Open: two lines."


def test_the_environment_says_which_channels_there_are(tmp_path: Path):
    def names(**environ: str) -> list[str]:
        return [one.name for one in channels(Settings.read(tmp_path, environ))]

    assert names() == ["console"]
    assert names(
        LOOPLINE_WEBHOOK="https://chat.example/x",
        LOOPLINE_ALERTMANAGER="http://127.0.0.1:9093",
        LOOPLINE_SMTP="smtps://me@mail.example",
        LOOPLINE_MAIL_FROM="Loopline <loop@a.example>",
        LOOPLINE_MAIL_TO="a@b.example, c@d.example",
    ) == ["console", "webhook", "alertmanager", "email"]
    with pytest.raises(SettingError, match="LOOPLINE_MAIL_TO names nobody"):
        names(LOOPLINE_SMTP="smtp://mail.example", LOOPLINE_MAIL_FROM="a@b.example")


def test_settings_that_hold_secrets_are_not_shown(tmp_path: Path):
    secrets: dict[str, Any] = {
        "LOOPLINE_WEBHOOK_SECRET": "hush-1", "LOOPLINE_SMTP_PASSWORD": "hush-2",
        "LOOPLINE_APPRISE": "slack://hush-3/a/b",
    }  # fmt: skip

    shown = repr(Settings.read(tmp_path, secrets))

    assert "hush" not in shown
