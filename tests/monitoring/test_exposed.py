"""The gauges on a port of this machine, and in a file."""

import http.client
import stat
from pathlib import Path

import pytest

from loopline.errors import SettingError, StoreError
from loopline.monitoring.exposed import Exposed


def get(port: int, path: str = "/metrics", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_port_shows_what_was_shown_last_and_nothing_else():
    with Exposed(port=0) as exposed:
        assert exposed.port is not None
        assert get(exposed.port) == (200, b"")
        exposed.show(b"loopline_a 1\n")
        exposed.show(b"loopline_a 2\n")

        assert get(exposed.port) == (200, b"loopline_a 2\n")
        assert get(exposed.port, "/metrics?x=1")[0] == 200
        assert get(exposed.port, "/../etc/passwd")[0] == 404
        assert get(exposed.port, "/")[0] == 404


def test_a_page_that_gave_this_machine_a_name_of_its_own_reads_nothing():
    """DNS rebinding: the browser connects here, and names another host."""
    with Exposed(port=0) as exposed:
        exposed.show(b"secret 1\n")
        assert exposed.port is not None

        status, body = get(exposed.port, Host="attacker.example")

    assert status == 421
    assert b"secret" not in body


def test_a_port_that_is_taken_is_one_clear_error_and_a_closed_one_is_free_again():
    with Exposed(port=0) as first:
        assert first.port is not None
        taken = first.port
        with pytest.raises(SettingError, match=rf"127\.0\.0\.1:{taken}: .*--metrics-port"):
            Exposed(port=taken)
    with Exposed(port=taken) as again:
        assert again.port == taken


def test_a_file_is_replaced_whole_and_readable_by_others(tmp_path: Path):
    file = tmp_path / "loopline.prom"
    exposed = Exposed(file=file)

    exposed.show(b"loopline_a 1\n")
    first = file.stat().st_ino
    exposed.show(b"loopline_a 2\n")

    assert file.read_bytes() == b"loopline_a 2\n"
    assert file.stat().st_ino != first
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["loopline.prom"]
    assert exposed.port is None


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path):
    with pytest.raises(StoreError, match=r"none/loopline\.prom: No such file"):
        Exposed(file=tmp_path / "none" / "loopline.prom").show(b"")
