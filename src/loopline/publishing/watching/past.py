"""Everything the watch report is made from, read and never judged here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import msgspec

from loopline.contract.schema import Contract
from loopline.errors import BundleRefusedError
from loopline.monitoring import history, settled
from loopline.monitoring.findings import RESOLVED, Finding, Findings
from loopline.monitoring.held import Estimates
from loopline.monitoring.history import History
from loopline.monitoring.quality import Quality, of_project
from loopline.monitoring.reference import References
from loopline.pipeline.workspace import Workspace
from loopline.registry.release import Release
from loopline.response.rules import Action


def _checked(workspace: Workspace, now: datetime) -> tuple[tuple[Quality, ...], tuple[str, ...]]:
    try:
        return tuple(of_project(workspace, now)), ()
    except BundleRefusedError as error:
        return (), (f"The checks of the data are left out: {error}",)


_COUNT = (
    "Outcomes are to be counted anew, because loopline.yaml or Loopline changed: figures that rest "
    "on them are missing or as they were. Count them with: loopline watch --once"
)
_FINDINGS = ("finding.opened", "finding.updated", "finding.resolved")


@dataclass(frozen=True)
class Stay:
    """One finding from when it opened to when it passed."""

    finding: Finding
    """As it was told last."""
    opened: str
    closed: str | None


@dataclass(frozen=True)
class Past:
    """Everything the page is made from."""

    contract: Contract
    at: datetime
    histories: tuple[History, ...]
    releases: tuple[Release, ...]
    actions: tuple[Action, ...]
    stays: tuple[Stay, ...]
    quality: tuple[Quality, ...] = ()
    """Every check of the data at every stage."""
    notes: tuple[str, ...] = ()
    """What could not be read, and why."""

    @property
    def currency(self) -> str | None:
        """What money is in, where the contract says what errors cost."""
        costs = self.contract.problem.costs
        return None if costs is None else costs.currency

    def name(self, version: int) -> str:
        """Return what a version is called."""
        return f"{self.contract.project}:{version}"

    @staticmethod
    def series(version: int) -> str:
        """Return what a version is called in a chart, where all are of one project."""
        return f"v{version}"

    @property
    def open(self) -> list[Finding]:
        """The findings that are open."""
        return [stay.finding for stay in self.stays if stay.closed is None]


def gather(workspace: Workspace, now: datetime) -> Past:
    """Read what the page shows, as of `now`; changes nothing."""
    contract = workspace.contract
    events = workspace.ledger.events(
        kinds=["release.written", "action.taken", *_FINDINGS],
    )
    opened = Findings(workspace.ledger).open()
    checked, notes = _checked(workspace, now)
    until = now.astimezone(UTC).isoformat()
    events = [event for event in events if event.at[:19] <= until[:19]]
    return Past(
        contract=contract,
        at=now,
        histories=tuple(_histories(workspace, now, opened)),
        releases=tuple(
            msgspec.convert(event.payload, Release)
            for event in events
            if event.kind == "release.written"
        ),
        actions=tuple(
            msgspec.convert(event.payload, Action)
            for event in events
            if event.kind == "action.taken"
        ),
        stays=tuple(
            _acknowledged(opened, stay)
            for stay in _stays(
                [
                    (event.at, msgspec.convert(event.payload, Finding))
                    for event in events
                    if event.kind in _FINDINGS
                ]
            )
        ),
        quality=checked,
        notes=notes,
    )


def _histories(
    workspace: Workspace, now: datetime, opened: Mapping[str, Finding]
) -> Iterator[History]:
    """Yield each environment's past, and whether its outcomes are still to be counted."""
    contract, database = workspace.contract, workspace.database
    late = settled.is_to_be_counted_anew(contract, workspace.tables, database)
    references, estimates = References(workspace.registry), Estimates(workspace.ledger)
    for one in history.read(contract, database, references, now, opened, estimates):
        yield replace(one, notes=(*one.notes, _COUNT)) if late else one


def _acknowledged(opened: Mapping[str, Finding], stay: Stay) -> Stay:
    """Return a stay with what somebody said of it."""
    known = opened.get(stay.finding.id)
    if known is None or known.acknowledged is None or stay.closed is not None:
        return stay
    return replace(stay, finding=replace(stay.finding, acknowledged=known.acknowledged))


def _stays(told: Sequence[tuple[str, Finding]]) -> list[Stay]:
    """Return each finding's stay; one that came back has several."""
    done: list[Stay] = []
    here: dict[str, Stay] = {}
    for at, finding in told:
        before = here.get(finding.id)
        opened = at if before is None else before.opened
        if finding.status == RESOLVED:
            if before is not None:
                done.append(Stay(before.finding, before.opened, at))
                del here[finding.id]
        else:
            here[finding.id] = Stay(finding, opened, None)
    return sorted([*done, *here.values()], key=lambda stay: stay.opened)
