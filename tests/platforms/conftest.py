"""A runner of containers that runs none: it remembers, and answers where one would."""

import sys
from pathlib import Path

import pytest

_PODMAN = """#!{python}
import json, os, signal, subprocess, sys
from pathlib import Path

state = Path({state!r})
verb, *words = sys.argv[1:]
if verb == "container":
    verb, *words = words
name = next((w.partition("=")[2] for w in words if w.startswith("--name=")), words[-1])
place = state / (name + ".json")

def running(pid):
    about = Path(f"/proc/{{pid}}/stat")
    return about.exists() and " Z " not in about.read_text()

def given(option):
    found = (word.partition("=")[2] for word in words if word.startswith(option))
    return dict(one.partition("=")[::2] for one in found)

if verb == "run":
    (state / "called.json").write_text(json.dumps([words, os.environ.get("LOOPLINE_TOKEN")]))
    if words[-1] == "no-such-image":
        sys.exit("Error: no-such-image: image not known")
    if place.exists():
        sys.exit("Error: the name is in use")
    variables, labels = given("--env="), given("--label=")
    serve = '''
import http.server, sys
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).serve_forever()
'''
    code = "raise SystemExit('no model')" if words[-1] == "broken" else serve
    log = (state / (name + ".log")).open("w")
    child = subprocess.Popen(
        [sys.executable, "-c", code, variables["PORT"]], stdout=log, stderr=log,
        start_new_session=True,
    )
    place.write_text(json.dumps({{"pid": child.pid, "labels": labels}}))
elif not place.exists():
    sys.exit("Error: no such container")
else:
    about = json.loads(place.read_text())
    if verb == "inspect" and "--format" in words:
        print("true" if running(about["pid"]) else "false")
    elif verb == "inspect":
        print(json.dumps([{{"Config": {{"Labels": about["labels"]}}}}]))
    elif verb == "logs":
        print((state / (name + ".log")).read_text())
    elif verb in ("stop", "rm"):
        if running(about["pid"]):
            os.kill(about["pid"], signal.SIGKILL)
        if verb == "rm":
            place.unlink()
"""


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the runner remembers; it is called podman, and the only one on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    kept = tmp_path / "containers"
    kept.mkdir()
    runner = folder / "podman"
    runner.write_text(_PODMAN.format(python=sys.executable, state=str(kept)))
    runner.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return kept
