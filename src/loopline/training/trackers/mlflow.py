"""MLflow: a run with its parameters, metrics, trials as steps, tags and files."""

from pathlib import Path
from typing import Any

from loopline.extras import require
from loopline.training.trackers.base import Exhibit

__all__ = ["Mlflow"]

_TAG = "loopline.run"
_LONGEST_TAG = 5000
_AT_ONCE = 500
"""MLflow takes at most a thousand metrics and a hundred parameters a call."""


class Mlflow:
    """Copies runs to the experiment named after the project."""

    def __init__(self, tracking_uri: str, artifacts: Path) -> None:
        """Use the tracking server, or database, at `tracking_uri`.

        With a database of one's own, files go to the folder `artifacts`; a server keeps them.
        """
        self._library = require("mlflow", extra="mlflow")
        self._client = self._library.MlflowClient(tracking_uri=tracking_uri)
        self._artifacts = artifacts if "://" in tracking_uri and _is_local(tracking_uri) else None

    def mirror(self, exhibit: Exhibit) -> str:
        """Copy one run; a copy that was cut short is replaced."""
        run = exhibit.run
        experiment = self._experiment(run.project)
        found = self._client.search_runs([experiment], f"tags.`{_TAG}` = '{run.id}'")
        for earlier in found:
            if earlier.info.status == "FINISHED":
                return str(earlier.info.run_id)
            self._client.delete_run(earlier.info.run_id)
        began = _milliseconds(run.started_at)
        tags = {name: value[:_LONGEST_TAG] for name, value in exhibit.labels.items()}
        copy = self._client.create_run(
            experiment, start_time=began, run_name=run.id, tags=tags
        ).info.run_id
        self._write(copy, exhibit, began)
        for name, content in exhibit.files.items():
            self._client.log_text(copy, content.decode(), name)
        ended = began + round(run.seconds * 1000)
        self._client.set_terminated(copy, "FINISHED", ended)
        return str(copy)

    def _write(self, copy: str, exhibit: Exhibit, began: int) -> None:
        entities, run = self._library.entities, exhibit.run
        name, when = f"trial.{run.objective}", began
        metrics = [
            entities.Metric(key, value, began + round(run.seconds * 1000), 0)
            for key, value in exhibit.metrics.items()
        ]
        for trial in run.trials:
            when += round(trial.seconds * 1000)
            metrics.append(entities.Metric(name, trial.value, when, trial.number))
        parameters = [entities.Param(key, value) for key, value in exhibit.parameters.items()]
        self._client.log_batch(copy, params=parameters[:100])
        for start in range(0, len(metrics), _AT_ONCE):
            self._client.log_batch(copy, metrics=metrics[start : start + _AT_ONCE])

    def _experiment(self, project: str) -> str:
        found: Any = self._client.get_experiment_by_name(project)
        if found is not None:
            return str(found.experiment_id)
        place = None if self._artifacts is None else (self._artifacts / project).as_uri()
        return str(self._client.create_experiment(project, artifact_location=place))


def _is_local(tracking_uri: str) -> bool:
    """A database keeps no files, and MLflow would put them into the working folder."""
    return not tracking_uri.startswith(("http://", "https://", "databricks", "file:"))


def _milliseconds(moment: str) -> int:
    from datetime import datetime

    return int(datetime.fromisoformat(moment).timestamp() * 1000)
