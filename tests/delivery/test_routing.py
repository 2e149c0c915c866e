"""Where alerts go: Alertmanager's own tool reads it, and a real one delivers."""

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from loopline.contract.load import load
from loopline.contract.quiet import Quiet
from loopline.delivery.dashboards import ALERTMANAGER, PROMETHEUS, RULES, Wanted, write
from loopline.delivery.routing import _times, alertmanager

ALERTMANAGER_PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
CONTRACT = """
project: credit
problem: {task: binary, target: y}
goals: [{metric: roc_auc, at_least: 0.65}]
data: {source: x.csv}
monitor: {quiet: 22:00-07:00 Europe/Berlin}
"""


@pytest.fixture
def contract(tmp_path: Path):
    (tmp_path / "loopline.yaml").write_text(CONTRACT)
    return load(tmp_path / "loopline.yaml")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("12:00-13:30", [("12:00", "13:30")]),
        ("22:00-07:00", [("22:00", "24:00"), ("00:00", "07:00")]),
        ("22:00-00:00", [("22:00", "24:00")]),
    ],
)
def test_quiet_hours_over_midnight_are_two_stretches(written, expected):
    found = [(one["start_time"], one["end_time"]) for one in _times(Quiet.parse(written))]

    assert found == expected


def test_what_wakes_people_is_not_muted_at_night(contract):
    page, ticket = alertmanager(contract, None)["route"]["routes"]

    assert page["matchers"] == ['severity="page"']
    assert "mute_time_intervals" not in page
    assert ticket["mute_time_intervals"] == ["quiet"]


@pytest.mark.skipif(shutil.which("amtool") is None, reason="amtool is not installed")
@pytest.mark.parametrize("webhook", [None, "https://chat.example/x?a=b&c=d"])
def test_amtool_accepts_the_configuration(contract, tmp_path, webhook):
    write(contract, Wanted(webhook, has_dashboard=False), tmp_path)

    done = subprocess.run(
        ["amtool", "check-config", tmp_path / ALERTMANAGER], capture_output=True, check=False
    )

    assert done.returncode == 0, done.stderr


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def _running(*command: str | Path, log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen([str(part) for part in command], stdout=output, stderr=output)
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


@pytest.mark.skipif(
    shutil.which("prometheus") is None or ALERTMANAGER_PROGRAM is None,
    reason="prometheus or prometheus-alertmanager is not installed",
)
def test_a_missed_goal_comes_through_a_real_prometheus_and_alertmanager(contract, tmp_path):
    told: list[dict] = []
    gauges = (
        'loopline_goal_met{project="credit",environment="production",version="3",kind="goal",'
        'goal="roc_auc"} 0\n'
    )

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = gauges.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = f"127.0.0.1:{server.server_address[1]}"
    prometheus, router = _free_port(), _free_port()
    wanted = Wanted(
        f"http://{place}/hook", server="127.0.0.1:1", watcher=place, has_dashboard=False
    )
    write(contract, wanted, tmp_path)
    # The same files, but nobody waits for minutes, nor for the morning.
    for name, changes in {
        RULES: {"for: 5m": "for: 0s", "for: 2m": "for: 0s"},
        PROMETHEUS: {"15s": "1s", "127.0.0.1:9093": f"127.0.0.1:{router}"},
        ALERTMANAGER: {"30s": "1s", "5m": "1s", "22:00": "03:00", "24:00": "03:01",
                       "00:00": "03:02", "07:00": "03:03"},
    }.items():  # fmt: skip
        text = (tmp_path / name).read_text()
        for before, after in changes.items():
            assert before in text, (name, before)
            text = text.replace(before, after)
        (tmp_path / name).write_text(text)
    try:
        with (
            _running(
                str(ALERTMANAGER_PROGRAM), f"--config.file={tmp_path / ALERTMANAGER}",
                f"--storage.path={tmp_path / 'am'}", f"--web.listen-address=127.0.0.1:{router}",
                "--cluster.listen-address=", log=tmp_path / "am.log",
            ),
            _running(
                "prometheus", f"--config.file={tmp_path / PROMETHEUS}",
                f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{prometheus}", log=tmp_path / "prometheus.log",
            ),
        ):  # fmt: skip
            deadline = time.monotonic() + 60
            wanted_alerts = {"LooplineGoalMissed", "LooplineServerDown"}
            while time.monotonic() < deadline:
                names = {alert["labels"]["alertname"] for one in told for alert in one["alerts"]}
                if wanted_alerts <= names:
                    break
                time.sleep(0.2)
    finally:
        server.shutdown()
        server.server_close()

    alerts = {
        alert["labels"]["alertname"]: (one["receiver"], alert)
        for one in told
        for alert in one["alerts"]
    }
    assert wanted_alerts <= set(alerts), (tmp_path / "prometheus.log").read_text()[-2000:]
    receiver, missed = alerts["LooplineGoalMissed"]
    assert receiver == "loopline-credit-ticket"
    assert missed["annotations"]["summary"] == (
        "roc_auc of credit:3 in production is not as promised."
    )
    assert alerts["LooplineServerDown"][0] == "loopline-credit-page"
