"""Compiles the kernels into the package where a C compiler is found.

Without one the wheel stays pure and the numpy twins answer; both give the same numbers.
"""

import os
import shutil
import subprocess
import sysconfig
import zlib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

KERNELS = Path("src/loopline/kernels")
# No fast-math, no fused multiply-add: the kernel and its numpy twin must agree to the last bit.
FLAGS = ["-O3", "-std=c11", "-shared", "-fPIC", "-ffp-contract=off", "-fvisibility=hidden", "-Wall"]


class KernelBuildHook(BuildHookInterface[Any]):  # type: ignore[misc]  # hatchling ships no types
    """Builds `_kernels.so` beside its sources."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        folder = Path(self.root) / KERNELS
        library = folder / "_kernels.so"
        compiler = (
            os.environ.get("CC")
            or shutil.which("cc")
            or shutil.which("gcc")
            or shutil.which("clang")
        )
        if not compiler:
            self.app.display_warning(
                "No C compiler found: Loopline will use its slower numpy kernels."
            )
            library.unlink(missing_ok=True)
            return
        sources = sorted(str(path) for path in folder.glob("*.c"))
        # By which `kernels/library.py` sees that it was built from other ones than lie beside it.
        of_sources = b"".join(path.read_bytes() for path in sorted(folder.glob("*.[ch]")))
        told = f"-DLOOPLINE_SOURCES={zlib.crc32(of_sources)}u"
        subprocess.run([compiler, *FLAGS, told, "-o", str(library), *sources, "-lm"], check=True)
        build_data["artifacts"].append(str(KERNELS / "*.so"))
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
