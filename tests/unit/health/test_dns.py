"""The DNS probe against servers on loopback that answer well, badly, and not at all."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.config import DnsCheck, Endpoint
from edgenode.health.dns import LONGEST, MOST, STRAYS, DnsProbe
from edgenode.health.observation import Observation, ProbeFailedError

Answers = Callable[[bytes], list[bytes]]

NAME = "www.example.net"


def sockets() -> tuple[socket.socket, socket.socket]:
    """Of both transports, on one port that is free in both."""
    while True:
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind(("127.0.0.1", 0))
        try:
            return datagrams, socket.create_server(datagrams.getsockname())
        except OSError:
            datagrams.close()


@contextlib.contextmanager
def server(udp: Answers | None = None, tcp: Answers | None = None) -> Iterator[Endpoint]:
    """On one port of both transports: what it sends for a question; None: nothing, for ever."""
    datagrams, stream = sockets()
    port = datagrams.getsockname()[1]

    def serve_udp() -> None:
        while True:
            question, client = datagrams.recvfrom(4096)
            if not question:
                return
            for data in udp(question) if udp else ():
                datagrams.sendto(data, client)

    def serve_tcp() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = stream.accept()
                with connection, contextlib.suppress(OSError):
                    question = connection.recv(4096)[2:]
                    for data in tcp(question) if tcp else ():
                        connection.sendall(data)

    threads = [threading.Thread(target=run, daemon=True) for run in (serve_udp, serve_tcp)]
    for thread in threads:
        thread.start()
    try:
        yield Endpoint(ip_address("127.0.0.1"), port)
    finally:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", port))
        stream.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(5)
        datagrams.close()
        stream.close()


def answer(question: bytes, *records: str, rcode: str = "NOERROR", flags: int = 0) -> bytes:
    message = dns.message.make_response(dns.message.from_wire(question))
    message.set_rcode(dns.rcode.from_text(rcode))
    message.flags |= flags
    for record in records:
        owner, at, rest = record.rpartition("@")
        kind, data = rest.split(" ", 1)
        message.answer.append(
            dns.rrset.from_text(owner if at else f"{NAME}.", 60, "IN", kind, data)
        )
    return message.to_wire(max_size=65535)


def good(question: bytes) -> list[bytes]:
    return [answer(question, "A 192.0.2.7", "A 192.0.2.8")]


def framed(data: bytes) -> bytes:
    return len(data).to_bytes(2) + data


def check(endpoint: Endpoint | str = "127.0.0.1:53", **values: Any) -> DnsCheck:
    usual = {"name": "c", "type": "dns", "target": str(endpoint), "query": NAME, "timeout": 1.0}
    return DnsCheck.model_validate(usual | values)


async def ask(endpoint: Endpoint, **values: Any) -> Observation:
    return await DnsProbe(check(endpoint, **values))()


async def test_an_answer_over_udp() -> None:
    with server(good) as endpoint:
        seen = await ask(endpoint)
        assert seen.reason == f"A {NAME} at {endpoint}: NOERROR, 192.0.2.7, 192.0.2.8"
        assert seen.ok
        assert (await ask(endpoint, answers=["192.0.2.8", "192.0.2.7"])).ok
        seen = await ask(endpoint, answers=["192.0.2.9"])
        assert not seen.ok
        assert "NOERROR, without 192.0.2.9: 192.0.2.7, 192.0.2.8" in seen.reason


@pytest.mark.parametrize("recursion", [False, True])
async def test_the_question_is_a_resolvers_where_recursion_is_asked_for(recursion: bool) -> None:
    seen: list[dns.message.Message] = []

    def look(question: bytes) -> list[bytes]:
        seen.append(dns.message.from_wire(question))
        return good(question)

    with server(look) as endpoint:
        assert (await ask(endpoint, recursion=recursion)).ok
        assert (await ask(endpoint, recursion=recursion)).ok
    assert [bool(message.flags & dns.flags.RD) for message in seen] == [recursion] * 2
    assert seen[0].question == seen[1].question
    assert seen[0].payload == 1232


async def test_an_answer_over_tcp() -> None:
    with server(tcp=lambda question: [framed(data) for data in good(question)]) as endpoint:
        assert (await ask(endpoint, transport="tcp", answers=["192.0.2.7"])).ok


async def test_an_answer_that_comes_in_pieces() -> None:
    def pieces(question: bytes) -> Iterator[bytes]:
        data = framed(good(question)[0])
        yield data[:1]
        time.sleep(0.05)
        yield data[1:20]
        time.sleep(0.05)
        yield data[20:]

    with server(tcp=lambda question: list(pieces(question))) as endpoint:
        assert (await ask(endpoint, transport="tcp")).ok


async def test_what_is_cut_off_is_asked_again_over_tcp() -> None:
    def cut(question: bytes) -> list[bytes]:
        whole = answer(question, "A 192.0.2.7", flags=dns.flags.TC)
        return [whole[:-30]]  # in the middle of a record

    def whole(question: bytes) -> list[bytes]:
        return [framed(data) for data in good(question)]

    with server(cut, whole) as endpoint:
        assert (await ask(endpoint, answers=["192.0.2.7"])).ok
    with server(cut) as endpoint:
        seen = await ask(endpoint)
        assert not seen.ok
        assert "closed before the answer" in seen.reason


async def test_the_code_decides() -> None:
    with server(lambda question: [answer(question, rcode="NXDOMAIN")]) as endpoint:
        seen = await ask(endpoint)
        assert (seen.ok, seen.reason) == (False, f"A {NAME} at {endpoint}: NXDOMAIN")
        assert (await ask(endpoint, rcode="NXDOMAIN")).ok
    with server(lambda question: [answer(question)]) as endpoint:
        seen = await ask(endpoint)
        assert (seen.ok, "without a record of that type" in seen.reason) == (False, True)


async def test_a_record_behind_an_alias_and_one_that_is_spelled_otherwise() -> None:
    def both(question: bytes) -> list[bytes]:
        return [answer(question, "CNAME Origin.Example.NET.", "origin.example.net.@A 192.0.2.7")]

    with server(both) as endpoint:
        assert (await ask(endpoint, answers=["192.0.2.7"])).ok
    with server(both) as endpoint:
        assert (await ask(endpoint, record="cname", answers=["origin.example.net"])).ok


@pytest.mark.parametrize(
    "records",
    [
        ("other.example.net.@A 192.0.2.7",),
        ("CNAME a.example.net.", "b.example.net.@A 192.0.2.7"),
        ("CNAME a.example.net.", f"a.example.net.@CNAME {NAME}."),
    ],
)
async def test_a_record_of_another_name_is_no_answer(records: tuple[str, ...]) -> None:
    with server(lambda question: [answer(question, *records)]) as endpoint:
        seen = await ask(endpoint)
        assert (seen.ok, "without a record of that type" in seen.reason) == (False, True)


async def test_answers_to_others_questions_are_passed_over() -> None:
    def spoofed(question: bytes) -> list[bytes]:
        wrong_id = bytes([question[0] ^ 1]) + good(question)[0][1:]
        other = dns.message.make_query("other.example.net", "A", id=int.from_bytes(question[:2]))
        return [wrong_id, b"", b"x" * 5, answer(other.to_wire(), rcode="REFUSED")]

    with server(spoofed) as endpoint:
        seen = await ask(endpoint, timeout=0.3)
        assert (seen.ok, seen.timed) == (False, True)
    with server(lambda question: [*spoofed(question), *good(question)]) as endpoint:
        assert (await ask(endpoint)).ok
    with server(lambda question: spoofed(question) * STRAYS) as endpoint:
        seen = await ask(endpoint, timeout=5.0)
        assert f"{STRAYS} datagrams" in seen.reason


async def test_a_silent_server_is_a_timeout_and_a_closed_port_is_told_at_once(
    closed: Endpoint,
) -> None:
    with server() as endpoint:
        started = time.monotonic()
        seen = await ask(endpoint, timeout=0.2)
        assert (seen.ok, seen.timed) == (False, True)
        assert time.monotonic() - started < 0.5
    for transport in ("udp", "tcp"):
        seen = await ask(closed, transport=transport)
        assert (seen.ok, seen.timed) == (False, False)
        assert "refused" in seen.reason.lower()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_pointers_in_a_circle_and_other_rubbish(transport: str) -> None:
    def circle(question: bytes) -> bytes:
        head = question[:2] + bytes.fromhex("81800001000100000000")
        return head + question[12:-11] + bytes.fromhex("c02e 0001 0001 0000003c 0004 c0000207")

    def rubbish(question: bytes) -> bytes:
        return question[:2] + bytes.fromhex("81800001000500050005") + b"\xc0\x0c" * 500

    for make in (circle, rubbish):
        with server(lambda q: [make(q)], lambda q: [framed(make(q))]) as endpoint:  # noqa: B023
            seen = await ask(endpoint, transport=transport)
            assert not seen.ok
            assert "the answer is malformed" in seen.reason


async def test_a_flood_over_tcp_is_bounded() -> None:
    with server(tcp=lambda _: [b"\xff\xff" + bytes(65535)] * 100) as endpoint:
        seen = await ask(endpoint, transport="tcp")
        assert f"more than {LONGEST}" in seen.reason


def test_the_most_tiresome_answer_is_read_in_no_time() -> None:
    """Many records, each with names of a hundred labels behind pointers."""
    question = b"\x01a" * 120 + bytes.fromhex("00 0001 0001")
    record = bytes.fromhex("c00c 000c 0001 00000000 0002 c00c")
    for count, failed in ((MOST, False), (MOST + 1, True), (1000, True)):
        head = bytes.fromhex("0001 8180 0001") + count.to_bytes(2) + bytes(4)
        started = time.process_time()
        with pytest.raises(ProbeFailedError) if failed else contextlib.nullcontext():
            DnsProbe(check())._read(head + question + record * count)
        assert time.process_time() - started < 0.5


probe = DnsProbe(check())


@given(st.binary(max_size=300), st.booleans())
def test_whatever_comes_is_an_answer_a_failure_or_nothing(data: bytes, ours: bool) -> None:
    wire = probe._ask()
    if ours:
        data = wire[:2] + b"\x81\x80" + data
    with contextlib.suppress(ProbeFailedError):
        probe._read(data)
