"""What comes before a worker is dialed: PROXY headers and TLS hellos, with real sockets."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from edgenode.steering import postgresql
from edgenode.steering.hello import LIMIT
from edgenode.steering.protection import Protection
from edgenode.steering.proxyprotocol import (
    ALPN,
    AUTHORITY,
    UNIQUE_ID,
    UNSUMMED,
    Endpoint,
    Header,
    encode,
    encode_v1,
    field,
    summed,
)
from edgenode.steering.table import Service
from tests.unit.steering.hellos import hello
from tests.unit.steering.running import (
    PATIENCE,
    USER,
    RunningRelay,
    Worker,
    eventually,
    read_all,
    read_exactly,
    reset,
)

SOURCE: Endpoint = ("198.51.100.7", 4711)
THERE: Endpoint = ("203.0.113.1", 443)
V1, V2 = encode_v1(SOURCE, THERE), summed(encode(SOURCE, THERE, UNSUMMED), 28)
PROXIES = ("127.0.0.2/32",)


class Place:
    """A worker that says what it is called, and then all that came; `headers` are those it had."""

    def __init__(self, name: str) -> None:
        self.headers: list[Header | None] = []
        self.worker = Worker(self._serve)
        self.name = name

    def _serve(self, connection: socket.socket, header: Header | None) -> None:
        self.headers.append(header)
        connection.sendall(self.name.encode() + b":" + read_all(connection))

    @property
    def header(self) -> Header:
        """The one header that it had."""
        (header,) = self.headers
        assert header is not None
        return header


@pytest.fixture
def places() -> Any:
    made = {name: Place(name) for name in ("web", "api", "h2")}
    yield made
    for place in made.values():
        place.worker.close()


@pytest.fixture
def service(relay: RunningRelay, places: dict[str, Place]) -> Callable[..., Service]:
    """A service of this name at the relay's one address, with more keys."""
    relay.listen("web")

    def make(name: str, **keys: Any) -> Service:
        target = places[name].worker.target(f"{name}-1")
        made = replace(relay.service(("fra", [target])), name=name)
        return replace(made, **{"hello_timeout": 20.0, **keys})

    return make


def ask(relay: RunningRelay, *pieces: bytes) -> bytes:
    """One user that sends these, and ends; all of the answer."""
    with relay.connect() as user:
        for piece in pieces:
            user.sendall(piece)
            if len(pieces) > 1:
                time.sleep(0.002)
        user.shutdown(socket.SHUT_WR)
        return read_all(user)


def last(relay: RunningRelay) -> dict[str, Any]:
    """The one line of the access log."""
    eventually(relay.idle)
    (line,) = relay.log(1)
    return line


# --- TLS


@pytest.fixture
def shared(relay: RunningRelay, service: Callable[..., Service]) -> RunningRelay:
    """Three services at one address, none of them the default."""
    relay.apply(
        service("web", sni=("*.example.net",)),
        service("api", sni=("api.example.net",)),
        service("h2", sni=("api.example.net",), alpn=("h2",)),
    )
    return relay


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        (hello("www.example.net"), b"web"),
        (hello("API.example.net", ["http/1.1"]), b"api"),
        (hello("api.example.net", ["http/1.1", "h2"]), b"h2"),
        (hello("api.example.net", key=1216), b"api"),
        (hello("api.example.net", key=9000, record=100), b"api"),
    ],
)
def test_the_hello_says_whose_it_is_and_arrives_as_it_came(
    shared: RunningRelay, sent: bytes, found: bytes
) -> None:
    assert ask(shared, sent + b"early data") == found + b":" + sent + b"early data"


@pytest.mark.parametrize("size", [1, 500])
def test_a_hello_over_many_segments(shared: RunningRelay, size: int) -> None:
    sent = hello("api.example.net", ["h2"], key=32 if size == 1 else 1216, record=200) + b"more"
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
    assert ask(shared, *pieces) == b"h2:" + sent
    services = shared.report()["services"]
    assert [services[name]["accepted"] for name in ("web", "api", "h2")] == [0, 0, 1]
    assert [services[name]["bytes_up"] for name in ("web", "api", "h2")] == [0, 0, len(sent)]


def test_bulk_behind_a_hello_is_whole(shared: RunningRelay) -> None:
    sent = hello("www.example.net") + bytes(range(256)) * 8000
    assert ask(shared, sent) == b"web:" + sent


@pytest.mark.parametrize(
    ("sent", "alert", "what"),
    [
        (hello("example.net"), 112, 'no service here takes the name "example.net"'),
        (hello("b.example", ["h2", "x"]), 112, 'takes the name "b.example" with h2, x'),
        (hello(""), 109, "no service here takes a hello without a server name"),
        (hello("b.example", ["x"] * 64), 112, "with x, x, x, x and 60 more"),
    ],
)
def test_an_unknown_name_is_told_by_an_alert(
    shared: RunningRelay, sent: bytes, alert: int, what: str
) -> None:
    assert ask(shared, sent) == b"\x15\x03\x03\0\x02\x02" + bytes((alert,))
    line = last(shared)
    assert (line["why"], line["region"]) == ("no-route", None)
    assert what in line["errors"][0]
    endings = shared.report()["figures"]["web"]["endings"]
    assert endings == {"no-route": 1}


def test_a_protocol_that_nobody_takes_is_told(
    relay: RunningRelay, service: Callable[..., Service]
) -> None:
    relay.apply(service("h2", sni=("a.example",), alpn=("h2",)))
    assert ask(relay, hello("a.example", ["dot"]))[-1] == 120
    assert ask(relay, hello("a.example", ["h2"])).startswith(b"h2:")


def test_a_real_client_understands_the_alert(shared: RunningRelay) -> None:
    context = ssl.create_default_context()
    with shared.connect() as user, pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        context.wrap_socket(user, server_hostname="other.example")


def test_the_default_takes_what_nobody_else_does(
    relay: RunningRelay, service: Callable[..., Service]
) -> None:
    relay.apply(service("api", sni=("api.example.net",)), service("web"))
    for sent in (hello("other.example"), hello(""), b"GET / HTTP/1.1\r\n\r\n", b"x", b"\0\0\0"):
        assert ask(relay, sent) == b"web:" + sent
    assert ask(relay, hello("api.example.net")).startswith(b"api:")
    assert ask(relay, b"") == b""  # before it is known whose user it is, it is the default's
    assert relay.report()["figures"]["web"]["endings"]["no-hello"] == 1


def test_others_may_wait_for_the_workers_first_word(
    relay: RunningRelay, service: Callable[..., Service]
) -> None:
    """A protocol in which servers speak first: from a user nothing is awaited."""
    worker = Worker(lambda connection, _: connection.sendall(b"220 ready"))
    made = service("web", accept_proxy=("192.0.2.0/24",), hello_timeout=0.5)
    regions = relay.service(("fra", [worker.target("fra-1")])).regions
    relay.apply(replace(made, regions=regions))
    with relay.connect() as user:
        user.settimeout(PATIENCE)
        assert read_all(user) == b"220 ready"
    worker.close()


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"GET / HTTP/1.1\r\n", "no-route"),
        (b"\0\0\0", "bad-hello"),  # perhaps PostgreSQL's
        (b"", "no-hello"),
        (b"\x16", "bad-hello"),
        (hello("a.example")[:-1], "bad-hello"),
        (b"\x16\x03\x01\0\x04\x02\0\0\0", "bad-hello"),
        (hello("a.example", key=LIMIT), "bad-hello"),
    ],
    ids=["http", "zeros", "empty", "a byte", "cut off", "a ServerHello", "too long"],
)
def test_what_is_no_hello_is_refused_with_a_reason(
    shared: RunningRelay, sent: bytes, why: str
) -> None:
    with contextlib.suppress(OSError):  # it may be refused before it has sent all
        ask(shared, sent)
    assert last(shared)["why"] == why


def test_postgresql_is_told_to_use_direct_tls(shared: RunningRelay) -> None:
    request = bytes.fromhex("0000000804d2162f")
    with shared.connect() as user:
        user.sendall(request[:3])
        time.sleep(0.02)
        user.sendall(request[3:])
        assert read_all(user) == postgresql.refusal()
    line = last(shared)
    assert line["why"] == "not-direct-tls"
    assert "sslnegotiation=direct" in line["errors"][0]


@pytest.mark.parametrize("mode", ["require", "disable"])
def test_psql_ends_at_once(shared: RunningRelay, mode: str) -> None:
    """By its own words, and not by a timeout."""
    host, port = shared._listeners["web"]
    where = f"host={host} port={port} user=a dbname=a sslmode={mode} connect_timeout=8"
    done = subprocess.run(["psql", where], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "timeout" not in done.stderr
    assert "error" in done.stderr
    assert last(shared)["why"] == "not-direct-tls"


@pytest.mark.parametrize(
    "sent", [b"", b"\x16\x03", hello("api.example.net")[:100]], ids=["", "2 bytes", "most"]
)
def test_a_user_that_sends_no_hello_is_ended_in_time(
    relay: RunningRelay, service: Callable[..., Service], sent: bytes
) -> None:
    relay.apply(service("api", sni=("api.example.net",), hello_timeout=0.2))
    with relay.connect() as user:
        user.sendall(sent)
        with pytest.raises(ConnectionResetError):
            user.recv(1)
    assert last(relay)["why"] == "hello-timeout"


def test_a_hello_that_drips_is_ended_in_time(
    relay: RunningRelay, service: Callable[..., Service]
) -> None:
    """Each byte is new, the deadline is not."""
    relay.apply(service("api", sni=("api.example.net",), hello_timeout=0.3))

    def drip(user: socket.socket) -> None:
        for byte in hello("api.example.net", key=9000):
            user.sendall(bytes((byte,)))
            time.sleep(0.01)

    with relay.connect() as user, pytest.raises((ConnectionResetError, BrokenPipeError)):
        drip(user)
    assert last(relay)["why"] == "hello-timeout"


def test_a_reset_within_the_hello_leaves_nothing(shared: RunningRelay) -> None:
    user = shared.connect()
    user.sendall(hello("api.example.net")[:50])
    eventually(lambda: shared.relay.live == 1)
    reset(user)
    assert last(shared)["why"] == "client-reset"


def test_the_newest_table_counts_for_a_hello_under_way(
    shared: RunningRelay, service: Callable[..., Service]
) -> None:
    sent = hello("www.example.net")
    with shared.connect() as user:
        user.sendall(sent[:60])
        eventually(lambda: shared.relay.live == 1)
        shared.apply(service("h2", sni=("www.example.net",)), service("api"))
        user.sendall(sent[60:])
        user.shutdown(socket.SHUT_WR)
        assert read_all(user) == b"h2:" + sent


def test_a_table_that_awaits_nothing_any_more_frees_who_waits(
    shared: RunningRelay, service: Callable[..., Service]
) -> None:
    with shared.connect() as user:
        user.sendall(b"\x16\x03")
        eventually(lambda: shared.relay.live == 1)
        shared.apply(service("web"))
        user.sendall(b"rest")
        user.shutdown(socket.SHUT_WR)
        assert read_all(user) == b"web:\x16\x03rest"


def test_local_probes_wait_as_ever(shared: RunningRelay, places: dict[str, Place]) -> None:
    """A health check of the node's own: it says nothing, or a hello."""
    shared.connect(source=None).close()
    eventually(lambda: shared.report()["services"]["web"]["local_probes"] == 1)
    with shared.connect(source=None) as probe:
        time.sleep(0.01)
        probe.sendall(hello("api.example.net"))
        probe.shutdown(socket.SHUT_WR)
        assert read_all(probe).startswith(b"api:")
    assert places["web"].headers == []


# --- PROXY headers of proxies in front


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize("size", [1, 1000])
def test_a_proxy_says_who_the_user_is(
    relay: RunningRelay,
    service: Callable[..., Service],
    places: dict[str, Place],
    header: bytes,
    size: int,
) -> None:
    relay.apply(service("web", accept_proxy=PROXIES))
    sent = header + b"hello"
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
    assert ask(relay, *pieces) == b"web:hello"
    told = places["web"].header
    assert (told.source, told.destination) == (SOURCE, THERE)
    line = last(relay)
    assert (line["client"], line["local"]) == ("198.51.100.7:4711", "203.0.113.1:443")
    assert line["up"] == 5


def test_of_others_a_header_is_a_users_bytes(
    relay: RunningRelay, service: Callable[..., Service], places: dict[str, Place]
) -> None:
    relay.apply(service("web", accept_proxy=("192.0.2.0/24", "2001:db8::/32")))
    assert ask(relay, V1 + b"hello") == b"web:" + V1 + b"hello"
    source = places["web"].header.source
    assert source is not None
    assert source[0] == USER


def test_beside_proxies_servers_may_speak_first(relay: RunningRelay) -> None:
    """The kernel does not wait for the users' first bytes."""
    relay.listen("web")
    relay.apply(replace(relay.service(("fra", [])), accept_proxy=("192.0.2.0/24",)))
    (listener,) = relay.relay._acceptor.listeners.values()
    option = socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT
    assert listener.socket.getsockopt(*option) == 0
    relay.apply(replace(relay.service(("fra", [])), sni=("a.example",)))
    assert listener.socket.getsockopt(*option) > 0


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "bad-proxy-header"),
        (V2[:-1] + bytes((V2[-1] ^ 1,)) + b"hello", "bad-proxy-header"),
        (V2[:14] + b"\xff\xff" + bytes(5000), "bad-proxy-header"),
        (V1[:20], "bad-proxy-header"),
        (b"", "no-hello"),
    ],
    ids=["none", "checksum", "too long", "cut off", "empty"],
)
def test_a_proxy_without_a_right_header_is_refused(
    relay: RunningRelay,
    service: Callable[..., Service],
    places: dict[str, Place],
    sent: bytes,
    why: str,
) -> None:
    relay.apply(service("web", accept_proxy=PROXIES))
    with contextlib.suppress(OSError):  # reset, perhaps before its end
        assert ask(relay, sent) == b""
    assert last(relay)["why"] == why
    assert places["web"].headers == []


def test_a_header_that_does_not_come_is_awaited_for_a_bounded_time(
    relay: RunningRelay, service: Callable[..., Service]
) -> None:
    relay.apply(service("web", accept_proxy=PROXIES, hello_timeout=0.2))
    with relay.connect() as proxy:
        proxy.sendall(V1[:9])
        with pytest.raises(ConnectionResetError):
            proxy.recv(1)
    assert last(relay)["why"] == "header-timeout"


@pytest.mark.parametrize(
    "header", [b"PROXY UNKNOWN\r\n", V2[:13] + b"\0\0\0"], ids=["UNKNOWN", "UNSPEC"]
)
def test_a_proxy_that_does_not_know_its_user(
    relay: RunningRelay, service: Callable[..., Service], places: dict[str, Place], header: bytes
) -> None:
    relay.apply(service("web", accept_proxy=PROXIES))
    assert ask(relay, header + b"x") == b"web:x"
    source = places["web"].header.source
    assert source is not None
    assert source[0] == USER


def test_a_proxys_own_check_troubles_no_worker(
    relay: RunningRelay, service: Callable[..., Service], places: dict[str, Place]
) -> None:
    """The command LOCAL: as a probe of this node, it waits until it says something."""
    local = V2[:12] + b"\x20\0\0\0"
    relay.apply(service("web", accept_proxy=PROXIES, hello_timeout=0.2))
    with relay.connect() as check:
        check.sendall(local)
        time.sleep(0.5)  # it may stay for longer than a user may be silent
    eventually(lambda: relay.report()["services"]["web"]["local_probes"] == 1)
    assert places["web"].headers == []
    assert relay.relay._loop.waiting == 0
    assert ask(relay, local, b"x") == b"web:x"
    assert ask(relay, local + b"y") == b"web:y"
    accepted = relay.report()["services"]["web"]["accepted"]
    assert accepted == 3


def test_a_proxys_own_check_that_ends_with_its_header(
    relay: RunningRelay, service: Callable[..., Service]
) -> None:
    """The end comes by the same event as the header's last bytes: none follows."""
    local = V2[:12] + b"\x20\0\0\0"
    relay.apply(service("web", accept_proxy=PROXIES))
    with relay.connect() as check:
        check.sendall(local[:5])
        eventually(lambda: relay.relay.live == 1)

        def end() -> None:
            check.sendall(local[5:])
            check.shutdown(socket.SHUT_WR)

        relay.call(end)
        eventually(relay.idle)
    assert relay.report()["services"]["web"]["local_probes"] == 1
    assert relay.relay._loop.waiting == 0


def test_a_header_and_a_hello_behind_it(
    relay: RunningRelay, service: Callable[..., Service], places: dict[str, Place]
) -> None:
    relay.apply(
        service("web", accept_proxy=PROXIES),
        service("api", accept_proxy=PROXIES, sni=("api.example.net",)),
    )
    sent = hello("api.example.net", key=1216)
    assert ask(relay, V2 + sent[:9], sent[9:]) == b"api:" + sent
    assert places["api"].header.source == SOURCE
    assert ask(relay, V2, b"plain") == b"web:plain"


def test_a_proxy_that_has_ended_tls_says_the_name(
    relay: RunningRelay, service: Callable[..., Service], places: dict[str, Place]
) -> None:
    relay.apply(
        service("web", accept_proxy=PROXIES),
        service("api", accept_proxy=PROXIES, sni=("api.example.net",), alpn=("h2",)),
    )
    fields = field(AUTHORITY, b"api.example.net") + field(ALPN, b"h2")
    assert ask(relay, encode(SOURCE, THERE, fields) + b"PRI * HTTP/2.0") == b"api:PRI * HTTP/2.0"


# --- our own headers


def test_version_1_to_the_worker(
    relay: RunningRelay, service: Callable[..., Service], places: dict[str, Place]
) -> None:
    raw = Worker(lambda connection, _: connection.sendall(read_all(connection)), header=False)
    try:
        web = service("web", proxy_protocol="v1")
        region = replace(web.regions[0], workers=(raw.target("raw"),))
        relay.apply(replace(web, regions=(region,)))
        with relay.connect() as user:
            mine, there = user.getsockname(), user.getpeername()
            user.sendall(b"x")
            user.shutdown(socket.SHUT_WR)
            assert read_all(user) == encode_v1(mine, there) + b"x"
    finally:
        raw.close()


def test_additional_fields_to_the_worker(
    relay: RunningRelay, service: Callable[..., Service], places: dict[str, Place]
) -> None:
    """By `decode` their checksum is right."""
    fields = ("authority", "alpn", "unique-id", "crc32c")
    relay.apply(service("web", proxy_tlvs=fields))
    for _ in range(2):
        ask(relay, hello("a.example", ["h2", "http/1.1"]))
    first, second = places["web"].headers
    assert first is not None
    assert second is not None
    assert (first.authority, first.alpn) == ("a.example", "h2")
    assert first.unique_id
    assert first.unique_id != second.unique_id
    plain = 16 + 12
    assert first.size == plain + (3 + 9) + (3 + 2) + (3 + len(first.unique_id)) + (3 + 4)


def test_what_is_not_known_is_not_told(
    relay: RunningRelay, service: Callable[..., Service], places: dict[str, Place]
) -> None:
    relay.apply(service("web", proxy_tlvs=("authority", "alpn")))
    assert ask(relay, b"plain") == b"web:plain"
    assert places["web"].header.size == 16 + 12


def test_an_id_that_a_proxy_has_given_is_passed_on(
    relay: RunningRelay, service: Callable[..., Service], places: dict[str, Place]
) -> None:
    relay.apply(service("web", accept_proxy=PROXIES, proxy_tlvs=("unique-id",)))
    ask(relay, encode(SOURCE, THERE, field(UNIQUE_ID, b"\xff-1")) + b"x")
    assert places["web"].header.unique_id == "\xff-1"


def test_many_at_once_each_to_its_own(shared: RunningRelay, places: dict[str, Place]) -> None:
    """Half of them in two pieces; nobody gets another's bytes."""
    users = []
    for number in range(60):
        sent = hello(("www", "api")[number % 2] + ".example.net", ["h2"] * (number % 3))
        sent += struct.pack(">I", number)
        user = shared.connect()
        half = len(sent) // 2 if number % 4 else len(sent)
        user.sendall(sent[:half])
        users.append((user, sent, half, number))
    for user, sent, half, number in users:
        with user:
            if sent[half:]:
                user.sendall(sent[half:])
            user.shutdown(socket.SHUT_WR)
            name = "web" if number % 2 == 0 else "h2" if number % 3 else "api"
            assert read_exactly(user, len(name) + 1 + len(sent)) == f"{name}:".encode() + sent


# --- whom services take


def test_a_service_takes_or_refuses_whom_the_header_names(
    relay: RunningRelay, service: Callable[..., Service]
) -> None:
    guarded = Protection(deny=("198.51.100.0/24",))
    relay.apply(service("web", accept_proxy=PROXIES, protection=guarded))
    with pytest.raises(OSError):
        ask(relay, V2 + b"x")
    assert last(relay)["why"] == "denied"
    assert ask(relay, encode(("192.0.2.9", 1), THERE) + b"x") == b"web:x"


def test_each_of_those_that_share_an_address_has_its_own_limits(
    relay: RunningRelay, service: Callable[..., Service]
) -> None:
    one = Protection(connections=1)
    relay.apply(
        service("web", protection=one),
        service("api", sni=("api.example.net",), protection=Protection(deny=(f"{USER}/32",))),
        service("h2", alpn=("h2",), protection=one),
    )
    for _ in range(3):  # a place is given back, to the service that had given it
        assert ask(relay, b"x") == b"web:x"
        assert ask(relay, hello("a", ["h2"])).startswith(b"h2:")
    with pytest.raises(OSError):
        ask(relay, hello("api.example.net"))
    eventually(relay.idle)
    services = relay.report()["services"]
    assert {name: one["accepted"] for name, one in services.items()} == {
        "web": 3,
        "api": 1,
        "h2": 3,
    }
    with relay.connect() as user:
        user.sendall(b"y")
        eventually(lambda: relay.report()["services"]["web"]["live"] == 1)
        assert ask(relay, hello("a", ["h2"])).startswith(b"h2:")
        with pytest.raises(OSError):
            ask(relay, b"x")


def test_a_place_goes_back_to_the_service_that_gave_it(
    relay: RunningRelay, service: Callable[..., Service]
) -> None:
    """A newer table says that a user who waits at the door is of another service."""
    one = Protection(connections=1)
    relay.apply(service("web", sni=("*.example.net",), protection=one))
    sent = hello("api.example.net")
    with relay.connect() as user:
        user.sendall(sent[:9])
        eventually(lambda: relay.relay.live == 1)
        web = service("web", sni=("www.example.net",), protection=one)
        relay.apply(web, service("api", sni=("api.example.net",)))
        user.sendall(sent[9:])
        eventually(lambda: relay.report()["services"]["api"]["live"] == 1)
        for _ in range(2):
            assert ask(relay, hello("www.example.net")).startswith(b"web:")


def test_who_is_not_taken_anyway_is_not_waited_for(
    relay: RunningRelay, service: Callable[..., Service]
) -> None:
    guarded = Protection(deny=(f"{USER}/32",))
    relay.apply(service("api", sni=("api.example.net",), protection=guarded))
    with pytest.raises(ConnectionResetError), relay.connect() as user:
        user.recv(1)
    assert last(relay)["why"] == "denied"


def test_where_nothing_is_awaited_there_is_no_door(relay: RunningRelay) -> None:
    """Such a connection takes the way that it had before: no look, no system call more."""
    relay.listen("web")
    web = relay.service(("fra", []))
    for plain in (web, replace(web, proxy_protocol="v1", proxy_tlvs=("unique-id", "crc32c"))):
        relay.apply(plain)
        (listener,) = relay.relay._acceptor.listeners.values()
        assert listener.door is None
    awaited: Any = ({"alpn": ("h2",)}, {"proxy_tlvs": ("alpn",)}, {"accept_proxy": PROXIES})
    for keys in awaited:
        relay.apply(replace(web, **keys))
        assert listener.door is not None


# --- bad input


def spoiled(random: Random) -> bytes:
    """A header and a hello, of which something is wrong, as a rule."""
    name = random.choice(("api.example.net", "www.example.net", "other.example", ""))
    kind = random.choice((V1, V2, b"PROXY UNKNOWN\r\n", V2[:12] + b"\x20\0\0\0", b""))
    key = random.choice((32, 1216, 15_000, 20_000))
    data = bytearray(kind + hello(name, ["h2"], key, random.choice((1, 50, 2**14))))
    for _ in range(random.choice((0, 0, 1, 3))):
        data[random.randrange(len(data))] = random.randrange(256)
    if random.random() < 0.3:
        del data[random.randrange(len(data)) :]
    return random.choice((bytes(data), bytes(data), random.randbytes(300)))


def misbehave(relay: RunningRelay, random: Random) -> None:
    data, at = spoiled(random), 0
    with contextlib.suppress(OSError):
        user = relay.connect()
        try:
            user.settimeout(1.0)  # a proxy that speaks for itself may stay
            while at < len(data):
                size = random.choice((1, 200, 5000, 20_000) if at < 100 else (2000, 20_000))
                user.sendall(data[at : at + size])
                at += size
                if random.random() < 0.01:
                    return
            if random.random() < 0.5:
                user.shutdown(socket.SHUT_WR)
            if random.random() < 0.7:
                read_all(user)
        finally:
            (reset if random.random() < 0.3 else socket.socket.close)(user)


def test_whatever_comes_ends_with_a_reason_and_leaves_nothing(
    relay: RunningRelay, service: Callable[..., Service]
) -> None:
    keys: dict[str, Any] = {"accept_proxy": PROXIES, "hello_timeout": 0.3}
    relay.apply(
        service("web", sni=("www.example.net",), idle_timeout=0.5, **keys),
        service("api", sni=("*.example.net",), proxy_tlvs=("unique-id", "crc32c"), **keys),
    )
    rounds, before = 200, len(os.listdir("/proc/self/fd"))
    with ThreadPoolExecutor(30) as users:
        list(users.map(lambda seed: misbehave(relay, Random(seed)), range(rounds)))
    eventually(relay.idle)

    def left() -> tuple[int, int, int, int]:
        loop = relay.relay._loop
        return len(loop.connections), len(loop.sides.values()), loop.waiting, loop.stuck

    assert relay.call(left) == (0, 0, 0, 0)
    figures, services = relay.report()["figures"], relay.report()["services"]
    endings: Counter[str] = Counter()
    for one in figures.values():
        endings.update(one["endings"])
    assert sum(endings.values()) == rounds
    assert sum(one["accepted"] for one in services.values()) == rounds
    assert all(one["live"] == 0 for one in services.values())
    wanted = {"bad-hello", "no-route", "bad-proxy-header", "hello-timeout"}
    assert wanted <= endings.keys(), endings
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)


def test_a_newer_table_during_a_hello_charges_no_rate_twice(
    relay: RunningRelay, service: Callable[..., Service]
) -> None:
    """One an hour: who has been let in stays so, as long as the limits are the same."""
    rare = Protection(rate=1 / 3600, burst=1)
    relay.apply(service("web", sni=("*.example.net",), protection=rare))
    sent = hello("www.example.net")
    with relay.connect() as user:
        user.sendall(sent[:20])
        eventually(lambda: relay.relay.live == 1)
        time.sleep(0.1)
        relay.apply(service("web", sni=("www.example.net",), protection=rare, idle_timeout=30.0))
        user.sendall(sent[20:])
        user.shutdown(socket.SHUT_WR)
        assert read_all(user) == b"web:" + sent
    with pytest.raises(ConnectionResetError), relay.connect() as user:
        user.recv(1)
