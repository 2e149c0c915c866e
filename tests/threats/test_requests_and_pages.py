"""THREATS, requests, commands and pages: hostile names stay text wherever they are shown.

The project is trained on data whose names and values are syntax of shells, pages, templates and
terminals, and whose place is a secret. Webhooks have their own tests (tests/monitoring/channels).
"""

import ast
import html.parser
import json
import re
from pathlib import Path

import pytest

import loopline

_STARTERS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}


class Page(html.parser.HTMLParser):
    """The tags and the texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_no_shell_ran_what_the_data_says(trained):
    """Shell strings built from names (CVE-2023-4033, 2025-14287, 2026-0596)."""
    assert not list(trained.typed.root.parent.rglob("pwned"))


def test_no_command_is_a_shell_s():
    """The same, for every command that Loopline starts."""
    found = []
    for path in Path(loopline.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                shell = [word for word in node.keywords if word.arg == "shell"]
                if shell or ast.unparse(node.func) in _STARTERS:
                    found.append(f"{path.name}: {ast.unparse(node)}")

    assert not found


def test_the_report_page_shows_hostile_names_as_text(trained):
    """Unescaped names in reports; templates from data (CVE-2023-6568, 2024-27132, 2023-6709)."""
    [report] = (trained.typed.root / ".loopline" / "reports").glob("*.html")
    page = Page(report.read_text(encoding="utf-8"))

    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "iframe", "object", "form"})
    assert not [name for _, given in page.tags for name in given if name.startswith("on")]
    assert trained.names[1] in page.text
    assert "49" not in re.findall(r"\w+", trained.names[2])  # else the next line proves nothing
    assert trained.names[2] in page.text  # a template's syntax, not what it would come to


def test_the_servers_page_shows_hostile_names_as_text(server, trained):
    answer = server.get(b"/docs").decode("utf-8")
    head, _, body = answer.partition("\r\n\r\n")
    page = Page(body)

    assert "content-security-policy: default-src 'none'" in head.lower()
    assert "x-content-type-options: nosniff" in head.lower()
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "iframe", "object"})
    assert trained.names[1] in page.text


def test_a_generated_contract_gives_every_hostile_name_back(trained):
    """A newline in a value wrote lines of its own (CVE-2026-44345, 2026-44346)."""
    from loopline.contract.load import load

    contract = load(trained.typed.root / "loopline.yaml")

    kept = {name for name in trained.names if name.isprintable()}  # the others are left out
    assert len(kept) == len(trained.names) - 2
    assert kept <= set(contract.data.columns)
    assert set(contract.data.columns).isdisjoint(set(trained.names) - kept)
    assert contract.problem.target == trained.target


@pytest.mark.parametrize(
    "command",
    [("status",), ("model", "list"), ("model", "show", "1"), ("audit", "list"), ("check",),
     ("model", "lineage", "1")],
    ids=" ".join,
)  # fmt: skip
def test_no_name_drives_the_terminal(trained, command):
    """What data says is printed as text: no escape, no bell, no reordering of the line."""
    told = trained.typed(*command).output

    ours = re.sub(r"\x1b\[[0-9;]*m", "", told)  # colours are ours; data's own are made visible
    assert not re.findall(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", ours)
    assert "\x1b[2J" not in told
    assert "\x1b[31mred" not in told


def test_a_secret_in_the_environment_is_written_nowhere(trained):
    """Where the data comes from is a secret: no output, record, page or bundle holds it."""
    said = [trained.said] + [
        trained.typed(*command).output
        for command in (("status",), ("audit", "list", "--json"), ("model", "show", "1", "--json"))
    ]
    assert not [text for text in said if trained.secret in text]
    holding = [
        path.name
        for path in trained.typed.root.rglob("*")
        if path.is_file() and trained.secret.encode() in path.read_bytes()
    ]
    assert holding == []


def test_metrics_escape_what_they_label(server, trained):
    """A label that holds quotes or newlines is one label still."""
    body = server.get(b"/metrics").decode("utf-8").partition("\r\n\r\n")[2]

    for line in body.splitlines():
        assert re.fullmatch(r"#.*|[a-zA-Z_:][\w:]*(\{.*\})? \S+|", line), line


def test_an_error_quotes_the_callers_text_as_json(server):
    """An answer that repeats the question repeats it as a text of JSON, never as a page."""
    attack = "<script>alert(1)</script>\u202e\x1b[2J"
    body = json.dumps({"dataframe_records": [{attack: 1, "number": attack}]}).encode()

    status, answer = server.post("/invocations", body)

    assert status == 400
    assert "\x1b" not in json.dumps(json.loads(answer), ensure_ascii=False)
