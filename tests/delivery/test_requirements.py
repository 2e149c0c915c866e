"""What an image installs: pins with hashes alone, and no more than the target needs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from loopline.delivery import requirements
from loopline.delivery.requirements import BATCH, SERVE, needed, own_lock, read, roots_of_loopline
from loopline.errors import DeliveryError

A, B = "a" * 64, "b" * 64


@pytest.fixture(scope="module")
def lock() -> list[requirements.Pin]:
    return read(own_lock().read_text(), "requirements.txt")


def test_a_pin_is_read_as_pip_writes_it_and_written_as_pip_reads_it() -> None:
    text = f"# mine\n\nOne_Two==1.2.post1 \\\n    --hash=sha256:{A} \\\n    --hash=sha256:{B}\n"

    [pin] = read(text, "r.txt")

    assert (pin.name, pin.version, len(pin.hashes)) == ("one-two", "1.2.post1", 2)
    assert read(pin.lines(), "r.txt") == [pin]


@pytest.mark.parametrize(
    "line",
    [
        "numpy==2.1",
        f"numpy>=2 --hash=sha256:{A}",
        f"numpy --hash=sha256:{A}",
        f"numpy==2.* --hash=sha256:{A}",
        f"numpy==2.1,!=2.2 --hash=sha256:{A}",
        f"numpy==2.1 --hash=md5:{A[:32]}",
        f"numpy==2.1 --hash=sha256:{A} --config-settings=x=y",
        "--index-" + "url http://evil.example/simple",
        "--extra-index-" + "url=http://evil.example/simple",
        "--find-links /etc",
        "-r /etc/passwd",
        "-e .",
        "-c ../constraints.txt",
        f"numpy @ http://evil.example/numpy.whl --hash=sha256:{A}",
        "git+https://evil.example/numpy",
        "./numpy.whl",
        f"num py==2.1 --hash=sha256:{A}",
    ],
)
def test_a_line_that_is_no_pin_is_refused_by_its_number(line: str) -> None:
    with pytest.raises(DeliveryError, match=r"(?s)r\.txt:2: .* is no pin\..*NAME==VERSION"):
        read(f"\n{line}\n", "r.txt")


def test_every_line_that_is_no_pin_is_named_at_once() -> None:
    with pytest.raises(DeliveryError) as refused:
        read("numpy\n\npandas\n", "r.txt")

    assert [line[:7] for line in str(refused.value).splitlines()[:2]] == ["r.txt:1", "r.txt:3"]


def test_a_server_needs_a_dozen_packages_and_none_that_trains_or_holds_tables(lock) -> None:
    names = {pin.name for pin in needed(SERVE, lock).pins}

    assert set(SERVE) < names
    assert len(names) < 15
    assert not names & {"scikit-learn", "scipy", "pandas", "polars", "pyarrow", "sqlalchemy"}


def test_batch_reads_tables_and_trains_nothing(lock) -> None:
    names = {pin.name for pin in needed(BATCH, lock).pins}

    assert {"pyarrow", "polars"} < names
    assert not names & {"scikit-learn", "scipy", "optuna"}


def test_what_a_package_needs_comes_with_it_and_nothing_else(lock) -> None:
    found = needed(["uvicorn"], lock)

    assert [pin.name for pin in found.pins] == ["click", "h11", "uvicorn"]
    assert found.edges["uvicorn"] == ("click", "h11")


def test_a_pin_for_another_platform_is_left_out() -> None:
    text = (
        f"click==8.0 ; sys_platform == 'win32' --hash=sha256:{A}\n"
        f"click==8.3 ; sys_platform != 'win32' --hash=sha256:{B}\n"
    )

    [pin] = needed(["click"], read(text, "r.txt")).pins

    assert pin.lines() == f"click==8.3 \\\n    --hash=sha256:{B}\n"


def test_the_project_s_own_pins_go_before_loopline_s(lock) -> None:
    [own] = read(f"click==8.2.0 --hash=sha256:{A}", "r.txt")

    found = {pin.name: pin.version for pin in needed(["uvicorn"], lock, [own]).pins}

    assert found["click"] == "8.2.0"


def test_what_is_not_pinned_or_not_installed_is_named(lock) -> None:
    with pytest.raises(DeliveryError, match="the lock has no pin of it"):
        needed(["no-such-package"], lock)
    [unknown] = read(f"no-such-package==1 --hash=sha256:{A}", "r.txt")
    with pytest.raises(DeliveryError, match="pip install no-such-package"):
        needed(["no-such-package"], [unknown])


def test_full_has_all_that_loopline_requires_and_the_extras_asked_for(lock) -> None:
    roots = roots_of_loopline(["lightgbm"])

    assert {"scikit-learn", "polars", "lightgbm"} < set(roots)
    assert "mlflow" not in roots
    with pytest.raises(DeliveryError, match=r"no extra 'lightgmb'\. There are: .*lightgbm"):
        roots_of_loopline(["lightgmb"])


def test_the_server_starts_with_nothing_installed_but_what_the_slim_image_has(lock) -> None:
    """Every other package of this environment is hidden from it."""
    kept = sorted({re.sub("[-_.]+", "-", pin.name) for pin in needed(SERVE, lock).pins})
    code = f"""
import importlib.metadata as metadata, sys
kept = {kept!r}
hidden = set()
for module, packages in metadata.packages_distributions().items():
    names = {{name.lower().replace('_', '-').replace('.', '-') for name in packages}}
    if not names & {{*kept, 'loopline', 'setuptools'}}:
        hidden.add(module)
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in hidden:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Hide())
import loopline.serving.server, loopline.serving.aws_lambda, loopline.store.objects
import cryptography.hazmat.primitives.asymmetric.ed25519, obstore, uvloop, httptools
assert 'polars' in hidden and 'sklearn' in hidden and 'pyarrow' in hidden
print('ok')
"""

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout == "ok\n", done.stderr


def test_a_lock_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "loopline"
    monkeypatch.setattr(requirements.loopline, "__file__", str(package / "__init__.py"))

    with pytest.raises(DeliveryError, match=r"requirements\.txt is missing from this installation"):
        own_lock()

    (package / "delivery").mkdir(parents=True)
    (package / "delivery" / "requirements.txt").touch()
    assert own_lock() == package / "delivery" / "requirements.txt"
