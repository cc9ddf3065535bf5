"""Hellos made by hand and by real clients, whole, in pieces, cut off and spoiled."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgenode.steering.hello import LIMIT, Bad, Hello, Outcome, Reader, Unfinished
from tests.unit.steering.hellos import (
    ALPN,
    ECH,
    GREASE,
    SERVER_NAME,
    alpn,
    body,
    hello,
    message,
    records,
    server_name,
    vector,
)

names = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,60}[a-z0-9])?", fullmatch=True)
protocols = st.lists(st.from_regex(r"[!-~]{1,20}", fullmatch=True), max_size=5)


def read(data: bytes) -> Outcome:
    return Reader().read(data)


def with_extensions(*extensions: tuple[int, bytes]) -> Outcome:
    return read(records(message(body(extensions))))


@given(names, protocols, st.sampled_from((32, 1216, 3000)), st.integers(1, 2000))
def test_what_is_asked_for_is_found(name: str, offered: list[str], key: int, record: int) -> None:
    """Also with a post-quantum key, and over any number of records."""
    data = hello(name, offered, key, record)
    if len(data) <= LIMIT:
        assert read(data) == Hello(name, tuple(offered))


@given(st.sampled_from((32, 1216)), st.integers(1, 500), st.data())
def test_any_split_gives_the_same(key: int, record: int, data: st.DataObject) -> None:
    whole = hello("a.example.net", ["h2"], key, record) + b"early data"
    reader, at = Reader(), 0
    found: Outcome = Unfinished.MORE
    while found is Unfinished.MORE:
        at += data.draw(st.integers(1, 400))
        found = reader.read(whole[:at])
    assert found == Hello("a.example.net", ("h2",))


@pytest.mark.parametrize("record", [7, 2**14])
def test_cut_off_at_any_byte_it_asks_for_more(record: int) -> None:
    whole = hello("a.example.net", ["h2", "http/1.1"], record=record)
    reader = Reader()
    for end in range(len(whole)):
        assert read(whole[:end]) is Unfinished.MORE
        assert reader.read(whole[:end]) is Unfinished.MORE
    assert reader.read(whole) == Hello("a.example.net", ("h2", "http/1.1"))


@given(st.binary(max_size=300), st.booleans(), st.integers(1, 20))
def test_random_bytes_end_in_an_answer(data: bytes, record: bool, times: int) -> None:
    start = b"\x16\x03\x01\x00\x40" if record else b""
    whole = start + data * times
    outcome = read(whole)
    assert isinstance(outcome, Hello | Bad | Unfinished)
    if whole[:1] not in (b"", b"\x16"):
        assert outcome is Unfinished.NOT_TLS


@settings(max_examples=300)
@given(st.data())
def test_a_spoiled_hello_ends_in_an_answer(data: st.DataObject) -> None:
    """Bytes changed, left out or put in: never an exception, never a name that is none."""
    spoiled = bytearray(hello("a.example.net", ["h2"], record=data.draw(st.integers(20, 400))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(spoiled) - 1))
        change = data.draw(st.sampled_from(("set", "drop", "put")))
        if change == "set":
            spoiled[at] = data.draw(st.integers(0, 255))
        elif change == "drop":
            del spoiled[at]
        else:
            spoiled.insert(at, data.draw(st.integers(0, 255)))
    outcome = read(bytes(spoiled))
    if isinstance(outcome, Hello):
        for text in (outcome.sni, *outcome.alpn):
            assert text.isascii()
            assert text.isprintable()
            assert len(text) <= 255


def test_grease_and_an_encrypted_hello_are_passed_over() -> None:
    found = with_extensions(
        (GREASE, b""),
        (ECH, bytes(300)),
        (SERVER_NAME, server_name(b"Public.Example.NET")),
        (ALPN, alpn(b"\x0a\x0a", b"h2")),
        (0xFAFA, b"\0"),
    )
    assert found == Hello("public.example.net", ("h2",))


def test_without_extensions_nothing_is_asked_for() -> None:
    assert read(records(message(body(None)))) == Hello("", ())
    assert with_extensions() == Hello("", ())


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (SERVER_NAME, b""),
        (SERVER_NAME, b"\0\0"),
        (SERVER_NAME, server_name(b"")),
        (SERVER_NAME, server_name(b"a", b"b")),
        (SERVER_NAME, server_name(b"a") + b"x"),
        (SERVER_NAME, server_name(b"a")[:-1]),
        (SERVER_NAME, server_name(b"a b")),
        (SERVER_NAME, server_name(b"a\0b")),
        (SERVER_NAME, server_name("ä".encode())),
        (SERVER_NAME, server_name(b"a" * 256)),
        (SERVER_NAME, server_name(b".")),
        (ALPN, b""),
        (ALPN, b"\0\0"),
        (ALPN, alpn(b"")),
        (ALPN, alpn(b"h2") + b"x"),
        (ALPN, alpn(b"h2")[:-1]),
        (ALPN, vector(b"\x05h2", 2)),
    ],
)
def test_a_malformed_extension_is_refused(kind: int, data: bytes) -> None:
    assert isinstance(with_extensions((kind, data)), Bad)


def test_an_extension_twice_is_refused() -> None:
    name = (SERVER_NAME, server_name(b"a.example"))
    assert isinstance(with_extensions(name, name), Bad)


@pytest.mark.parametrize("more", [0, 1])
def test_nobody_has_others_wait_while_thousands_of_parts_are_read(more: int) -> None:
    wanted: type = Bad if more else Hello
    assert isinstance(with_extensions(*((1000 + kind, b"") for kind in range(128 + more))), wanted)
    assert isinstance(with_extensions((ALPN, alpn(*[b"x"] * (64 + more)))), wanted)


def test_a_name_of_another_kind_is_passed_over() -> None:
    names = b"\x07" + vector(b"?", 2) + b"\0" + vector(b"a.example.", 2)
    assert with_extensions((SERVER_NAME, vector(names, 2))) == Hello("a.example", ())


GOOD = message(body([(SERVER_NAME, server_name(b"a"))]))


@pytest.mark.parametrize(
    "data",
    [
        records(b"\x02" + GOOD[1:]),  # a ServerHello
        records(GOOD + b"\x0b"),  # more than the hello in its record
        records(GOOD[:9])[:-1] + GOOD[9:] + b"\x16\x03\x01\0\0",
        b"\x16\x03\x01\0\0" + records(GOOD),  # an empty record
        records(GOOD[:20]) + b"\x15\x03\x01\0\x02\x01\0",  # an alert within it
        records(GOOD[:20]) + b"\x16\x02\x01\0\x02\x01\0",
        b"\x16\x03\x01\x40\x01" + bytes(9),  # a record of 2^14 + 1 bytes
        records(b"\x01\x00\x40\x00" + bytes(50)),  # a hello of 16 KiB
        records(message(body(None) + b"x")),
        records(message(body([])[:-1])),
        records(message(b"\x03\x03" + bytes(32) + vector(bytes(33), 1))),
        records(message(b"\x03\x03" + bytes(33) + vector(b"\x13", 2) + b"\x01\0")),
        records(message(b"\x03\x03" + bytes(33) + vector(b"", 2) + b"\x01\0")),
        records(message(b"\x03\x03" + bytes(33) + vector(b"\x13\x01", 2) + b"\0")),
    ],
)
def test_what_is_no_hello_is_refused(data: bytes) -> None:
    assert isinstance(read(data), Bad)


def test_the_size_is_bounded_however_it_is_cut() -> None:
    """Small records cost as much as large ones, or they are refused."""
    for record in (1, 100, 2**14):
        whole = hello("a.example", key=20_000, record=record)
        reader = Reader()
        outcomes = {type(reader.read(whole[:end])) for end in range(LIMIT, LIMIT + 2)}
        assert outcomes == {Bad}


def test_a_byte_at_a_time_costs_little() -> None:
    whole = hello("a.example", key=2000, record=1)
    reader, started = Reader(), time.process_time()
    for end in range(len(whole)):
        assert reader.read(whole[:end]) is Unfinished.MORE
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n", b"\x16\x02", b"\x80\x2e\x01\x03\x01", b"\0"]
)
def test_other_protocols_are_told_apart(data: bytes) -> None:
    assert read(data) is Unfinished.NOT_TLS


# --- real clients


def test_python_s_hello() -> None:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    sent = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="www.example.net")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    assert read(sent.read()) == Hello("www.example.net", ("h2", "http/1.1"))


@pytest.mark.parametrize(
    ("command", "alpn"),
    [
        (
            [
                "openssl",
                "s_client",
                "-servername",
                "www.example.net",
                "-alpn",
                "h2,dot",
                "-connect",
            ],
            ("h2", "dot"),
        ),
        (["curl", "-sk", "--max-time", "5", "--connect-to"], ("h2", "http/1.1")),
    ],
    ids=["openssl", "curl"],
)
def test_a_real_client_s_hello(command: list[str], alpn: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        at = f"127.0.0.1:{listener.getsockname()[1]}"
        last = [f"::{at}", "https://www.example.net/"] if command[0] == "curl" else [at]
        client = subprocess.Popen(
            [*command, *last],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with client, listener.accept()[0] as connection:
            connection.settimeout(10)
            reader, data = Reader(), b""
            while (found := reader.read(data)) is Unfinished.MORE:
                data += connection.recv(100)
            client.kill()
    assert found == Hello("www.example.net", alpn)
