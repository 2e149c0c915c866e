"""The callers of a soak, against servers that answer, cut off and answer wrongly."""

import asyncio
import io
from collections.abc import Callable

import pytest
from bench.callers import COLUMNS, Callers

from bench import callers

Served = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


def answer(version: str, outputs: str, status: str = "200 OK") -> bytes:
    body = f'{{"parameters":{{"prediction_ids":"id-{version}"}},"outputs":{outputs}'.encode()
    head = f"HTTP/1.1 {status}\r\nx-model-version: {version}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def asked(reader: asyncio.StreamReader) -> bytes | None:
    """Read one request; return its body, or None at the connection's end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    return await reader.readexactly(int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0]))


def ran(serve: Served, *, rate: float, seconds: float = 0.3, clients: int = 2) -> list[list[str]]:
    """Have callers ask `one` and `two`; return their lines."""
    file = io.StringIO()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)  # type: ignore[arg-type]
        port = server.sockets[0].getsockname()[1]
        expected = {"1": ["[1]}", "[2]}"]}
        made = Callers(port, "/infer", [b"one", b"two"], expected, file)
        await made.run(clients, rate, seconds)
        server.close()
        await asyncio.sleep(0.02)  # the server's side ends too
        assert made.asked == made.answered

    asyncio.run(main())
    return [line.split(",") for line in file.getvalue().splitlines()]


def outcomes(lines: list[list[str]]) -> set[str]:
    return {line[COLUMNS.index("outcome")] for line in lines}


async def _right(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while (body := await asked(reader)) is not None:
        writer.write(answer("1", "[1]}" if body == b"one" else "[2]}"))
    writer.close()


def test_every_answer_is_written_down_at_the_rate_that_is_wanted() -> None:
    lines = ran(_right, rate=100)

    assert 10 <= len(lines) <= 30
    for number, (_, taken, port, place, version, outcome, prediction) in enumerate(lines):
        assert 0 < int(taken) < 5_000_000
        assert int(port) > 1000
        assert (version, outcome, prediction) == ("1", "200", "id-1")
        assert int(place) in {number % 2, (number + 1) % 2}


def test_without_a_rate_they_ask_again_at_once_and_connections_are_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(callers, "PER_CONNECTION", 5)

    lines = ran(_right, rate=0)

    assert outcomes(lines) == {"200"}
    ports = [line[2] for line in lines]
    assert max(ports.count(port) for port in set(ports)) == 5


async def _wrong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await asked(reader) is not None:
        writer.write(answer("1", "[1]}"))
    writer.close()


def test_an_answer_with_the_values_of_another_row_is_wrong() -> None:
    lines = ran(_wrong, rate=100)

    assert {(line[3], line[5]) for line in lines} == {("0", "200"), ("1", "wrong")}


async def _cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    body = await asked(reader)
    if body == b"one":
        writer.write(answer("1", "[1]}", "503 Busy"))
        await asked(reader)
    writer.close()


def test_a_connection_that_is_cut_off_is_lost_and_replaced() -> None:
    lines = ran(_cut, rate=200, clients=1)

    assert len(lines) > 5
    assert outcomes(lines) == {"503", "lost"}


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


def test_who_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "_ANSWER_SECONDS", 0.1)

    assert outcomes(ran(_silent, rate=100)) == {"timeout"}
