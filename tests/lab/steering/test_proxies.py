"""The PROXY protocol with others: HAProxy and nginx in front of us and behind us, and a library."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proxyprotocol import ProxyProtocolChecksumError
from proxyprotocol.result import ProxyResultIPv4, ProxyResultIPv6
from proxyprotocol.tlv import ProxyProtocolTLV
from proxyprotocol.v1 import ProxyProtocolV1
from proxyprotocol.v2 import ProxyProtocolV2

from edgenode.steering.proxyprotocol import (
    ALPN,
    AUTHORITY,
    UNIQUE_ID,
    UNSUMMED,
    Endpoint,
    Header,
    decode,
    encode,
    encode_v1,
    field,
    summed,
)
from edgenode.steering.table import Bind, ProxyField, RegionTargets, Service, Table, Target
from tests.lab.steering.daemons import certificate, haproxy, nginx
from tests.unit.steering.hellos import hello
from tests.unit.steering.process import Address, Steering
from tests.unit.steering.running import PATIENCE, USER, Worker, read_all

LOOPBACK = ("127.0.0.0/8",)
FIELDS: tuple[ProxyField, ...] = ("authority", "alpn", "unique-id", "crc32c")
FOUR: tuple[Endpoint, Endpoint] = (("192.0.2.1", 1), ("192.0.2.2", 2))


class Seen:
    """A worker that says OK, and remembers what it was told.

    The connection that found out whether a proxy listens may arrive after those that follow it:
    what was said is found by whose it was.
    """

    def __init__(self) -> None:
        self.headers: list[Header | None] = []
        self.bytes: dict[Endpoint, bytes] = {}
        self.worker = Worker(self._serve)

    def of(self, source: Endpoint) -> Header:
        """The header that names this user."""
        found = [header for header in self.headers if header and header.source == source]
        assert len(found) == 1, (source, self.headers)
        return found[0]

    def _serve(self, connection: socket.socket, header: Header | None) -> None:
        self.headers.append(header)
        said = connection.recv(65536)
        if header is not None and header.source is not None:
            self.bytes[header.source] = said
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nOK")


@pytest.fixture
def seen() -> Iterator[Seen]:
    made = Seen()
    yield made
    made.worker.close()


@pytest.fixture
def free() -> Iterator[Callable[[], Address]]:
    made: list[Address] = []

    def make() -> Address:
        made.append(Address())
        return made[-1]

    yield make
    for one in made:
        one.close()


def publish(steering: Steering, address: Address, target: Target, **keys: Any) -> None:
    """One service, with these keys."""
    kind = keys.pop("proxy_protocol", "v2")
    regions = (RegionTargets("fra", (target,)),)
    service = Service("web", (str(address),), kind, 2.0, 20.0, regions, **keys)
    with steering.control() as control:
        answer = control.publish(Table(1, "lon1", Bind(), (service,)))
    assert (answer["type"], answer["failed"]) == ("applied", {}), answer


def get(address: Address, question: bytes = b"GET / HTTP/1.0\r\n\r\n") -> tuple[Endpoint, bytes]:
    """Who asked, and the answer."""
    with socket.create_connection((address.host, address.port), PATIENCE, (USER, 0)) as user:
        mine: Endpoint = user.getsockname()
        user.sendall(question)
        return mine, read_all(user)


# --- in front of us


@pytest.mark.parametrize(
    "options", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"]
)
def test_haproxy_in_front(
    tmp_path: Path,
    steering: Steering,
    free: Callable[[], Address],
    seen: Seen,
    options: str,
) -> None:
    front, edge = free(), free()
    publish(
        steering,
        edge,
        seen.worker.target("w"),
        accept_proxy=LOOPBACK,
        proxy_tlvs=("unique-id", "crc32c"),
    )
    sections = (
        f"listen front\n  mode tcp\n  bind {front}\n  unique-id-format haproxy-%ci-%cp\n"
        f"  server edge {edge} {options}\n"
    )
    with haproxy(tmp_path, sections, front):
        mine, answer = get(front)
    assert answer.endswith(b"OK")
    header = seen.of(mine)
    assert header.destination == (front.host, front.port)
    if "unique-id" in options:  # its own goes through
        assert header.unique_id == f"haproxy-{mine[0]}-{mine[1]}"
    else:
        assert header.unique_id


def test_haproxys_checks_trouble_no_worker(
    tmp_path: Path, steering: Steering, free: Callable[[], Address], seen: Seen
) -> None:
    """They come with the command LOCAL, and say nothing more."""
    front, edge = free(), free()
    publish(steering, edge, seen.worker.target("w"), accept_proxy=LOOPBACK)
    sections = (
        f"listen front\n  mode tcp\n  bind {front}\n"
        f"  server edge {edge} send-proxy-v2 check check-send-proxy inter 20ms\n"
    )
    with haproxy(tmp_path, sections, front), steering.control() as control:
        while control.report()["services"]["web"]["local_probes"] < 5:
            pass
        _, answer = get(front)
    assert answer.endswith(b"OK")
    sources = [header.source for header in seen.headers if header]
    assert {source[0] for source in sources if source} == {USER}  # the checks are not from there


def test_haproxy_that_ends_tls_in_front(
    tmp_path: Path, steering: Steering, free: Callable[[], Address], seen: Seen
) -> None:
    """The service is chosen by the name and the protocol that it tells."""
    front, edge = free(), free()
    pem = certificate(tmp_path)
    keys: dict[str, Any] = {"sni": ("*.example",), "alpn": ("dot",), "proxy_tlvs": FIELDS}
    publish(steering, edge, seen.worker.target("w"), accept_proxy=LOOPBACK, **keys)
    sections = (
        f"listen front\n  mode tcp\n  bind {front} ssl crt {pem} alpn h2,dot\n"
        f"  server edge {edge} send-proxy-v2 proxy-v2-options authority,crc32c,ssl,cert-cn\n"
    )
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["dot"])
    with haproxy(tmp_path, sections, front), front.connect() as plain:
        user = context.wrap_socket(plain, server_hostname="a.example", suppress_ragged_eofs=True)
        with user:
            mine: Endpoint = user.getsockname()
            user.sendall(b"question")
            assert user.recv(100).startswith(b"HTTP")
    header = seen.of(mine)
    assert (header.authority, header.alpn) == ("a.example", "dot")
    assert seen.bytes[mine] == b"question"


def test_nginx_in_front(
    tmp_path: Path, steering: Steering, free: Callable[[], Address], seen: Seen
) -> None:
    front, edge = free(), free()
    publish(steering, edge, seen.worker.target("w"), accept_proxy=LOOPBACK)
    sections = (
        f"stream {{ server {{ listen {front} reuseport; proxy_pass {edge}; proxy_protocol on; }} }}"
    )
    with nginx(tmp_path, sections, front):
        mine, answer = get(front)
    assert answer.endswith(b"OK")
    assert seen.of(mine).destination == (front.host, front.port)


# --- behind us


@pytest.mark.parametrize(
    ("kind", "fields"), [("v1", ()), ("v2", ()), ("v2", FIELDS)], ids=["v1", "v2", "fields"]
)
def test_haproxy_behind(
    tmp_path: Path,
    steering: Steering,
    free: Callable[[], Address],
    kind: str,
    fields: tuple[ProxyField, ...],
) -> None:
    """It refuses a header whose checksum is wrong."""
    edge, back = free(), free()
    target = Target("w", back.host, back.port)
    publish(steering, edge, target, proxy_protocol=kind, proxy_tlvs=fields)
    told = "%[src] %[src_port] %[dst] %[dst_port] %[fc_pp_unique_id] %[fc_pp_authority]"
    sections = (
        f"frontend back\n  mode http\n  bind {back} accept-proxy\n"
        f'  http-request return status 200 content-type text/plain lf-string "{told}"\n'
    )
    with haproxy(tmp_path, sections, back):
        mine, answer = get(edge)
    words = answer.rpartition(b"\r\n\r\n")[2].decode().split()
    assert words[:4] == [mine[0], str(mine[1]), edge.host, str(edge.port)]
    assert len(words) == 4 + ("unique-id" in fields)  # plain HTTP names no server


def test_haproxy_behind_learns_the_server_name(
    tmp_path: Path, steering: Steering, free: Callable[[], Address]
) -> None:
    """The bytes are a hello's: HAProxy takes them for TCP, and says what the header told."""
    edge, back = free(), free()
    publish(steering, edge, Target("w", back.host, back.port), proxy_tlvs=FIELDS)
    log = tmp_path / "log"
    sections = (
        f"frontend back\n  mode tcp\n  bind {back} accept-proxy\n  log {log} format raw local0\n"
        "  tcp-request inspect-delay 5s\n  tcp-request content reject if { req.len gt 0 }\n"
        '  log-format "name=%[fc_pp_authority] id=%[fc_pp_unique_id]"\n'
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lines:
        lines.bind(str(log))
        lines.settimeout(PATIENCE)
        with haproxy(tmp_path, sections, back):
            with contextlib.suppress(ConnectionResetError):
                get(edge, hello("a.example"))
            while b"name=a.example" not in (line := lines.recv(4096)):
                pass
    assert b"id=-" not in line


@pytest.mark.parametrize("kind", ["v1", "v2"])
def test_nginx_behind(
    tmp_path: Path, steering: Steering, free: Callable[[], Address], kind: str
) -> None:
    edge, back = free(), free()
    fields = FIELDS if kind == "v2" else ()
    target = Target("w", back.host, back.port)
    publish(steering, edge, target, proxy_protocol=kind, proxy_tlvs=fields)
    told = " ".join(
        f"$proxy_protocol_{one}" for one in ("addr", "port", "server_addr", "server_port")
    )
    sections = (
        f"http {{ access_log off; server {{ listen {back} proxy_protocol reuseport;"
        f' location / {{ return 200 "{told}"; }} }} }}'
    )
    with nginx(tmp_path, sections, back):
        mine, answer = get(edge)
    words = answer.rpartition(b"\r\n\r\n")[2].decode().split()
    assert words == [mine[0], str(mine[1]), edge.host, str(edge.port)]


# --- a library


def endpoints(version: int) -> st.SearchStrategy[Endpoint]:
    return st.tuples(
        st.ip_addresses(v=version).map(str),  # type: ignore[arg-type]
        st.integers(0, 65535),
    )


pairs = st.tuples(endpoints(4), endpoints(4)) | st.tuples(endpoints(6), endpoints(6))
texts = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)


def same(one: Any, pair: tuple[Endpoint, Endpoint]) -> bool:
    return [(ip_address(str(host)), port) for host, port in one] == [
        (ip_address(host), port) for host, port in pair
    ]


@given(pairs, texts, texts, st.binary(min_size=1, max_size=128))
def test_the_library_reads_what_we_send(
    pair: tuple[Endpoint, Endpoint], name: str, protocol: str, unique_id: bytes
) -> None:
    before = field(ALPN, protocol.encode()) + field(AUTHORITY, name.encode())
    fields = before + UNSUMMED + field(UNIQUE_ID, unique_id)
    header = encode(*pair, fields)
    header = summed(header, len(header) - len(fields) + len(before))
    read = ProxyProtocolV2().unpack(header)
    assert isinstance(read, ProxyResultIPv4 | ProxyResultIPv6)
    assert same((read.source, read.dest), pair)
    told = (read.tlv.authority, read.tlv.alpn, read.tlv.unique_id)
    assert told == (name, protocol.encode(), unique_id)
    with pytest.raises(ProxyProtocolChecksumError):
        ProxyProtocolV2().unpack(header[:-1] + bytes((header[-1] ^ 1,)))
    read = ProxyProtocolV1().unpack(encode_v1(*pair))
    assert isinstance(read, ProxyResultIPv4 | ProxyResultIPv6)
    assert same((read.source, read.dest), pair)


@given(pairs, texts, st.binary(min_size=1, max_size=128))
def test_we_read_what_the_library_sends(
    pair: tuple[Endpoint, Endpoint], name: str, unique_id: bytes
) -> None:
    kind: Any = ProxyResultIPv6 if ":" in pair[0][0] else ProxyResultIPv4
    source, destination = ((ip_address(host), port) for host, port in pair)
    tlv = ProxyProtocolTLV(authority=name, unique_id=unique_id)
    result = kind(source, destination, protocol=socket.SOCK_STREAM, tlv=tlv)
    for library in (ProxyProtocolV1(), ProxyProtocolV2()):
        header = decode(library.pack(result) + b"rest")
        assert header is not None
        assert same((header.source, header.destination), pair)
    assert header is not None
    assert (header.authority, header.unique_id) == (name.lower(), unique_id.decode("latin-1"))
