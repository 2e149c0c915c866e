"""Findings in a real Alertmanager: one alert a finding, ended when it has passed."""

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loopline.errors import ChannelError, SettingError
from loopline.monitoring.channels.alertmanager import Alertmanager
from loopline.monitoring.channels.base import Alert
from loopline.monitoring.findings import Finding

PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")


@pytest.fixture
def router(tmp_path: Path) -> Iterator[str]:
    if PROGRAM is None:
        pytest.skip("prometheus-alertmanager is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "am.yaml"
    config.write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    with (tmp_path / "am.log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, f"--config.file={config}", f"--storage.path={tmp_path / 'data'}",
             f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="],
            stdout=log, stderr=log,
        )  # fmt: skip
        try:
            for _ in range(300):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def shown(router: str) -> list[dict]:
    with urllib.request.urlopen(f"{router}/api/v2/alerts?active=true", timeout=10) as answer:
        found: list[dict] = json.loads(answer.read())
    return found


def told(finding: Finding, at: datetime, **more: object) -> Alert:
    return Alert("credit", "production", 3, "drift", "two\nlines", (finding,), at=at.isoformat(),
                 **more)  # type: ignore[arg-type]  # fmt: skip


def test_a_finding_is_one_alert_however_often_it_is_told_and_ends_when_it_has_passed(
    router: str, finding: Callable[..., Finding]
) -> None:
    now = datetime.now(UTC)
    began = (now - timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    one = finding(found_at=began, subject='a "b"\nc', message="it drifted")
    other = finding(found_at=began, subject="latency_p99", kind="service")
    channel = Alertmanager(f"{router}/")

    channel.send(told(one, now))
    channel.send(told(one, now + timedelta(seconds=1), is_urgent=True))
    channel.send(told(other, now))
    firing = {alert["labels"]["subject"]: alert for alert in shown(router)}
    ended = Alert("credit", "production", 3, "", "passed", (), at=datetime.now(UTC).isoformat(),
                  passed=(replace(one, status="resolved"),))  # fmt: skip
    channel.send(ended)
    for _ in range(50):  # it is ended at this very moment, and a moment later not shown
        if len(shown(router)) == 1:
            break
        time.sleep(0.1)

    assert set(firing) == {'a "b" c', "latency_p99"}
    first = firing['a "b" c']
    assert first["labels"]["alertname"] == "LooplineDrift"
    assert first["labels"]["severity"] == "ticket"
    assert first["annotations"]["summary"] == "it drifted"
    assert first["startsAt"][:16] == began[:16]
    assert firing["latency_p99"]["labels"]["severity"] == "page"
    assert [alert["labels"]["subject"] for alert in shown(router)] == ["latency_p99"]


def test_an_address_with_credentials_of_machines_is_not_posted_to(
    finding: Callable[..., Finding],
) -> None:
    channel = Alertmanager("http://169.254.169.254:9093")

    with pytest.raises(ChannelError, match="where alerts may not go"):
        channel.send(told(finding(), datetime.now(UTC)))


def test_a_url_that_is_none_names_its_setting() -> None:
    with pytest.raises(SettingError, match="LOOPLINE_ALERTMANAGER must be https or http"):
        Alertmanager("file:///etc/passwd")
