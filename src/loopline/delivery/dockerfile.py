"""The Dockerfile of an image: what every target has in common, and where they differ.

Nothing that people name is written into it but the base, which is held to the grammar of a
reference: a line break in a value could otherwise write instructions. The builder's stages have pip
and the wheels, the targets only what was installed, so no target has a compiler or an installer.
"""

import re
from collections.abc import Sequence

from loopline.errors import DeliveryError

HEADER = "# Made by `loopline generate image`: make it anew rather than edit it.\n"
USER = 10001
PORT = 8080

_PART = "[a-z0-9]+(?:(?:[.]|_{1,2}|-+)[a-z0-9]+)*"
_BASE = re.compile(
    rf"(?:(?:[A-Za-z0-9.-]+(?::[0-9]+)?|\[[0-9a-f:]+\](?::[0-9]+)?)/)?{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)

_TOOLS = """
# hadolint global ignore=DL3006,DL3042
ARG BASE={base}
ARG RUN_USER={user}

FROM ${{BASE}} AS tools
WORKDIR /build
ENV PIP_NO_CACHE_DIR=1 \\
    PIP_DISABLE_PIP_VERSION_CHECK=1
COPY wheels/ wheels/
COPY requirements-loopline.txt ./
RUN python3 -m venv /app
"""
# DL3006 wants a tag in FROM and cannot see that the argument has one; DL3042 wants
# --no-cache-dir, which PIP_NO_CACHE_DIR says once for all.

_INSTALL = """
FROM tools AS {target}-packages
COPY requirements-{target}.txt sbom-{target}.json ./
RUN {python_check}/app/bin/python -m pip install --require-hashes --only-binary :all: \\
      {registry}-r requirements-{target}.txt \\
 && /app/bin/python -m pip install --require-hashes --no-index --find-links wheels \\
      --no-deps -r requirements-loopline.txt \\
 && /app/bin/python -m pip uninstall --yes pip setuptools \\
 && cp sbom-{target}.json /app/sbom.json
"""
# Loopline's wheel requires all that training does; a target has what it needs of that.

_TARGET = """
FROM ${{BASE}} AS {target}
LABEL org.opencontainers.image.title="loopline" \\
      org.opencontainers.image.version="{version}" \\
      com.amazonaws.sagemaker.capabilities.accept-bind-to-port="true" \\
      com.amazonaws.sagemaker.capabilities.multi-models="true"
ENV HOME=/tmp \\
    PYTHONDONTWRITEBYTECODE=1 \\
    PYTHONUNBUFFERED=1
COPY --from={target}-packages /app /app
{copies}WORKDIR /tmp
EXPOSE {port}
ARG RUN_USER
USER ${{RUN_USER}}
ENTRYPOINT ["/app/bin/python", "-P", "-m", "loopline.cli.entry"]
CMD ["serve"]
"""

_PYTHON = (
    "python3 -c 'import sys; sys.exit(None if sys.version_info[:2] == ({comma}) else "
    '"The base has another Python than {python}, which the model was made with.")\' \\\n && '
)


def check_base(base: str) -> str:
    """Return `base` if it is a reference of an image.

    Raises:
        DeliveryError: it is not.
    """
    if len(base) > 512 or not _BASE.fullmatch(base):
        raise DeliveryError(
            f"{base!r:.80} is no image. A base is a reference such as "
            f"{default_base('3.11')}, or NAME@sha256:DIGEST."
        )
    return base


def default_base(python: str) -> str:
    """Return the base for Python `python`, such as 3.11."""
    return f"docker.io/library/python:{python}-slim-bookworm"


def dockerfile(
    *,
    base: str,
    python: str,
    version: str,
    targets: Sequence[str],
    folders: Sequence[str],
    offline: bool,
) -> str:
    """Return the Dockerfile; the last of `targets` is what a build makes unless it is told.

    `folders` are copied beside the packages, `project` into the target `full` alone.
    """
    texts = [HEADER, _TOOLS.format(base=check_base(base), user=USER)]
    for target in targets:
        strict = _PYTHON.format(python=python, comma=python.replace(".", ", "))
        texts.append(
            _INSTALL.format(
                target=target,
                registry="--no-index --find-links wheels " if offline else "",
                # An original is unpickled, which another Python may not be able to.
                python_check=strict if target == "full" else "",
            )
        )
    for target in targets:
        kept = [folder for folder in folders if folder != "project" or target == "full"]
        copies = "".join(f"COPY {folder}/ /app/{folder}/\n" for folder in kept)
        texts.append(_TARGET.format(target=target, version=version, copies=copies, port=PORT))
    return "".join(texts)
