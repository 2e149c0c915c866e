"""Loopline's own wheel: what is installed, whole, and the same bytes each time."""

import base64
import csv
import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import loopline
from loopline.delivery.wheel import own_wheel


@pytest.fixture(scope="module")
def archive() -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(own_wheel().content))


def test_it_holds_every_module_the_lock_and_what_is_known_of_the_package(archive) -> None:
    names = set(archive.namelist())
    package = Path(loopline.__file__).parent
    modules = {f"loopline/{path.relative_to(package)}" for path in package.rglob("*.py")}
    about = f"loopline-{loopline.__version__}.dist-info"

    assert modules <= names
    assert {"loopline/delivery/requirements.txt", f"{about}/METADATA", f"{about}/WHEEL"} <= names
    assert not [name for name in names if name.endswith((".c", ".pyc"))]


def test_its_record_has_every_file_with_its_hash(archive) -> None:
    about = f"loopline-{loopline.__version__}.dist-info"
    rows = list(csv.reader(io.StringIO(archive.read(f"{about}/RECORD").decode())))

    assert {row[0] for row in rows} == set(archive.namelist())
    for name, digest, size in rows:
        if name != f"{about}/RECORD":
            content = archive.read(name)
            hashed = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()
            assert digest == f"sha256={hashed.rstrip('=')}"
            assert int(size) == len(content)


def test_the_same_installation_gives_the_same_bytes() -> None:
    assert own_wheel().digest == own_wheel().digest


def test_its_name_says_whether_it_has_compiled_kernels(archive) -> None:
    wheel = own_wheel()

    has = "loopline/kernels/_kernels.so" in archive.namelist()
    assert wheel.has_kernels == has
    assert wheel.name.endswith("py3-none-any.whl") != has


def test_kernels_of_another_system_stay_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    wheel = own_wheel()

    assert not wheel.has_kernels
    assert wheel.name.endswith("-py3-none-any.whl")
    packed = zipfile.ZipFile(io.BytesIO(wheel.content))
    assert "loopline/kernels/_kernels.so" not in packed.namelist()


def test_pip_installs_it_and_it_makes_the_same_wheel_again(tmp_path: Path) -> None:
    """So that an image can be generated from an installed wheel, without a source tree."""
    wheel = own_wheel()
    file = tmp_path / wheel.name
    file.write_bytes(wheel.content)
    target = tmp_path / "there"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--no-compile", "--target", str(target), str(file)], check=True)
    code = (
        "import loopline; from loopline.delivery.wheel import own_wheel; "
        "print(loopline.__file__, own_wheel().digest)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(target), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    place, digest = done.stdout.split()
    assert place.startswith(str(target))
    assert digest == wheel.digest
