"""Rules of the house that no linter knows."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import loopline
from loopline import errors
from loopline.cli.main import VERBS, cli
from loopline.errors import LooplineError

ROOT = Path(__file__).parents[1]
PACKAGE = Path(loopline.__file__).parent

HEAVY = {
    "altair", "click", "deltalake", "jinja2", "mlflow", "msgspec", "numpy", "obstore", "optuna",
    "pandas", "polars", "pyarrow", "pydantic", "rich", "ruamel", "scipy", "sklearn", "sqlalchemy",
    "sqlglot", "tensorboardX", "uvicorn",
}  # fmt: skip


def tracked() -> list[tuple[str, str]]:
    """Return every text file that Git keeps, with its content."""
    try:
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no Git checkout")
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if not path.is_file():  # removed, and not committed yet
            continue
        try:
            found.append((name, path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found


def lines_with(pattern: str, *, without: tuple[str, ...] = ()) -> list[str]:
    wanted = re.compile(pattern)
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in tracked()
        if name not in without
        for number, line in enumerate(text.splitlines(), start=1)
        if wanted.search(line)
    ]


def test_nothing_that_is_kept_names_a_path_of_one_machine() -> None:
    # All but ml in opt, where SageMaker has a container look.
    machine = "|".join(["work", "tmp", "root", "home", "Users", "opt(?!/ml/)"])

    assert lines_with(rf"(?:^|[\s\"'`(=])/(?:{machine})/\w") == []


def test_nothing_that_is_kept_names_a_package_registry_s_host() -> None:
    # In pieces, so that this file does not name one either.
    names = ["pypi" + ".", "python" + "hosted", "npm" + "js", "crates" + r"\.io", "index" + "-url"]

    assert lines_with("|".join(re.escape(n) if n.endswith(".") else n for n in names)) == []


def test_what_is_to_be_done_is_an_issue_and_not_a_comment() -> None:
    assert lines_with(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b", without=("LICENSE",)) == []


def test_the_requirements_are_names_versions_and_hashes_alone() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pinned = re.compile(r"[A-Za-z0-9._-]+(\[[a-z0-9,._-]+\])?==[\w.!+-]+( ; [\w .'<>=!()]+)? \\")
    hashed = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")

    assert [line for line in lines if not (pinned.fullmatch(line) or hashed.fullmatch(line))] == []
    names = [line for line in lines if not line.startswith(" ")]
    assert len(names) > 50
    # Each has a hash after it.
    assert all(
        hashed.fullmatch(lines[place + 1]) for place, line in enumerate(lines) if line in names
    )


def test_every_requirement_of_the_package_is_pinned() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [
        *project["project"]["dependencies"],
        *(one for extra in project["project"]["optional-dependencies"].values() for one in extra),
        *project["dependency-groups"]["dev"],
    ]

    def plain(requirement: str) -> str:
        return re.sub("[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement)[0].lower())

    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pinned = {plain(line) for line in lines if not line.startswith(" ")}
    assert {plain(one) for one in asked} - pinned == set()


def modules() -> Iterator[str]:
    for found in pkgutil.walk_packages([str(PACKAGE)], "loopline."):
        yield found.name


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(PACKAGE))
        for path in sorted(PACKAGE.rglob("*.py"))
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]

    assert silent == []


def test_every_public_name_of_a_module_is_there() -> None:
    for name in modules():
        if name.endswith(("__main__", "_kernels")):  # runs when imported; is no Python
            continue
        module = importlib.import_module(name)
        missing = [each for each in getattr(module, "__all__", []) if not hasattr(module, each)]
        assert missing == [], name


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = f"import sys, loopline; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_the_tree_of_errors_is_the_one_that_is_drawn() -> None:
    """Indentation and branches of the docstring, against the classes themselves."""
    assert errors.__doc__ is not None
    drawn: dict[str, str] = {}
    above: list[str] = []
    for line in errors.__doc__.splitlines():
        found = re.match(r"    ((?:[│ ]   )*)(?:[├└]── )?(\w+Error)\b", line)
        if found is None:
            continue
        depth = len(found[1]) // 4 + ("──" in line)
        del above[depth:]
        if above:
            drawn[found[2]] = above[-1]
        above.append(found[2])

    actual = {
        kind.__name__: kind.__bases__[0].__name__
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, LooplineError) and kind is not LooplineError
    }
    assert drawn == actual


def test_every_error_says_what_it_means() -> None:
    for name, kind in vars(errors).items():
        if isinstance(kind, type):
            assert kind.__doc__, name


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for below in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), below)
            assert found is not None
            yield from commands(found, f"{name} {below}")


COMMANDS = dict(commands(cli, "loopline"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_its_help(name: str) -> None:
    command = COMMANDS[name]

    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts[0]}"


def test_every_verb_is_a_file_and_every_file_a_verb() -> None:
    shared = {"entry", "main", "places", "table", "reference"}
    files = {path.stem for path in (PACKAGE / "cli").glob("*.py") if path.stem != "__init__"}

    assert files - shared == set(VERBS)


def test_every_read_answers_as_json() -> None:
    reads = [
        "loopline run", "loopline check", "loopline status", "loopline watch", "loopline feedback",
        "loopline profile",
        "loopline model list", "loopline model show", "loopline model compare",
        "loopline audit list", "loopline audit verify",
    ]  # fmt: skip

    for name in reads:
        assert "--json" in {option for each in COMMANDS[name].params for option in each.opts}, name
