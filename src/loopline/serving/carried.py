"""What an image carries, and what the platform brings: the model, the keys, the home.

The image's keys say whose models are believed, wherever a model comes from: one that is mounted or
fetched is checked as one that is baked in. A model is a folder, or a place in a cloud, that holds a
release and its bundles as a store does, so it is followed there and never copied.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from loopline.errors import SettingError
from loopline.governance.signing import Keys
from loopline.registry import release
from loopline.serving import places
from loopline.store.objects import Objects


@dataclass(frozen=True)
class Carried:
    """What one container serves, and from where."""

    project: str
    environment: str
    home: Path
    store: str
    keeps: bool
    """Whether the home outlives the container, so that what is logged there is found again."""

    @property
    def variables(self) -> dict[str, str]:
        """The environment that Loopline's commands read all this from."""
        return {"LOOPLINE_HOME": str(self.home), "LOOPLINE_STORE": self.store}


def carried(environ: Mapping[str, str], app: Path, root: Path = Path("/")) -> Carried:
    """Return what the image in `app` serves in this environment.

    `root` is where the platforms' mounts are looked for.

    Raises:
        SettingError: there is no model, no place to write to, or more than one thing to serve.
    """
    home = open_home(environ, app)
    store = environ.get("LOOPLINE_STORE") or _model(environ, app / "model", root)
    project, environment = _named(environ, store, app / "model")
    return Carried(project, environment, home, store, keeps=bool(environ.get("LOOPLINE_HOME")))


def open_home(environ: Mapping[str, str], app: Path) -> Path:
    """Return a home that trusts the image's keys: the one that is named, or a new one.

    Raises:
        SettingError: nothing can be written there.
    """
    try:
        named = environ.get("LOOPLINE_HOME")
        # A name that nobody can guess: whoever could make the folder first would say whom to trust.
        home = Path(named) if named else Path(tempfile.mkdtemp(prefix="loopline-"))
        Keys(home).trust(app / "keys")
    except OSError as error:
        raise SettingError(
            f"The container has no home: {error.strerror or error}. Give it a folder that it may "
            "write to, such as an empty volume at /tmp, or name one with LOOPLINE_HOME."
        ) from error
    return home


def _model(environ: Mapping[str, str], baked: Path, root: Path) -> str:
    found = places.model(environ, baked, root)
    if isinstance(found, str):
        return found
    inside = [found, *sorted(path for path in found.glob("*") if path.is_dir())]
    # Azure ML mounts the folder of a model, with the model's own folder in it.
    stores = [path for path in inside if (path / "releases").is_dir()]
    if not stores:
        raise SettingError(
            f"There is no model in {found}. Bake one in with: loopline generate image; mount one "
            "there; or name where one is with MODEL_DIR, MODEL_URI or LOOPLINE_STORE."
        )
    return stores[0].absolute().as_uri()


def _named(environ: Mapping[str, str], store: str, baked: Path) -> tuple[str, str]:
    """Return project and environment: as they are named, or the only ones there are."""
    project, environment = environ.get("LOOPLINE_PROJECT"), environ.get("LOOPLINE_ENVIRONMENT")
    if project and environment:
        return project, environment
    found: list[tuple[str, str]] = []
    # A live store may hold years of releases: what is baked in says which of them is meant.
    for place in [str(baked), store] if environ.get("LOOPLINE_STORE") else [store, str(baked)]:
        if not found and ("://" in place or Path(place).is_dir()):
            found = [
                pair
                for pair in release.released(Objects(place))
                if pair[0] == (project or pair[0]) and pair[1] == (environment or pair[1])
            ]
    if len(found) != 1:
        known = ", ".join(f"{name} in {where}" for name, where in found[:5]) or "nothing"
        raise SettingError(
            f"It is not clear what to serve: {known} is released in {store}. Set LOOPLINE_PROJECT "
            "and LOOPLINE_ENVIRONMENT, such as churn and production."
        )
    return found[0]
