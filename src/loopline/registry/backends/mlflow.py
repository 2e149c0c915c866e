"""MLflow's model registry: a registered model per project, an alias per environment.

MLflow numbers versions by itself. Copied in order they get our numbers, but the tag
`loopline.version` is what says which is which.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from loopline.extras import require
from loopline.registry.versions import ModelVersion

__all__ = ["Mlflow"]

_TAG = "loopline.version"


class Mlflow:
    """Copies versions to the MLflow server, or database, at one address."""

    def __init__(self, tracking_uri: str) -> None:
        library = require("mlflow", extra="mlflow")
        self._client = library.MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)

    def mirror(
        self,
        versions: Sequence[ModelVersion],
        serving: Mapping[str, int],
        locate: Callable[[str], str],
    ) -> int:
        """Copy the versions that are not there yet, and set the aliases."""
        if not versions:
            return 0
        project = versions[0].project
        if not self._client.search_registered_models(f"name = '{project}'"):
            self._client.create_registered_model(project)
        there = self._there(project)
        copied = 0
        for version in versions:
            if version.name not in there:
                there[version.name] = self._copy(version, locate(version.bundle))
                copied += 1
            stage = {"key": "loopline.stage", "value": version.stage}
            self._client.set_model_version_tag(project, there[version.name], **stage)
        for environment, number in serving.items():
            alias = there[f"{project}:{number}"]
            self._client.set_registered_model_alias(project, environment, alias)
        return copied

    def _there(self, project: str) -> dict[str, str]:
        """Return our names of the versions that MLflow has, and its numbers."""
        found: dict[str, str] = {}
        page: Any = None
        while page is None or page.token:
            page = self._client.search_model_versions(
                f"name = '{project}'", page_token=None if page is None else page.token
            )
            found |= {each.tags[_TAG]: each.version for each in page if _TAG in each.tags}
        return found

    def _copy(self, version: ModelVersion, place: str) -> str:
        tags = {
            _TAG: version.name,
            "loopline.digest": version.digest,
            "loopline.run": version.run,
            "loopline.snapshot": version.snapshot,
            "loopline.runtime": version.runtime,
            "loopline.gate": "passed" if version.gate_passed else "failed",
        }
        runs = self._client.search_experiments(filter_string=f"name = '{version.project}'")
        found = [
            run.info.run_id
            for experiment in runs
            for run in self._client.search_runs(
                [experiment.experiment_id], f"tags.`loopline.run` = '{version.run}'"
            )
        ]
        copy = self._client.create_model_version(
            version.project,
            source=place,
            run_id=found[0] if found else None,
            tags=tags,
            description="\n".join(version.reasons) or None,
        )
        return str(copy.version)
