"""A container on this machine, by podman or docker: the image as it will run elsewhere.

It answers on loopback alone, with a token, a root that nobody can write to and no capability, so
what works here does not work because of rights that it will not have.
"""

import http.client
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import closing

from loopline.errors import DeliveryError
from loopline.platforms.base import Deployment, Endpoint

__all__ = ["LocalContainer"]

_BUILDERS = {"podman": ("buildah", "podman"), "docker": ("docker",)}
"""Runner to the builders whose images it finds."""
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_OURS = "loopline.deployment"
_LOOK_SECONDS = 0.1
_SHOWN = 15
"""Lines of a container's log that are repeated when it does not start."""


class LocalContainer:
    """Runs a release in a container here."""

    def __init__(self, runner: str | None = None, *, seconds: float = 60.0) -> None:
        """Take podman or docker, whichever is there; a container has `seconds` to be ready.

        Raises:
            DeliveryError: neither is installed.
        """
        found = runner or next((name for name in _BUILDERS if shutil.which(name)), None)
        if found is None:
            raise DeliveryError(
                "Nothing that runs containers is installed here. Install podman or docker, for "
                "example: apt-get install podman"
            )
        self._runner = found
        self._seconds = seconds
        self.builders: Sequence[str] = _BUILDERS[found]

    def deploy(self, deployment: Deployment) -> Endpoint:
        """Run it in place of the container that has its name.

        Raises:
            DeliveryError: it cannot be started, or does not get ready in time.
        """
        self.remove(deployment.name)
        port = deployment.port
        variables = {**deployment.variables, "PORT": str(port)}
        named = [f"--env={name}={value}" for name, value in variables.items()]
        # By name alone: the value comes from this process's environment.
        named += [f"--env={name}" for name in deployment.secrets]
        started = self._call(
            "run", "--detach", f"--name={deployment.name}", f"--label={_OURS}={deployment.name}",
            "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges",
            f"--publish=127.0.0.1:{port}:{port}", *named, deployment.image,
            secrets=deployment.secrets,
        )  # fmt: skip
        if started.returncode:
            self._call("rm", "--force", deployment.name)
            raise DeliveryError(
                f"{self._runner} cannot start {deployment.image}: {_last(started.stderr)}"
            )
        self._wait(deployment)
        return Endpoint(deployment.name, f"http://127.0.0.1:{port}")

    def remove(self, name: str) -> bool:
        """Stop and remove the container `name`.

        Raises:
            DeliveryError: there is one that Loopline did not start.
        """
        if not _NAME.fullmatch(name):
            raise DeliveryError(
                f"{name!r:.80} is no name of a deployment: lower-case letters, digits and dashes."
            )
        described = self._call("container", "inspect", name)
        if described.returncode:
            return False
        [about] = json.loads(described.stdout)
        if (about["Config"].get("Labels") or {}).get(_OURS) != name:
            raise DeliveryError(
                f"There is a container '{name}' that Loopline did not start. Rename or remove it: "
                f"{self._runner} rename {name} other"
            )
        self._call("stop", name)
        self._call("rm", "--force", name)
        return True

    def _wait(self, deployment: Deployment) -> None:
        """Return when it is ready; remove it when it ends, or is not in time."""
        until = time.monotonic() + self._seconds
        while not _is_ready(deployment.port):
            state = self._call(
                "container", "inspect", "--format", "{{.State.Running}}", deployment.name
            )
            is_running = state.stdout.strip() == "true"
            if is_running and time.monotonic() < until:
                time.sleep(_LOOK_SECONDS)
                continue
            logs = self._call("logs", deployment.name)
            said = "\n".join(f"{logs.stdout}{logs.stderr}".strip().splitlines()[-_SHOWN:])
            self._call("rm", "--force", deployment.name)
            how = "is not ready in time" if is_running else "has ended"
            raise DeliveryError(f"{said}\nThe container {how}; above is the end of its log.")

    def _call(
        self, *words: str, secrets: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = None if not secrets else {**os.environ, **secrets}
        return subprocess.run(
            [self._runner, *words], capture_output=True, text=True, check=False, env=environment
        )


def _is_ready(port: int) -> bool:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=2)) as connection:
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["it does not say why"])[-1][:300]
