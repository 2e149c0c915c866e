"""Where a platform says to listen, and where it has put the model.

Every platform has a variable or a folder of its own for the same two things. The order is fixed, so
that one image starts everywhere: what was asked for goes first, then what a platform sets for this
container alone, then what is common.
"""

from collections.abc import Mapping
from pathlib import Path

from loopline.errors import SettingError

USUAL_PORT = 8080
_PORTS = ("SAGEMAKER_BIND_TO_PORT", "AIP_HTTP_PORT", "PORT")
_FOLDERS = ("MODEL_DIR", "AZUREML_MODEL_DIR")
_MOUNTS = ("/mnt/models", "/opt/ml/model")
"""Where KServe and SageMaker put a model; they are empty, or absent, where there is none."""
_URLS = ("AIP_STORAGE_URI", "MODEL_URI")


def port(environ: Mapping[str, str], chosen: int | None = None) -> int:
    """Return the port to listen on: `chosen`, else what the platform says, else 8080.

    Raises:
        SettingError: what the platform says is no port.
    """
    if chosen is not None:
        return chosen
    for name in _PORTS:
        text = environ.get(name)
        if text:
            if not (text.isascii() and text.isdecimal() and 0 < int(text[:6]) < 65536):
                raise SettingError(f"{name} is {text!r:.40}, but a port is a number up to 65535.")
            return int(text)
    return USUAL_PORT


def model(environ: Mapping[str, str], baked: Path, root: Path = Path("/")) -> Path | str:
    """Return the folder that holds the model, or the URL to fetch it from.

    `baked` is the folder in the image, for when the platform brings none; `root` is where the
    platforms' mounts are looked for.
    """
    for name in _FOLDERS:
        if environ.get(name):
            return Path(environ[name])
    for mount in _MOUNTS:
        folder = root / mount.lstrip("/")
        if folder.is_dir() and any(folder.iterdir()):
            return folder
    for name in _URLS:
        if environ.get(name):
            return environ[name]
    return baked
