"""THREATS, requests, commands and pages: hostile names stay text wherever they are shown.

The project is trained on data whose names and values are syntax of shells, pages, templates and
terminals, and whose place is a secret. What a caller sends is never counted as the server's
failure: a rule such as `error_rate > 1%` would else let callers roll back a good version.
"""

import ast
import html.parser
import json
import re
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import loopline
from loopline.contract.load import load
from loopline.contract.urls import has_secret, without_secrets
from loopline.data.row_sql import parse
from loopline.data.row_steps import evaluate
from loopline.data.sources.base import describe, read_source
from loopline.errors import ChannelError, LooplineError
from loopline.model.bundle import Bundle, open_bundle
from loopline.model.card import card
from loopline.monitoring.channels.base import Alert
from loopline.monitoring.channels.console import Console
from loopline.monitoring.channels.webhook import Webhook
from loopline.monitoring.findings import Finding
from loopline.serving.dialects.base import Inputs
from loopline.settings import Settings

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


def test_the_watch_report_shows_hostile_names_as_text(typed):
    """The same, of the page with charts: one script, our own, named by the policy; data is data."""
    typed("watch", "--report", "watch.html")
    page = Page((typed.root / "watch.html").read_text(encoding="utf-8"))

    assert {tag for tag, _ in page.tags}.isdisjoint({"img", "iframe", "object", "form", "link"})
    assert not [name for _, given in page.tags for name in given if name.startswith("on")]
    kinds = [given.get("type") for tag, given in page.tags if tag == "script"]
    assert kinds == ["application/json", None]
    [policy] = [given["content"] for tag, given in page.tags if "http-equiv" in given]
    assert "'unsafe" not in policy
    assert "script-src 'sha256-" in policy


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


# What a caller sends


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
_BODIES = st.one_of(
    st.binary(max_size=80),
    _JSON.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(
        st.sampled_from(
            ["inputs", "instances", "dataframe_split", "dataframe_records", "params", "id",
             "outputs", "label", "key", "prediction_id", "observed_at", "parameters"]
        ),
        _JSON,
        max_size=3,
    ).map(lambda value: json.dumps(value).encode()),
)  # fmt: skip


def _failures(server) -> list[Any]:
    return [entry for entry in server.logged() if entry[0] == "e" and entry[3] >= 500]


@settings(max_examples=150)
@given(
    path=st.sampled_from(["/invocations", "/feedback", "/v2/models/hostile/infer"]),
    body=_BODIES,
    kind=st.sampled_from(["application/json", "text/csv", "application/octet-stream", "", "x/y"]),
    length=st.sampled_from(["", "0", "7", "99999999", "-1", "1e3"]),
)
def test_no_body_is_a_fault_of_the_servers(server, path, body, kind, length):
    """Malformed bodies, by chance: refused as the caller's."""
    more = {"Inference_Header_Content_Length": length} if length else {}

    status, answer = server.post(path, body, Content_Type=kind, **more)

    assert 200 <= status < 500, answer


def _row(server, **values: Any) -> dict[str, Any]:
    body = server.get(b"/v2/models/hostile").partition(b"\r\n\r\n")[2]
    return {one["name"]: None for one in json.loads(body)["inputs"]} | values


_LONE = "\\ud800"  # half of a pair, as JSON writes it: no UTF-8 can hold it


@pytest.mark.parametrize(
    "made",
    [
        '{"number": NaN, "{{7*7}}{% raw %}": "LONE"}',
        '{"number": NaN, "LONE": 1}',
        '{"number": 1NINES}',
        '{"number": -1NINES, "yaml": NaN}',
        '{"{{7*7}}{% raw %}": 1NINES}',
        '{"number": 1e999}',
        '{"number": Infinity}',
        '{"number": NaNNaN}',
        '{"number": "NaN',
        '{"when <b>": "99999-01-01"}',
        '{"when <b>": "0001-01-01T00:00:00+23:59"}',
        '{"when <b>": 1e300}',
    ],
)
def test_values_that_no_column_can_hold_are_the_callers_fault(server, made):
    """Texts and numbers beyond what is kept: a 4xx, or missing, and never a failure of ours."""
    made = made.replace("LONE", _LONE).replace("NINES", "9" * 400)
    whole = json.dumps(_row(server))
    before = len(_failures(server))

    for body in (
        f'{{"instances": [{whole[:-1]}, {made[1:]}]}}',
        f'{{"instances": [{made}]}}',
        f'{{"dataframe_split": {{"columns": ["{_LONE}", "{_LONE}"], "data": [[NaN, 1]]}}}}',
    ):
        status, answer = server.post("/invocations", body.encode())
        assert 200 <= status < 500, body[:200]
        json.loads(answer)
    assert len(_failures(server)) == before


@pytest.mark.parametrize("opened", ["[", '{"a":'])
def test_a_body_that_nests_without_end_is_the_callers_fault(server, opened):
    """Deep nesting: what could be read but not shown was counted as a failure of the server's."""
    whole = json.dumps(_row(server, number="DEEP"))
    before = len(_failures(server))

    for depth in (*range(900, 1010, 4), 100_000):
        closed = "]" if opened == "[" else "1}" + "}" * (depth - 1)
        deep = opened * depth + (closed * depth if opened == "[" else closed)
        for body in (whole.replace('"DEEP"', deep), deep):
            status, _ = server.post("/invocations", f'{{"instances": [{body}]}}'.encode())
            assert status == 400, depth
    assert len(_failures(server)) == before


def test_a_column_named_a_hundred_thousand_times_is_answered_at_once(server):
    """Work that grows with the square of the body: 40,000 names held the server for a minute."""
    names = ["a"] * 100_000

    status, answer = server.post(
        "/invocations", json.dumps({"dataframe_split": {"columns": names, "data": []}}).encode()
    )

    assert (status, b"more than once" in answer) == (400, True)


def test_orders_of_columns_that_callers_invent_fill_no_memory(trained):
    """What is remembered for speed is bounded in bytes, not only in number."""
    project = trained.typed.project()
    bundle = _bundle(project)
    inputs = Inputs(bundle.signature)
    known = [column.name for column in bundle.signature.inputs]

    tracemalloc.start()
    try:
        for place in range(8):
            inputs.layout((*known, *(f"{place} {other}" for other in range(20_000))))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < 2 * 2**20  # these eight are more than 10 MB


def _bundle(project) -> Bundle:
    version = project.registry.get("latest")
    return open_bundle(project.objects, project.keys, version.bundle, version.bundle_digest)


# HTTP itself


_POST = b"POST /feedback HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
_TRUE = b'{"prediction_id":"smuggled","label":"no <b>"}'


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"Content-Length: 4\r\nContent-Length: 45\r\n",
        b"Content-Length: +45\r\n",
        b"Content-Length: 0x2d\r\n",
        b"Content-Length: 45, 45\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"X: a\x00b\r\nContent-Length: 45\r\n",
        b"Content-Length: 45\r\nHost: evil.example\r\n",
        b"Content-Length: 45\r\nOrigin: http://evil.example\r\nOrigin: http://localhost\r\n",
        b"Content-Length: 45\r\nContent-Type: text/plain\r\n",
    ],
)
def test_a_request_that_reads_two_ways_is_refused_and_smuggles_nothing(server, head):
    """Request smuggling, and headers that whoever stands in front may read otherwise."""
    status = server.status(_POST + head + b"Connection: close\r\n\r\n" + _TRUE)

    assert status in {400, 403, 501}
    assert not [entry for entry in server.logged() if entry[0] == "f" and "smuggled" in str(entry)]


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET http://127.0.0.1:1/ HTTP/1.1", b"CONNECT 127.0.0.1:1 HTTP/1.1",
        b"GET //127.0.0.1:1/v2 HTTP/1.1", b"POST /ajax-api/2.0/mlflow/gateway-proxy HTTP/1.1",
        b"GET /proxy?url=http://127.0.0.1:1/ HTTP/1.1",
    ],
)  # fmt: skip
def test_nothing_is_fetched_for_a_caller(server, request_line):
    """A proxy that is open (CVE-2026-54745): no route has a place to go to."""
    with socket.create_server(("127.0.0.1", 0)) as bait:
        bait.settimeout(0.05)
        there = str(bait.getsockname()[1]).encode()
        line = request_line.replace(b"127.0.0.1:1", b"127.0.0.1:" + there)
        status = server.status(line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        with pytest.raises(TimeoutError):
            bait.accept()

    # A whole URL names this server's own path, as HTTP has it.
    assert status in {400, 404, 405} or line.startswith(b"GET http://")


def test_a_head_that_never_ends_is_cut_off(server):
    """Memory taken before anybody is asked for a token."""
    endless = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * (4 << 20)

    status = server.status(endless)

    assert status in {0, 400, 431}
    assert server.status(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") == 200


# Alerts


_FINDING: dict[str, Any] = {
    "id": "0", "project": "hostile", "environment": "dev", "version": 1, "kind": "drift",
    "metric": "psi", "value": 0.5, "limit": 0.2, "window": ("a", "b"), "rows": 9, "labels": None,
    "evidence": {}, "status": "open", "found_at": "c",
}  # fmt: skip


def _alert(names: tuple[str, ...]) -> Alert:
    said = tuple(Finding(subject=name, message=f"{name} has drifted", **_FINDING) for name in names)
    return Alert("hostile", "dev", 1, "drift", " and ".join(names), said)


@pytest.fixture
def hook() -> Iterator[tuple[str, list[bytes]]]:
    """A web server that keeps what it is sent, and sends readers elsewhere."""
    received: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(307 if self.path == "/away" else 200)
            self.send_header("Location", "http://169.254.169.254/latest/meta-data/")
            self.end_headers()
            self.wfile.write(b"inner secret")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_alert_with_hostile_names_is_one_json_text(trained, hook):
    """Names that wrote lines of their own (CVE-2026-44345): the body is read back as it was."""
    url, received = hook
    names = trained.names + trained.categories

    Webhook(url, private=True).send(_alert(names))

    [body] = received
    assert [one["subject"] for one in json.loads(body)["findings"]] == list(names)
    shown: list[str] = []
    Console(shown.append).send(_alert(names))
    assert len(shown) == 1 + len(names)
    assert all(line.isprintable() for line in shown)


def test_an_alert_follows_nothing_and_repeats_no_answer(hook):
    """A webhook that followed redirects and echoed what it found (CVE-2026-64849)."""
    url, received = hook

    with pytest.raises(ChannelError) as refused:
        Webhook(f"{url}/away", private=True).send(_alert(("a",)))

    assert len(received) == 1
    assert "inner" not in str(refused.value)
    assert "169.254" not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "::7f00:1", "::ffff:0:7f00:1", "64:ff9b:1::a9fe:a9fe", "64:ff9b::a9fe:a9fe", "fec0::1",
        "2002:a9fe:a9fe::", "2001:0:0:0:0:0:5601:5601", "5f00::1", "fd00:ec2::254",
        "fd20:ce::254", "168.63.129.16", "169.254.169.254", "ff02::1", "fe80::a9fe:a9fe%1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("private", [False, True])
def test_no_way_to_write_an_inner_address_is_connected_to(address, private):
    """Addresses checked by pattern, and another notation passes (CVE-2026-64849)."""

    def resolve(_host: str, port: int, **_: object) -> list[Any]:
        return [(10, 1, 6, "", (address, port))]

    with pytest.raises(ChannelError, match="where alerts may not go"):
        Webhook("https://hooks.example.com/", private=private, resolve=resolve).send(_alert(()))


# What is written and shown


def test_the_card_shows_hostile_names_as_text(trained):
    """Markdown is escaped by its own rules, and read back by a reader of Markdown."""
    project = trained.typed.project()
    bundle = _bundle(project)
    kept = {
        name: json.loads(bundle.file(name)) for name in ("snapshot.json", "run.json", "report.json")
    }
    hostile = " ".join(trained.names + trained.categories)
    problem = {
        "question": f"~~~\n{hostile}",
        "decision": hostile,
        "target": hostile,
        "owner": hostile,
    }
    worst = card(problem, *kept.values(), refusal=hostile)

    for text in (bundle.file("card.md").decode("utf-8"), worst):
        assert all(sign.isprintable() or sign == "\n" for sign in text)
        found = [
            token
            for block in MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
            for token in (block, *(block.children or ()))
        ]
        kinds = {token.type for token in found}
        assert kinds.isdisjoint({"html_block", "html_inline", "link_open", "image", "fence"})
        assert "heading_open" in kinds
    assert "{{7*7}}{% raw %}" in "".join(token.content for token in found if token.type == "text")


def test_the_readme_of_a_new_project_shows_its_target_as_code(trained, tmp_path):
    """A generated page of Markdown, with a target that is one of its own."""
    target = "``[x](javascript:alert(1)) <img src=x>"
    rows = "".join(f"{place * 7 % 13},{place % 2}\n" for place in range(60))
    (tmp_path / "data.csv").write_text(f"a,{target}\n{rows}")
    made = trained.typed("new", "other", "--data", str(tmp_path / "data.csv"), "--target", target,
                         "--dir", str(tmp_path))  # fmt: skip

    assert made.exit_code == 0, made.output
    text = (tmp_path / "other" / "README.md").read_text(encoding="utf-8")
    found = [t for block in MarkdownIt().parse(text) for t in (block.children or ())]
    assert target in [token.content for token in found if token.type == "code_inline"]
    assert not [token for token in found if token.type in {"link_open", "html_inline"}]


def test_making_a_project_and_running_it_drives_no_terminal(trained):
    """`new`, `check` and `run` show names of the data as text, in colour and all."""
    ours = re.sub(r"\x1b\[[0-9;]*m", "", trained.said)

    assert "\x1b[2J" not in trained.said
    assert not re.findall(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", ours)
    assert "not name: two" in ours.replace("\n", " ")  # else nothing hostile was shown


def test_a_refusal_drives_no_terminal(tmp_path, capsys, monkeypatch):
    """A message that quotes a file is shown as text too."""
    from loopline.cli import main as entry

    (tmp_path / "data.csv").write_text("a,\x1b]0;title\x07\x1b[2J,\x1b]0;title\x07\x1b[2J\n1,2,3\n")
    arguments = ["new", "x", "--data", str(tmp_path / "data.csv"), "--target", "a"]
    monkeypatch.setattr("sys.argv", ["loopline", *arguments])

    with pytest.raises(SystemExit) as ended:
        entry.main()

    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert "title" in told
    assert "\x1b" not in told
    assert "\x07" not in told


# Row SQL and other databases


@pytest.mark.parametrize(
    "sql",
    [
        "(select password from users)", "pg_read_file('/etc/passwd')", "load_extension('x')",
        "1; drop table events", "a -- b\n; attach 'x' as y", "read_csv('/etc/passwd')",
        "getenv('HOME')", "system('touch pwned')", "a in (select 1)", "exists (select 1)",
        "__import__('os')", "now()", "sum(a) over ()", "case when", "(" * 3000 + "1" + ")" * 3000,
    ],
)  # fmt: skip
def test_row_sql_is_rows_and_nothing_else(sql):
    """SQL from a file that reads files or runs commands: unknown to the one evaluator there is."""
    with pytest.raises(LooplineError):
        parse(sql, {"a": "number"})


def test_a_column_whose_name_is_sql_is_a_column(trained):
    """A name that closes a quote (injection): read as the name that it is."""
    for name in trained.names:
        quoted = '"' + name.replace('"', '""') + '"'
        expression = parse(f"{quoted} + 1", {name: "number"})
        assert evaluate(expression.steps, {name: np.array([1.0])}, 1).tolist() == [2.0]


@pytest.mark.parametrize(
    "pattern", ["%a%a%a%a%a%a%a%a%a%a%b", "%_%_%_%_%_%_%_%_b", "%" * 200 + "b"]
)
def test_a_pattern_that_searches_without_end_does_not(pattern):
    """A regular expression of the client's that backtracks: LIKE never searches twice."""
    expression = parse(f"c like '{pattern}'", {"c": "text"})
    texts = np.array(["a" * 3000], dtype=object)

    assert evaluate(expression.steps, {"c": texts}, 1).tolist() == [0.0]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cret@db/x", "postgresql://me:s3/cret@db/x", "postgresql://me:$s3cret@db/x",
        "postgresql://me:s3@cret@db/x", "postgresql://db/x?user=me&password=s3cret",
        "postgresql://db/x?sslpassword=s3cret", "mssql+pyodbc:///?odbc_connect=PWD%3Ds3cret",
        "snowflake://a/b?token=s3cret&x=1", "postgresql://m@e:s3cret@db/x", "bigquery://p?API_KEY=s3cret",
    ],
)  # fmt: skip
def test_a_password_in_a_sources_url_is_refused_however_it_is_written(tmp_path, url):
    """A secret that is written down: it would reach the ledger, the card and every message."""
    contract = {
        "project": "x",
        "problem": {"task": "binary", "target": "y"},
        "goals": [{"metric": "roc_auc", "at_least": 0.6}],
        "data": {"source": {"url": url, "query": "select 1"}},
    }
    (tmp_path / "loopline.yaml").write_text(json.dumps(contract))

    with pytest.raises(LooplineError, match="holds a password") as refused:
        load(tmp_path / "loopline.yaml")
    assert "s3" not in str(refused.value)
    assert "s3" not in describe({"url": url, "query": "select 1"})
    with pytest.raises(LooplineError) as failed:
        read_source({"url": url, "query": "select 1"}, tmp_path, Settings.read(tmp_path, {}))
    assert "s3" not in str(failed.value)


@pytest.mark.parametrize(
    "url",
    ["postgresql://me:${PW}@db/x", "postgresql://db:5432/x", "sqlite:///a.db?timeout=5",
     "postgresql://db/x?password=${PW}&sslkey=/etc/key"],
)  # fmt: skip
def test_a_url_without_a_secret_stays_as_it_is(url):
    """Else the refusals above would refuse everything."""
    assert not has_secret(url)
    assert without_secrets(url) == url


def test_settings_show_no_secret():
    """What is printed in a notebook or a trace."""
    given = {
        "LOOPLINE_TOKEN": "s3cret-token-of-the-server",
        "LOOPLINE_WEBHOOK": "https://hooks.example.com/s3cret",
        "LOOPLINE_DATABASE": "postgresql://me:s3cret@db/x",
    }

    assert "s3cret" not in repr(Settings.read(Path("/x"), given))
