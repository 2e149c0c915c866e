"""THREATS, paths, files and archives: no string from outside becomes a place in the file system.

Each test names the class of hole and the public records of it in other systems.
"""

import ast
import contextlib
import gzip
import io
import json
import re
import stat
import zipfile
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import loopline
from loopline.contract.load import load
from loopline.data import packed
from loopline.data.sources.base import read_source
from loopline.errors import ContractError, LooplineError, StoreError
from loopline.serving.app import ROUTES
from loopline.settings import Settings
from loopline.store.objects import Objects

HOSTILE = [
    "..", "../..", "../../../../etc/passwd", "..\\..\\windows\\win.ini", "/etc/passwd",
    "//etc/passwd", "//proc/self/environ", "C:\\windows\\win.ini", "C:/windows/win.ini",
    "\\\\host\\share", "file:///etc/passwd", "file://./etc/passwd", "file:/etc/passwd",
    "http://127.0.0.1/", "%2e%2e/%2e%2e/etc/passwd", "%2e%2e%2fetc%2fpasswd",
    "%252e%252e%252fetc%252fpasswd", "..%5c..%5cwin.ini", "..%c0%af..%c0%afetc", "..;/..;/etc",
    "hostile;/../../etc", "hostile;x=1", "hostile%3b", "hostile#/../..", "hostile%23", "hostile?x",
    "hostile%3f", "hostile%00", "hostile%00.json", "%00", "hostile/", "hostile//", ".", "%20",
    "hostile%0d%0aSet-Cookie:x", "%ff%fe", "%", "%zz", "~root", "$HOME", "*", "-",
]  # fmt: skip
NO_NAMES = [
    "..", "../x", "a/b", "a\\b", "/abs", "C:x", ".", "", "a b", "a;b", "a#b", "a?b", "a%2fb", "A",
    "a\nb", "a\x00b", "\u202ea", "-a", "a-", "a" * 65, "file:x", "$(x)", "é",
]  # fmt: skip


def _is_served(target: str) -> bool:
    """Whether a target, decoded once and without query and fragment, is a route's very path."""
    path = unquote(re.split("[?#]", target, maxsplit=1)[0])
    known = {route.path.replace("{model}", "hostile").replace("{version}", "1") for route in ROUTES}
    return path in known


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_no_spelling_of_a_path_reaches_what_is_no_route(server, trained, route):
    """A client's path joined to a root; decoded twice; `;` and `#` that smuggle one.

    CVE-2023-1177, 1176, 2356, 2780, 30172, 3765, 6831, 6909, 6977; CVE-2024-1560; CVE-2024-1593,
    1483, 2928. What is asked for is a route or nothing; no answer holds a file of the project.
    """
    plain = route.path.replace("{model}", "hostile").replace("{version}", "1")
    targets = [plain.rstrip("/") + "/" + hostile for hostile in HOSTILE]
    for parameter, other in (("{model}", "hostile"), ("{version}", "1")):
        if parameter in route.path:
            shape = route.path.replace(parameter, "\0").replace("{model}", "hostile")
            targets += [shape.replace("{version}", other).replace("\0", one) for one in HOSTILE]

    for target in targets:
        answer = server.get(target.encode(), route.method.encode())
        status = int(answer.split(b" ", 2)[1])
        assert status < 500, target
        assert status >= 400 or _is_served(target), target
        assert trained.secret.encode() not in answer, target
        assert b"root:" not in answer, target
        assert b"set-cookie" not in answer.partition(b"\r\n\r\n")[0].lower(), target


@settings(max_examples=150)
@given(st.binary(min_size=1, max_size=60).map(lambda raw: b"/" + re.sub(rb"[\r\n ]", b"", raw)))
@example(b"/v2/models/hostile/versions/" + b"9" * 5000)
@example(b"/v2/models/hostile/versions/1%0a")
@example("/v2/models/hostile/versions/\u0661".encode())
def test_any_bytes_as_a_target_are_answered_and_fail_nothing(server, target):
    """The same classes, by chance: never a fault of the server's."""
    status = server.status(
        b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )

    assert 200 <= status < 500


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_name_that_is_none_is_refused_by_the_command_line(typed, fingerprint, name):
    """A version, environment, project or id that became a path (CVE-2023-6831, CVE-2026-53995)."""
    before = fingerprint(typed.root)
    commands = [
        ("model", "show", "--", name or " "),
        ("model", "promote", "1", f"--to={name}"),
        ("model", "rollback", f"--env={name or ' '}", "--why=x"),
        ("model", "approve", f"--env={name}", "--", name or " "),
        ("model", "lineage", "--", name or " "),
        ("serve", "--port=0", f"--env={name}"),
        ("new", "--data", "x.csv", "--target", "y", "--", name),
    ]

    for command in commands:
        done = typed(*command)
        assert done.exit_code != 0, command
        assert isinstance(done.exception, LooplineError | SystemExit), (command, done.exception)
    assert fingerprint(typed.root) == before


@pytest.mark.parametrize("name", [name for name in NO_NAMES if name])
def test_a_project_or_environment_that_is_no_name_is_refused_in_the_contract(tmp_path, name):
    """An id of the client's that became a folder (CVE-2026-53995)."""
    for project, environment in ((name, "dev"), ("fine", name)):
        (tmp_path / "loopline.yaml").write_text(
            json.dumps(
                {
                    "project": project,
                    "problem": {"task": "binary", "target": "y"},
                    "goals": [{"metric": "roc_auc", "at_least": 0.6}],
                    "data": {"source": "x.csv"},
                    "environments": {"dev": {}, environment: {}},
                }
            )
        )
        with pytest.raises(ContractError):
            load(tmp_path / "loopline.yaml")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.one_of(st.sampled_from(HOSTILE), st.text(max_size=30)))
@example(key="a/../../b")
@example(key="a\n")
@example(key="...")
def test_a_key_of_the_store_never_leaves_it(tmp_path, key):
    """The client chooses where the server writes (CVE-2025-11201, CVE-2026-2033)."""
    store = tmp_path / "inner" / "store"
    try:
        Objects(store.as_uri()).put(key, b"x")
    except StoreError:
        written = []
    else:
        written = [store / key]

    found = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert set(written) <= found
    assert all(path.resolve().is_relative_to(store.resolve()) for path in found)


@pytest.mark.parametrize(
    "url",
    [
        "file:relative", "file://./etc", "file://host/etc", "file:///a/../../etc", "http://x/y",
        "gopher://x/y", "s3://b/../c", "s3://", "file:///a?b", "file:///a#b", "s3://key:pass@b/c",
        "FILE:///a\n", "memory://x", "jar:file:///x!/", "az://c/p?sig=s3cret", "",
    ],
)  # fmt: skip
def test_a_store_is_a_folder_or_one_of_a_few_schemes(url):
    """A scheme with a relative path (CVE-2024-8859); what is refused is not repeated."""
    with pytest.raises(StoreError) as refused:
        Objects(url)

    assert "s3cret" not in str(refused.value)
    assert "pass@" not in str(refused.value)


@pytest.mark.parametrize(
    "source",
    ["file:///etc/passwd", "http://127.0.0.1/x.csv", "https://x/y", "gopher://x", "ftp://x/y.csv"],
)
def test_a_source_of_another_scheme_is_refused(tmp_path, source):
    """Schemes that lead elsewhere (CVE-2024-1593, 8859)."""
    with pytest.raises(LooplineError):
        read_source(source, tmp_path, Settings.read(tmp_path, {}))


@pytest.mark.parametrize("file", ["../evil.py", "{outside}/evil.py", "link.py", "link/evil.py"])
def test_a_model_file_outside_of_the_project_is_not_run(typed, tmp_path, file):
    """A path in a manifest that leaves the project, also through a link (CVE-2024-1483)."""
    outside = tmp_path / "outside"
    outside.mkdir()
    for folder in (outside, tmp_path):
        (folder / "evil.py").write_text("open('it ran', 'w')\ndef build(): return None\n")
    (typed.root / "link.py").symlink_to(outside / "evil.py")
    (typed.root / "link").symlink_to(outside)
    contract = (typed.root / "loopline.yaml").read_text(encoding="utf-8")
    where = f"{file.format(outside=outside)}:build"
    contract = re.sub(r"candidates: .*", lambda _: f"train: {where}", contract)
    (typed.root / "loopline.yaml").write_text(contract, encoding="utf-8")

    checked, ran = typed("check"), typed("run")

    assert (checked.exit_code, ran.exit_code) == (1, 1)
    assert not (typed.root / "it ran").exists()


def test_ids_of_callers_name_no_file(typed, serve):
    """A trace id became a directory name (CVE-2026-53995).

    Nor does anything that a caller may say make a segment wait: others' predictions are in it.
    """
    odd = [None, 1e308, "0001-01-01", "9999-12-31T23:59:59Z", "x" * 5000, "\x00\n", True]
    with serve(typed, "--log", "durable") as server:
        metadata = server.get(b"/v2/models/hostile").partition(b"\r\n\r\n")[2]
        names = [one["name"] for one in json.loads(metadata)["inputs"]]
        for hostile in HOSTILE:
            tensors = [
                {"name": name, "datatype": "BYTES", "shape": [1], "data": [None]} for name in names
            ]
            body = json.dumps({"id": hostile, "inputs": tensors}).encode()
            status, content = server.post("/v2/models/hostile/infer", body)
            assert (status, json.loads(content)["id"]) == (200, hostile)
            outcome = {"prediction_id": hostile, "label": "no <b>", "observed_at": "9999-12-31"}
            assert server.post("/feedback", json.dumps(outcome).encode())[0] == 200
        rows = [{**dict.fromkeys(names), name: value} for name in names for value in odd]
        statuses = [
            server.post("/invocations", json.dumps({"instances": [row]}).encode())[0]
            for row in rows
        ]
        assert set(statuses) == {200, 400}
    before = {path.relative_to(typed.root) for path in typed.root.parent.rglob("*")}
    looked = typed("watch", "--once", "--json")

    assert looked.exit_code == 0, looked.output
    folded = json.loads(looked.output)["folded"]
    assert folded["predictions"] == len(HOSTILE) + statuses.count(200)
    assert folded["labels"] == len(HOSTILE)
    assert folded["held"] == {}
    new = {path.relative_to(typed.root) for path in typed.root.parent.rglob("*")} - before
    assert {path.parts[:2] for path in new} <= {
        (".loopline", part) for part in ("store", "heads", "loopline.db-wal", "loopline.db-shm")
    }


def _zip(*members: tuple[str, bytes], link: str = "") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
        if link:
            member = zipfile.ZipInfo("data.csv")
            member.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(member, link)
    return made.getvalue()


_TABLE = b"a,b\n1,x\n2,y\n"


@pytest.mark.parametrize(
    "name",
    [
        "../../evil.csv",
        "/etc/evil.csv",
        "..\\..\\evil.csv",
        "C:\\evil.csv",
        "a/../../b.csv",
        "\u202e.csv",
    ],
)
def test_a_member_of_an_archive_is_never_written_anywhere(tmp_path, fingerprint, name):
    """An archive extracted unchecked (CVE-2025-15031): its names decide nothing here."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "data.zip").write_bytes(_zip((name, _TABLE)))
    before = fingerprint(tmp_path)

    rows = read_source("data.zip", folder, Settings.read(folder, {})).rows()

    assert rows == [("1", "x"), ("2", "y")]
    assert fingerprint(tmp_path) == before


@pytest.mark.parametrize(
    "content",
    [
        _zip(("a.csv", _TABLE), ("../../b.csv", _TABLE)),
        _zip(),
        _zip(("folder/", b"")),
        _zip(link="/etc/passwd"),
        _zip(("a.csv", _TABLE))[:-30],
        gzip.compress(_TABLE)[:-9],
        b"\x28\xb5\x2f\xfd" + b"\0" * 40,
        _zip(("inner.zip", _zip(("a.csv", _TABLE)))),
    ],
    ids=["several", "none", "folder", "link", "cut zip", "cut gzip", "no zstd", "nested"],
)
def test_an_archive_that_is_no_file_of_data_is_refused(tmp_path, fingerprint, content):
    """Links, several members, nested and broken archives (CVE-2025-15031)."""
    (tmp_path / "data.zip").write_bytes(content)
    before = fingerprint(tmp_path)

    with pytest.raises(LooplineError) as refused:
        read_source("data.zip", tmp_path, Settings.read(tmp_path, {}))

    assert "root:" not in str(refused.value)
    assert fingerprint(tmp_path) == before


@pytest.mark.parametrize("kind", ["zip", "gzip"])
def test_an_archive_far_larger_than_its_file_is_refused_before_it_fills_the_memory(
    tmp_path, monkeypatch, kind
):
    """A bomb (CVE-2025-15031): bounded while it is unpacked, whatever its header says."""
    zeros = b"\0" * (8 << 20)
    monkeypatch.setattr(packed, "_ALWAYS_FINE", 1 << 20)
    content = _zip(("a.csv", zeros)) if kind == "zip" else gzip.compress(zeros)
    (tmp_path / "data.csv").write_bytes(content)

    with pytest.raises(LooplineError, match="unpacks to more than"):
        read_source("data.csv", tmp_path, Settings.read(tmp_path, {}))


def _parquet() -> bytes:
    import polars as pl

    made = io.BytesIO()
    pl.DataFrame({"a": [1, 2], "b": ["x", "y"]}).write_parquet(made)
    return made.getvalue()


_WHOLE = {
    "zip": _zip(("a.csv", _TABLE)),
    "gzip": gzip.compress(_TABLE, mtime=0),
    "parquet": _parquet(),
    "csv": _TABLE,
    "jsonl": b'{"a": 1}\n{"a": 2}\n',
}


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(sorted(_WHOLE)),
    place=st.integers(0, 2000),
    wrong=st.binary(min_size=1, max_size=8),
)
def test_a_damaged_file_is_read_or_refused_and_nothing_else(tmp_path, kind, place, wrong):
    """Hostile files: a clear refusal, and no other error (CVE-2025-15031)."""
    whole = _WHOLE[kind]
    place %= len(whole)
    (tmp_path / "data").write_bytes(whole[:place] + wrong + whole[place + len(wrong) :])

    with contextlib.suppress(LooplineError):
        read_source("data", tmp_path, Settings.read(tmp_path, {}))


@pytest.mark.parametrize("name", ["*", "^.*$", "^a$"])
def test_a_column_that_reads_as_a_pattern_is_refused(tmp_path, name):
    """A name of the client's that stands for others: personal columns could enter a model by it."""
    (tmp_path / "data.csv").write_text(f"a,{name}\n1,2\n")

    with pytest.raises(LooplineError, match="reads as a pattern"):
        read_source("data.csv", tmp_path, Settings.read(tmp_path, {}))


_BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 10)}]\n" for n in range(9)
)


@pytest.mark.parametrize(
    "text",
    [
        "project: !!python/object/apply:os.system ['touch pwned']",
        "!!python/object/new:subprocess.Popen [[touch, pwned]]",
        "project: !!python/name:os.system",
        _BOMB,
        "a: &a {b: *a}",
        "[" * 600,
        "a: " + "{b: " * 5_000,
        "\n".join(" " * n + "a:" for n in range(3_000)),
        "- " * 20_000,
        "project: a\nproject: b",
        "project: a\x00b",
        "project: \x1b[2J",
        "? [a, b]\n: c",
        "%YAML 9.9\n---\nproject: a",
        "project: a\n--- \nproject: b",
        "x: " + "y" * 2_000_001,
        "<<: {project: a}",
        "project: !!binary aGVsbG8=",
        "n: !!int " + "9" * 5000,
        "n: " + "9" * 5000,
        "n: 1e999999999",
        "n: 2013-99-99",
        "\ufeff\ufeffproject: a",
    ],
    ids=range(23),
)
def test_a_hostile_contract_is_refused_with_its_faults(typed, fingerprint, text):
    """YAML that makes objects, or never ends (CVE-2024-37052's family)."""
    (typed.root / "loopline.yaml").write_text(text, encoding="utf-8")
    before = fingerprint(typed.root)

    for command in (["check"], ["run"], ["serve", "--port", "0", "--env", "nowhere"], ["status"]):
        done = typed(*command)
        assert done.exit_code != 0
        assert isinstance(done.exception, LooplineError | SystemExit), (command, done.exception)

    assert fingerprint(typed.root) == before
    assert not (typed.root / "pwned").exists()


_UNGUESSABLE = {"tempfile.mkstemp", "tempfile.mkdtemp", "tempfile.TemporaryDirectory"}


def test_no_temporary_file_has_a_name_that_can_be_guessed():
    """A guessable temporary file (CVE-2022-0736): drafts come from `tempfile`, none names /tmp."""
    folder = Path(loopline.__file__).parent
    for path in folder.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                name = f"{node.value.id}.{node.attr}"
                assert not name.startswith("tempfile.") or name in _UNGUESSABLE, path
                assert name not in {"os.tempnam", "os.tmpnam"}, path
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not node.value.startswith(("/tmp", "/var/tmp")), path


def test_what_lies_in_the_way_of_a_written_key_is_not_followed(tmp_path):
    """A link where a file is to be (CVE-2022-0736's other half): replaced, not written through."""
    target = tmp_path / "precious"
    target.write_text("as it was")
    store = tmp_path / "store"
    (store / "a").mkdir(parents=True)
    (store / "a" / "b").symlink_to(target)

    Objects(store.as_uri()).put("a/b", b"new")

    assert target.read_text() == "as it was"
    assert (store / "a" / "b").read_bytes() == b"new"
