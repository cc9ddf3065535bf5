"""The client against a fake BIRD that misbehaves on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from edgenode.bgp.client import (
    BURST,
    GIVE_WAY,
    BirdClient,
    BirdError,
    BirdRestricted,
    BirdUnavailable,
    BirdUnsupported,
)

Answer = Callable[[str], bytes | None]
PROBE = 'disable "edgenode probe"'


class FakeBird:
    """Greets, then answers each command with what `answer` gives; None: closes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.greeting = b"0001 BIRD 2.0.12 ready.\n"
        self.answer: Answer = lambda command: b"0000 \n"
        self.commands: list[str] = []
        self.largest = 0
        self.there = 0
        """Connections that have not ended."""
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))

    async def stop(self) -> None:
        assert self._server
        self._server.close()
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.there += 1
        try:
            await self._answer(reader, writer)
        finally:
            self.there -= 1

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.greeting)
        while data := await reader.read(65536):
            self.largest = max(self.largest, len(data))
            for command in data.decode().splitlines():
                if command == PROBE and self.answer(command) == b"0000 \n":
                    writer.write(b"8003 No protocols match\n")
                    continue
                self.commands.append(command)
                reply = self.answer(command)
                if reply is None:
                    writer.close()
                    return
                writer.write(reply)


@pytest.fixture
async def bird(tmp_path: Path) -> AsyncIterator[FakeBird]:
    fake = FakeBird(tmp_path / "bird.ctl")
    await fake.start()
    yield fake
    await fake.stop()


async def test_commands_are_answered_in_their_order(bird: FakeBird) -> None:
    bird.answer = lambda command: b"0000 " + command.encode() + b"\n"
    client = BirdClient(bird.path)
    assert await client.connect() == (2, 0, 12)
    assert client.connected
    replies = await client.ask_all([f"c{i}" for i in range(50)])
    assert [reply.text for reply in replies] == [f"c{i}" for i in range(50)]
    await client.close()
    assert not client.connected


async def test_two_that_connect_at_once_share_one_connection(bird: FakeBird) -> None:
    client = BirdClient(bird.path)
    await asyncio.gather(client.connect(), client.connect())
    assert client.connected
    await client.ask("show status")
    await asyncio.sleep(0.05)
    assert bird.there == 1


async def test_commands_go_out_in_bursts_that_bird_can_hold(bird: FakeBird) -> None:
    client = BirdClient(bird.path)
    await client.connect()
    await client.ask_all([f"enable group_{i}_v4_normal" for i in range(2000)])
    assert len(bird.commands) == 2000
    assert bird.largest <= BURST


async def test_a_refusal_is_an_error_and_the_others_are_carried_out(bird: FakeBird) -> None:
    bird.answer = lambda c: b"9001 syntax error\n" if c == "b" else b"0000 \n"
    client = BirdClient(bird.path)
    await client.connect()
    with pytest.raises(BirdError, match=r'refused "b": syntax error \(9001\)'):
        await client.ask_all(["a", "b", "c"])
    assert bird.commands[-3:] == ["a", "b", "c"]
    assert client.connected


@pytest.mark.parametrize("command", ["a\nb", "x" * BURST])
async def test_one_command_is_one_line(bird: FakeBird, command: str) -> None:
    client = BirdClient(bird.path)
    await client.connect()
    with pytest.raises(ValueError, match="no single command"):
        await client.ask(command)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"what?\n", "garbage"),
        (b"1002-half of", "did not answer"),
        (b"", "did not answer"),
        (None, "closed its control socket"),
    ],
)
async def test_a_connection_that_is_of_no_more_use_is_given_up(
    bird: FakeBird, answer: bytes | None, reason: str
) -> None:
    client = BirdClient(bird.path, timeout=0.2)
    await client.connect()
    bird.answer = lambda command: answer
    futures = client.submit(["show protocols", "show status"])
    assert reason in await asyncio.wait_for(client.wait_closed(), 2)
    assert not client.connected
    for future in futures:
        with pytest.raises(BirdUnavailable, match=reason):
            await future
    with pytest.raises(BirdUnavailable, match="no connection"):
        await client.ask("show status")
    bird.answer = lambda command: b"0000 \n"
    await client.connect()
    await client.ask("show status")


async def test_a_reply_that_nobody_asked_for_is_garbage(bird: FakeBird) -> None:
    client = BirdClient(bird.path)
    await client.connect()
    bird.answer = lambda command: b"0000 one\n0000 two\n"
    assert (await client.ask("show status")).text == "one"
    assert "nobody asked for" in await asyncio.wait_for(client.wait_closed(), 2)


async def test_a_reply_that_ends_in_the_middle_says_so(bird: FakeBird) -> None:
    client = BirdClient(bird.path)
    await client.connect()
    bird.answer = lambda c: b"1002-half\n" if c == "a" else None
    with pytest.raises(BirdUnavailable, match="in the middle of a reply"):
        await client.ask_all(["a", "b"])


async def test_a_bird_at_rest_that_is_told_something_urgent_has_the_core(
    bird: FakeBird, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has something to do already is not waited for."""
    slept: list[float] = []
    monkeypatch.setattr("edgenode.bgp.client.select.select", lambda *args: slept.append(args[3]))
    client = BirdClient(bird.path)
    await client.connect()
    await client.ask("show status")
    assert slept == []
    first = client.submit(["a", "b"], urgent=True)
    assert slept == [GIVE_WAY]
    await asyncio.gather(*first, *client.submit(["c"], urgent=True))
    assert slept == [GIVE_WAY]


async def test_a_waiter_that_gives_up_does_not_shift_the_replies(bird: FakeBird) -> None:
    bird.answer = lambda command: b"0000 " + command.encode() + b"\n"
    client = BirdClient(bird.path)
    await client.connect()
    first, second = client.submit(["a", "b"])
    first.cancel()
    assert (await second).text == "b"


@pytest.mark.parametrize(
    ("greeting", "error", "text"),
    [
        (b"0001 BIRD 2.0.11 ready.\n", BirdUnsupported, "install 2.0.12 or newer"),
        (b"0001 BIRD 1.6.8 ready.\n", BirdUnsupported, "BIRD 1.6.8 is not supported"),
        (b"0001 BIRD 4.0 ready.\n", BirdUnsupported, "older than 4"),
        (b"0001 GIRD\n", BirdUnavailable, "does not greet like BIRD"),
        (b"220 mail ESMTP\n", BirdUnavailable, "garbage"),
        (b"", BirdUnavailable, "did not answer"),
    ],
)
async def test_who_is_not_spoken_with(
    bird: FakeBird, greeting: bytes, error: type[Exception], text: str
) -> None:
    bird.greeting = greeting
    client = BirdClient(bird.path, timeout=0.2)
    with pytest.raises(error, match=text):
        await client.connect()
    assert not client.connected


@pytest.mark.parametrize("version", [b"2.17.6", b"3.1.8", b"2.0.12", b"v2.16-dev-12"])
async def test_who_is(bird: FakeBird, version: bytes) -> None:
    bird.greeting = b"0001 BIRD %s ready.\n" % version
    await BirdClient(bird.path).connect()


async def test_a_socket_for_looking_only(bird: FakeBird) -> None:
    bird.answer = lambda c: b"8007 Access denied\n" if c == PROBE else b"0000 \n"
    with pytest.raises(BirdRestricted, match=r"set bgp\.socket"):
        await BirdClient(bird.path).connect()


async def test_no_socket_and_nobody_at_it(tmp_path: Path, bird: FakeBird) -> None:
    with pytest.raises(BirdUnavailable, match="is not there: start BIRD"):
        await BirdClient(tmp_path / "none.ctl").connect()
    await bird.stop()
    await asyncio.sleep(0)
    with pytest.raises(BirdUnavailable, match="start BIRD"):
        await BirdClient(bird.path).connect()
