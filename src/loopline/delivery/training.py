"""Training in a container: the project out of the image, the data as the platform mounts them.

SageMaker's layout is the one that exists, so it is used everywhere: each folder of
`/opt/ml/input/data` is a channel of files, the model goes to `/opt/ml/model` and the reason of a
failure to `/opt/ml/output/failure`. Where those folders are absent, none of it happens.
"""

import shutil
from pathlib import Path

from loopline.delivery.image import write_model
from loopline.errors import SettingError
from loopline.model.bundle import open_bundle
from loopline.pipeline.workspace import Workspace
from loopline.registry import release

_ENVIRONMENT = "dev"
"""What `loopline run` releases to."""


def prepare(project: Path, mounts: Path, home: Path) -> Path:
    """Return a copy of `project` under `home`, with the files of every channel beside its own.

    Raises:
        SettingError: a channel has a file of the project's, or of another channel's.
    """
    folder = home / "project"
    shutil.rmtree(folder, ignore_errors=True)  # of a training that was killed
    shutil.copytree(project, folder)
    for channel in sorted((mounts / "input" / "data").glob("*")):
        for path in sorted(channel.glob("*")):
            place = folder / path.name
            if place.exists():
                raise SettingError(
                    f"The channel '{channel.name}' has a file {path.name}, and so has the project "
                    "or another channel. Give one of them another name."
                )
            place.symlink_to(path)
    return folder


def hand_over(workspace: Workspace, mounts: Path) -> str | None:
    """Write what was trained to where the platform takes it from; return where, if there is one."""
    folder = mounts / "model"
    found = release.latest(
        workspace.objects, workspace.keys, workspace.contract.project, _ENVIRONMENT
    )
    if not folder.is_dir() or found is None:
        return None
    bundles = [
        open_bundle(workspace.objects, workspace.keys, each.bundle, each.bundle_digest)
        for each in found.serves
    ]
    write_model(folder, workspace.objects, found, bundles)
    return str(folder)


def record_failure(mounts: Path, reason: str) -> None:
    """Say why where the platform shows it."""
    folder = mounts / "output"
    if folder.is_dir():
        (folder / "failure").write_text(reason, encoding="utf-8")
