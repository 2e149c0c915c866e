"""The docs: nothing that exists is missing from the reference, and every link leads somewhere."""

import inspect
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from loopline import errors, settings
from loopline.cli import reference
from loopline.cli.main import cli
from loopline.model import reference as model_reference
from loopline.model.bundle import FILES
from loopline.model.compile import estimator
from loopline.model.compile.refused import REFUSED
from loopline.monitoring.segments import OWN
from loopline.registry.release import Release, Served
from loopline.serving.app import ROUTES, STATUS
from loopline.serving.metrics import Metrics
from loopline.store.database import Database, metadata
from loopline.store.ledger import Ledger

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = DOCS / "reference"
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["commands.md", "settings.md", "errors.md", "http.md"])
def test_what_is_made_from_commands_settings_errors_and_routes_is_up_to_date(name: str) -> None:
    assert page(name) == reference.pages(REFERENCE)[name], (
        "make it anew with: python -m loopline.cli.reference docs/reference"
    )


def test_what_is_made_from_the_tables_of_plans_is_up_to_date() -> None:
    assert page("plans.md") == model_reference.pages()["plans.md"], (
        "make it anew with: python -m loopline.model.reference docs/reference"
    )


def commands(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        below = click.Context(command, context, info_name=name)
        yield below.command_path, command
        if isinstance(command, click.Group):
            yield from commands(command, below)


def test_every_command_and_option_is_in_the_reference() -> None:
    text = page("commands.md")
    found = dict(commands(cli, click.Context(cli, info_name="loopline")))

    assert len(found) > 15
    for path, command in found.items():
        assert f"# {path}\n" in text
        section = text.partition(f"# {path}\n")[2].partition("\n##")[0]
        for option in command.params:
            if isinstance(option, click.Option):
                assert any(f"`{name}" in section for name in option.opts), (path, option.opts)


def test_every_setting_is_in_the_reference() -> None:
    read = set(re.findall(r"\"((?:LOOPLINE|MLFLOW)_[A-Z_]+)\"", inspect.getsource(settings)))

    assert len(read) >= 9
    assert [name for name in sorted(read) if f"`{name}`" not in page("settings.md")] == []


def test_every_error_is_in_the_reference_with_what_a_caller_gets() -> None:
    text = page("errors.md")
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.LooplineError):
            [row] = [line for line in text.splitlines() if line.startswith(f"| `{kind.__name__}` ")]
            nearest = next((STATUS[each] for each in kind.__mro__ if each in STATUS), 500)
            assert row.endswith(f"| {nearest} |")


def test_every_route_and_metric_is_in_the_reference() -> None:
    text = page("http.md")
    release = Release("churn", "dev", 1, (Served(1, "b", "d"),), "ada", "", "2026-03-01T00:00Z")
    router = SimpleNamespace(release=release, models=(), shadows=())
    log = SimpleNamespace(frames=0, lost=0, failure=None, waiting_bytes=0)
    shown = Metrics().render(router, log)
    names = re.findall(r"^# TYPE (\S+)", shown.decode(), re.MULTILINE)

    assert [r.path for r in ROUTES if f"`{r.method} {r.path}`" not in text] == []
    assert len(names) > 10
    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_step_model_and_refusal_of_a_plan_is_in_the_reference() -> None:
    text = page("plans.md")
    names = [*estimator.STEPS, *estimator.MODELS, *REFUSED]
    folder = Path(inspect.getsourcefile(estimator) or "").parent
    sources = [file.read_text(encoding="utf-8") for file in folder.glob("*.py")]
    raised = sum(source.count("PlanRefusedError(") for source in sources)
    reasons = text.partition("## Why a plan is refused")[2].partition("\n## ")[0].count("\n- ")

    assert [name for name in names if f"| `{name}` |" not in text] == []
    assert 20 < reasons <= raised
    assert not set(REFUSED) & {*estimator.STEPS, *estimator.MODELS}


def test_every_file_table_and_column_that_is_kept_is_in_the_reference() -> None:
    text = page("bundle-and-release.md")
    columns = [column.name for table in metadata.tables.values() for column in table.columns]
    kept = [*FILES, *metadata.tables, *columns, *OWN]
    fields = [*Release.__dataclass_fields__, *Served.__dataclass_fields__]

    assert [name for name in kept if f"`{name}`" not in text] == []
    assert [name for name in fields if f'"{name}"' not in text] == []


def links() -> list[tuple[Path, str]]:
    pages = [*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md")]
    return [
        (file, link)
        for file in sorted(pages)
        for link in _LINK.findall(file.read_text(encoding="utf-8"))
        if "://" not in link
    ]


def anchors(file: Path) -> set[str]:
    """Return the anchors of a page's headings, as they are made from them on most sites."""
    heads = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", head.lower()) for head in heads)
    return {head.strip().replace(" ", "-") for head in plain}


def test_every_relative_link_leads_to_a_page_and_a_heading() -> None:
    found = links()
    broken = []
    for file, link in found:
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        target = target / "index.md" if target.is_dir() else target
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            broken.append(f"{file.relative_to(DOCS.parent)}: {link}")

    assert len(found) > 60
    assert broken == []


def test_every_page_can_be_reached_from_the_readme_or_the_index() -> None:
    found = links()
    known: set[Path] = set()
    waiting = [DOCS / "index.md", DOCS.parent / "README.md"]
    while waiting:
        file = waiting.pop()
        known.add(file)
        for source, link in found:
            target = (file.parent / link.partition("#")[0]).resolve()
            if (
                source == file
                and target.suffix == ".md"
                and target.exists()
                and target not in known
            ):
                waiting.append(target)

    assert sorted(set(DOCS.rglob("*.md")) - known) == []


def test_the_auditors_program_proves_the_chain_and_finds_a_change(tmp_path: Path) -> None:
    page = (DOCS / "how-to" / "for-auditors.md").read_text(encoding="utf-8")
    [program] = re.findall(r"^```python\n(import hashlib.*?)^```$", page, re.MULTILINE | re.DOTALL)
    file = tmp_path / "loopline.db"
    ledger = Ledger(Database(f"sqlite:///{file}"), "churn", "Grace Müller")
    for number in (1e-5, 1e22, 0.1):
        ledger.append("finding.opened", 'a "quoted" name', {"value": number}, now=datetime.now(UTC))
    ledger.database.close()

    def check() -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", program, str(file)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert check().stdout == "The chain holds.\n"
    with sqlite3.connect(file) as connection:
        connection.execute("update events set actor = 'eve' where number = 2")
    connection.close()
    assert check().stderr == "Event 2 is not what was recorded.\n"
