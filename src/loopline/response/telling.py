"""People are told: once, together, and not in the middle of the night.

What is to be told is an event (`action.taken` of an alert, with the channels it goes to), and so
is each delivery (`alert.delivered`, `alert.failed`). What waits is the difference of the two, read
from the ledger: a watcher that was killed, or replaced, goes on where the last one was. Between a
message that left and its event stands only the crash itself; then it is told again under the same
id, rather than never.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

import msgspec

from loopline.contract.schema import Contract
from loopline.errors import ChannelError
from loopline.monitoring.channels.base import Alert, Channel
from loopline.monitoring.findings import OPEN, Finding
from loopline.response.rules import DONE, Action
from loopline.settings import Settings
from loopline.store.ledger import Event, Ledger, iso

DELIVERED, FAILED, GIVEN_UP = "delivered", "failed", "given up"
GIVE_UP = timedelta(days=3)
"""What could not be delivered for so long is let go, and said to be."""
REMIND = timedelta(minutes=5)
"""How often a channel that follows hears again what stands."""
_FIRST_RETRY, _LAST_RETRY = timedelta(minutes=1), timedelta(minutes=30)
_ACTOR = "loopline"
_KINDS = (
    "action.taken", "alert.delivered", "alert.failed", "alert.given_up",
    "finding.opened", "finding.updated", "finding.resolved",
)  # fmt: skip


@dataclass(frozen=True)
class Delivery:
    """What became of one message to one channel."""

    channel: str
    outcome: str
    """`delivered`, `failed` (and tried again) or `given up`."""
    alerts: tuple[str, ...]
    """The actions it told of."""
    findings: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    why: str = ""


@dataclass
class _Box:
    """What waits for one channel, and what it knows."""

    waiting: dict[str, Action] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)
    failures: int = 0
    failed_at: datetime | None = None
    told: set[str] = field(default_factory=set)
    """Findings it was told of, which it was not told have passed."""
    reminded_at: datetime | None = None


class Telling:
    """Delivers what waits, for one project."""

    def __init__(self, contract: Contract, ledger: Ledger, channels: Sequence[Channel]) -> None:
        self._contract = contract
        self._ledger = ledger
        self._channels = channels
        self._boxes: dict[str, _Box] = {}
        self._findings: dict[str, Finding] = {}
        self._read = 0

    def tell(self, now: datetime) -> list[Delivery]:
        """Deliver what is due, one message a channel; the ledger has what came of each."""
        for event in self._ledger.events(kinds=_KINDS, after=self._read):
            self._take(event)
        deliveries = []
        for channel in self._channels:
            box = self._boxes.setdefault(channel.name, _Box())
            deliveries += self._give_up(channel, box, now)
            due = self._due(channel, box, now)
            passed = self._passed(channel, box, now)
            if due or passed:
                deliveries.append(self._deliver(channel, due, passed, now))
            elif channel.follows:
                self._remind(channel, box, now)
        return deliveries

    def _remind(self, channel: Channel, box: _Box, now: datetime) -> None:
        """Say again what stands: Alertmanager forgets it when it is started anew."""
        known = [self._findings[name] for name in sorted(box.told) if name in self._findings]
        standing = tuple(finding for finding in known if finding.status == OPEN)
        if not standing or (box.reminded_at and now < box.reminded_at + REMIND):
            return
        box.reminded_at = now
        text = "This still stands."
        first = standing[0]
        with suppress(ChannelError):  # nothing is lost: the next reminder says the same
            channel.send(
                Alert(
                    self._contract.project, first.environment, first.version, "", text, standing,
                    id=_message_id(channel.name, (), ()), at=iso(now),
                )
            )  # fmt: skip

    def held(self, now: datetime) -> int:
        """Return how many alerts wait for the end of quiet hours."""
        quiet = self._contract.monitor.quiet
        if quiet is None or not quiet.holds(now):
            return 0
        waiting = [
            self._boxes[channel.name].waiting.values()
            for channel in self._channels
            if channel.waits and channel.name in self._boxes
        ]
        return len({one.id for each in waiting for one in each if not _is_urgent(one)})

    def _take(self, event: Event) -> None:
        self._read = event.number
        payload = event.payload
        if event.kind.startswith("finding."):
            finding = msgspec.convert(payload, Finding)
            self._findings[finding.id] = finding
        elif event.kind == "action.taken":
            action = msgspec.convert(payload, Action)
            if action.kind == "alert" and action.outcome == DONE:
                for name in action.detail.get("to", ()):
                    self._boxes.setdefault(name, _Box()).waiting[action.id] = action
        else:
            self._settle(msgspec.convert(payload, Delivery), event.at)

    def _settle(self, delivery: Delivery, at: str) -> None:
        box = self._boxes.setdefault(delivery.channel, _Box())
        if delivery.outcome == FAILED:
            box.tried.update(delivery.alerts)
            box.failures += 1
            box.failed_at = datetime.fromisoformat(at)
            return
        for name in delivery.alerts:
            box.waiting.pop(name, None)
            box.tried.discard(name)
        if delivery.outcome == DELIVERED:
            box.failures, box.failed_at = 0, None
            box.told.update(delivery.findings)
            box.told.difference_update(delivery.passed)

    def _due(self, channel: Channel, box: _Box, now: datetime) -> list[Action]:
        """Return what is to be told now, the most urgent first."""
        quiet = self._contract.monitor.quiet
        is_quiet = channel.waits and quiet is not None and quiet.holds(now)
        due: list[Action] = [one for one in box.waiting.values() if _is_urgent(one) or not is_quiet]
        if self._rests(box, now) and all(one.id in box.tried for one in due):
            return []
        return sorted(due, key=lambda one: (not _is_urgent(one), one.at))

    def _rests(self, box: _Box, now: datetime) -> bool:
        if box.failed_at is None:
            return False
        pause = min(_FIRST_RETRY * 2 ** min(box.failures - 1, 10), _LAST_RETRY)
        return bool(now < box.failed_at + pause)

    def _passed(self, channel: Channel, box: _Box, now: datetime) -> list[Finding]:
        if not channel.follows or self._rests(box, now):
            return []
        known = [self._findings[name] for name in sorted(box.told) if name in self._findings]
        return [finding for finding in known if finding.status != OPEN]

    def _give_up(self, channel: Channel, box: _Box, now: datetime) -> list[Delivery]:
        old = [
            one.id
            for one in box.waiting.values()
            if one.id in box.tried and datetime.fromisoformat(one.at) + GIVE_UP < now
        ]
        if not old:
            return []
        why = f"It could not be delivered for {GIVE_UP.days} days."
        return [self._note(Delivery(channel.name, GIVEN_UP, tuple(old), why=why), now)]

    def _deliver(
        self, channel: Channel, due: list[Action], passed: list[Finding], now: datetime
    ) -> Delivery:
        alert = self._alert(channel.name, due, passed, now)
        told = Delivery(
            channel.name,
            DELIVERED,
            tuple(one.id for one in due),
            tuple(one.id for one in alert.findings),
            tuple(one.id for one in passed),
        )
        try:
            channel.send(alert)
        except ChannelError as error:
            told = Delivery(channel.name, FAILED, told.alerts, why=str(error))
        return self._note(told, now)

    def _note(self, delivery: Delivery, now: datetime) -> Delivery:
        kind = f"alert.{delivery.outcome.replace(' ', '_')}"
        name = _message_id(delivery.channel, delivery.alerts, delivery.passed)
        self._take(self._ledger.append(kind, name, asdict(delivery), now=now, actor=_ACTOR))
        return delivery

    def _alert(
        self, channel: str, due: list[Action], passed: list[Finding], now: datetime
    ) -> Alert:
        """Return one message of all that is due."""
        told = dict.fromkeys(name for one in due for name in one.findings)
        findings = [self._findings[name] for name in told if name in self._findings]
        lines = [self._line(one, now) for one in due] or ["What was found has passed."]
        first = due[0] if due else None
        example = passed[0] if passed else None
        return Alert(
            project=self._contract.project,
            environment=first.environment if first else example.environment if example else "",
            version=first.version if first else example.version if example else 0,
            rule=first.rule if first else "",
            text="\n".join(lines) if len(lines) < 2 else "\n".join([_many(lines), *lines]),
            lines=tuple(lines),
            findings=tuple(finding for finding in findings if finding.status == OPEN),
            id=_message_id(channel, tuple(one.id for one in due), tuple(one.id for one in passed)),
            is_urgent=any(map(_is_urgent, due)),
            passed=tuple(passed),
            at=iso(now),
        )

    def _line(self, one: Action, now: datetime) -> str:
        name = f"{self._contract.project}:{one.version} in {one.environment}"
        line = f"{name}, {one.rule}: {one.why}"
        known = [self._findings[name] for name in one.findings if name in self._findings]
        if known and all(finding.status != OPEN for finding in known):
            line += " This has passed since."
        if now - datetime.fromisoformat(one.at) >= timedelta(minutes=5):
            line += f" (Found {one.at[:16].replace('T', ' ')} UTC.)"
        return " ".join(line.split())


def _many(lines: Sequence[str]) -> str:
    return f"{len(lines)} alerts:"


def _is_urgent(action: Action) -> bool:
    return bool(action.detail.get("urgent"))


def _message_id(channel: str, alerts: tuple[str, ...], passed: tuple[str, ...]) -> str:
    text = "\0".join([channel, *sorted(alerts), "", *sorted(passed)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def channels(settings: Settings) -> list[Channel]:
    """Return the channels that the environment sets up, the terminal first.

    Raises:
        SettingError: a setting is not what it should be, or another is missing beside it.
        MissingExtraError: a channel's library is not installed.
    """
    from loopline.monitoring.channels.console import Console

    found: list[Channel] = [Console()]
    if settings.webhook is not None:
        from loopline.monitoring.channels.webhook import Webhook

        found.append(
            Webhook(
                settings.webhook, private=settings.webhook_private, secret=settings.webhook_secret
            )
        )
    if settings.alertmanager is not None:
        from loopline.monitoring.channels.alertmanager import Alertmanager

        found.append(Alertmanager(settings.alertmanager))
    if settings.smtp is not None:
        from loopline.monitoring.channels.email import Email

        found.append(
            Email(
                settings.smtp,
                settings.mail_from or "",
                settings.mail_to,
                password=settings.smtp_password,
            )
        )
    if settings.apprise:
        from loopline.monitoring.channels.chat import Chat

        found.append(Chat(settings.apprise))
    return found
