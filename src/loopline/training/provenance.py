"""What a run was made with: code and environment."""

import contextlib
import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

_PACKAGES = ("loopline", "numpy", "scipy", "scikit-learn", "optuna", "polars")
ALSO = {
    "lightgbm": ["lightgbm"],
    "xgboost": ["xgboost", "xgboost-cpu"],
    "torch": ["torch"],
}
"""Module to the packages that bring it: recorded where the team's own estimator has imported it."""


def environment(*, custom: bool) -> dict[str, str]:
    """Return Python, the machine and the versions that decide what is trained."""
    # 60 ms, which whoever only asks for `own_code` need not wait for.
    from importlib.metadata import PackageNotFoundError, version

    wanted = [[package] for package in _PACKAGES]
    if custom:
        wanted.append(["pandas"])  # what the team's own estimator is given
        wanted += [packages for module, packages in ALSO.items() if module in sys.modules]
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for packages in wanted:
        known = {}
        for package in packages:
            with contextlib.suppress(PackageNotFoundError):
                known[package] = version(package)
        # Unknown is what runs from a source tree that was never installed.
        found |= known or {packages[0]: "unknown"}
    return found


def own_code(root: Path) -> list[Path]:
    """Return the team's files of Python and SQL, in order: wherever a model may import them from.

    A virtual environment inside the project is not the team's, nor is what a dot hides.
    """
    found = []
    for folder, inside, files in os.walk(root):
        here = Path(folder)
        inside[:] = [
            name
            for name in inside
            if not name.startswith((".", "__pycache__")) and name != "site-packages"
            if not (here / name / "pyvenv.cfg").exists()
        ]
        found += [here / name for name in files if name.endswith((".py", ".sql"))]
    return sorted(found)


def code(root: Path) -> dict[str, Any]:
    """Return the Git commit, whether the folder differs from it, and the hash of the team's code.

    `commit` and `dirty` are None outside Git or without it.
    """
    commit, dirty = _git(root)
    digest = hashlib.sha256()
    for path in own_code(root):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return {"commit": commit, "dirty": dirty, "files": digest.hexdigest()}


def _git(root: Path) -> tuple[str | None, bool | None]:
    command = ["git", "-C", str(root), "status", "--porcelain=v2", "--branch", "--", "."]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None, None
    lines = told.stdout.splitlines()
    oid = next((line.split()[2] for line in lines if line.startswith("# branch.oid ")), None)
    if oid is None or oid == "(initial)":
        return None, None
    return oid, any(not line.startswith("#") for line in lines)
