"""Open a project and wire its parts together: the same verbs in Python as on the command line."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loopline.pipeline.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loopline.compute.base import Compute
    from loopline.evaluation.report import Report
    from loopline.monitoring.channels.base import Channel
    from loopline.monitoring.stages import Crossed
    from loopline.pipeline.run import Outcome, Progress
    from loopline.publishing.charts.chart import Charts
    from loopline.publishing.described import Described
    from loopline.registry.versions import ModelVersion
    from loopline.response.watch import Pass, Watch


def _say_nothing(_stage: str, _text: str) -> None:
    """Progress that nobody looks at."""


@dataclass(frozen=True)
class Project(Workspace):
    """One project: `Project.open("churn").run()`."""

    def run(self, *, now: datetime | None = None, progress: "Progress" = _say_nothing) -> "Outcome":
        """Take the data to a registered version that dev serves.

        Raises:
            LooplineError: as the stage that failed raises it.
        """
        from loopline.pipeline.run import run
        from loopline.registry.mirror import start_mirror

        outcome = run(self, now=now or datetime.now(UTC), progress=progress)
        progress("mirror", start_mirror(self.root, self.settings))
        return outcome

    def report(self, version: str | int) -> "Report":
        """Return the evaluation of a version."""
        import msgspec

        from loopline.evaluation.report import Report
        from loopline.model.bundle import open_bundle

        known: ModelVersion = self.registry.get(version)
        bundle = open_bundle(self.objects, self.keys, known.bundle, known.bundle_digest)
        return msgspec.json.decode(bundle.file("report.json"), type=Report)

    def watcher(
        self, channels: "Sequence[Channel]" = (), compute: "Compute | None" = None
    ) -> "Watch":
        """Return what watches this project; its rules may retrain.

        `compute` folds the log and joins outcomes, where this process is not to do it alone.
        """
        from loopline.pipeline.run import run
        from loopline.response.watch import Watch

        def retrain(now: datetime) -> "ModelVersion":
            return run(self, now=now, progress=_say_nothing, release=False).version

        return Watch(self, retrain, channels, compute)

    def watch(self, *, now: datetime | None = None) -> "Pass":
        """Look at everything once, and respond."""
        return self.watcher().once(now or datetime.now(UTC))

    def quality(self, *, now: datetime | None = None) -> "Crossed":
        """Return every check of the data at every stage, which a notebook shows as a table."""
        from loopline.monitoring.quality import of_project
        from loopline.monitoring.stages import crossed

        return crossed(of_project(self, now or datetime.now(UTC)))

    def charts(self, *, now: datetime | None = None) -> "Charts":
        """Return what became of the promises as charts, which a notebook draws."""
        from loopline.publishing.charts.chart import Charts
        from loopline.publishing.watching.past import gather
        from loopline.publishing.watching.sections import sections

        past = gather(self, now or datetime.now(UTC))
        return Charts(
            chart for one in past.histories for part in sections(past, one) for chart in part.charts
        )

    def watch_report(self, file: Path | None = None, *, now: datetime | None = None) -> Path:
        """Write one HTML page about what became of the promises, and return where it is.

        Raises:
            StoreError: it cannot be written there.
        """
        from loopline.publishing.watching import page
        from loopline.publishing.watching.past import gather

        now = now or datetime.now(UTC)
        file = file or self.settings.home / "reports" / f"{self.contract.project}-watch.html"
        return page.write(gather(self, now), self.status(now=now), file)

    def profile(
        self, first: str | Path, second: str | Path | None = None, **options: Any
    ) -> "Described":
        """Describe a table of this project, and how far a second has drifted from it.

        As `loopline.profile`, from the project's folder: `churn:7` is what that version was made
        from, `churn:7@production` what it was asked there.

        Raises:
            LooplineError: one cannot be read or counted, or both do not fit each other.
        """
        from loopline.publishing.described import describe

        return describe(first, second, root=self.root, **options)

    def status(self, *, now: datetime | None = None) -> dict[str, Any]:
        """Return where this project's loop stands, and what is next."""
        from loopline.status import status

        return status(self, now or datetime.now(UTC))

    def _repr_html_(self) -> str:
        from loopline.notebooks import table

        status = self.status()
        shown = {name: status[name] for name in ("versions", "serving", "next")}
        shown["open findings"] = len(status["findings"])
        return f"<h4>{self.contract.project}</h4>{table(shown)}"
