import errno
import importlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

import loopline
from loopline.cli import main as entry
from loopline.cli.main import VERBS, find_project
from loopline.errors import LooplineError

LOOPLINE = [sys.executable, "-m", "loopline"]


def run(
    *arguments: str, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*LOOPLINE, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def cpu_seconds(*arguments: str) -> float:
    """Return the least of six runs: the machine may be busy."""
    seconds = []
    for _ in range(6):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(seconds)


def test_help_takes_hardly_more_time_than_importing_click() -> None:
    floor = cpu_seconds("-c", "import click")  # 0.09 s on an idle machine, more on a busy one

    assert cpu_seconds("-m", "loopline", "--help") < max(0.15, 1.35 * floor)


def test_help_names_every_verb_and_how_to_complete_them() -> None:
    done = run("--help")

    assert done.returncode == 0
    assert all(f"\n  {verb} " in done.stdout for verb in VERBS)
    assert "_LOOPLINE_COMPLETE=bash_source" in done.stdout


def test_help_imports_no_library_beyond_click() -> None:
    code = (
        "import sys; sys.argv = ['loopline', '--help']\n"
        "from loopline.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'polars', 'numpy', 'pydantic', 'ruamel', 'sqlalchemy', 'rich', 'msgspec'}\n"
        "print('FOUND', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "FOUND []"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_its_own_file_with_a_command(verb: str) -> None:
    command = importlib.import_module(f"loopline.cli.{verb}").command

    assert isinstance(command, click.Command)


def test_the_version_is_the_package_s() -> None:
    assert run("--version").stdout == f"loopline {loopline.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chekc"], "There is no command 'chekc'. Did you mean 'check'?"),
        (["zzzzzz"], "Commands: new, check, run"),
        (["--colour"], "No such option '--colour'"),
        (["check", "--jsn"], "No such option '--jsn'"),
    ],
)
def test_misuse_exits_with_2_and_says_what_there_is(arguments: list[str], message: str) -> None:
    done = run(*arguments)

    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_of_ours_exits_with_1_and_no_traceback(tmp_path: Path) -> None:
    done = run("check", cwd=tmp_path)

    assert done.returncode == 1
    assert done.stderr.startswith("There is no loopline.yaml in ")
    assert "loopline new NAME --data FILE --target COLUMN" in done.stderr
    assert "Traceback" not in done.stderr


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    @click.command()
    def command() -> None:
        raise error

    monkeypatch.setattr(entry._Verbs, "get_command", lambda *_: command)
    monkeypatch.setattr(sys, "argv", ["loopline", "check"])


def test_an_unknown_error_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, ZeroDivisionError("a bug"))

    with pytest.raises(ZeroDivisionError, match="a bug"):
        entry.main()


def test_an_interrupted_command_says_one_line_and_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())

    with pytest.raises(SystemExit) as stopped:
        entry.main()

    assert stopped.value.code == 130
    assert capsys.readouterr().err.strip() == "Stopped."


def test_sigterm_ends_a_command_in_one_line_and_gives_back_what_it_holds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    held = []

    def wait(*_: object, **__: object) -> None:
        held.append("lease")
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            held.clear()

    monkeypatch.setattr(entry.cli, "main", wait)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as stopped:
            entry.main()
    finally:
        signal.signal(signal.SIGTERM, before)

    assert stopped.value.code == 143
    assert capsys.readouterr().err.strip() == "Stopped."
    assert held == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "No space left on device. Make room on the disk, and call this again.",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/srv/credit"),
            "Permission denied: /srv/credit. Make it readable and writable, or name another "
            "home with LOOPLINE_HOME, and call this again.",
        ),
    ],
)
def test_what_a_disk_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, error: OSError, expected: str
) -> None:
    fail_with(monkeypatch, error)

    with pytest.raises(SystemExit) as stopped:
        entry.main()

    assert stopped.value.code == 1
    assert capsys.readouterr().err.strip() == expected


def test_completion_offers_the_verbs_without_importing_them() -> None:
    done = run(_LOOPLINE_COMPLETE="bash_complete", COMP_WORDS="loopline s", COMP_CWORD="1")

    assert done.stdout.splitlines() == ["plain,serve", "plain,score", "plain,status"]


def test_a_project_is_found_from_a_folder_inside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loopline.yaml").write_text("project: churn\n")
    inside = tmp_path / "tests" / "model"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)

    assert find_project() == tmp_path
    assert find_project(tmp_path) == tmp_path
    assert find_project(tmp_path / "loopline.yaml") == tmp_path
    with pytest.raises(LooplineError, match=r"There is no loopline\.yaml in .*model"):
        find_project(inside)


def test_output_cut_short_by_its_reader_is_no_error() -> None:
    command = f"{sys.executable} -m loopline --help | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)

    assert done.stderr == ""


def test_letters_that_the_terminal_lacks_are_written_another_way(tmp_path: Path) -> None:
    (tmp_path / "cities.csv").write_text("city\n" + "Šid\nBar\n" * 20, encoding="utf-8")

    done = run("profile", "cities.csv", cwd=tmp_path, PYTHONIOENCODING="latin-1")

    assert done.returncode == 0, done.stderr
    assert r"\u0160id 50.0%" in done.stdout


@pytest.mark.parametrize("wish", ["1", ""])
def test_no_colour_is_written_to_a_terminal_that_wants_none(
    monkeypatch: pytest.MonkeyPatch, wish: str
) -> None:
    said: list[bool | None] = []
    monkeypatch.setenv("NO_COLOR", wish)
    monkeypatch.setattr(entry.cli, "main", lambda **options: said.append(options["color"]))

    with pytest.raises(SystemExit):
        entry.main()

    assert said == [False if wish else None]
