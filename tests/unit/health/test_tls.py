"""TLS and https probes: whose certificate, for which name, and until when."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.config import Endpoint, HttpCheck, TlsCheck
from edgenode.config.certificates import server_name
from edgenode.health import tls as tls_module
from edgenode.health.http import HttpProbe
from edgenode.health.observation import Observation, ProbeFailedError
from edgenode.health.tls import DAY, TlsClient, TlsStream, age_warning
from edgenode.health.tlsprobe import TlsProbe
from tests.unit.health.certificates import Authority, serving

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def tls(endpoint: Endpoint, **values: Any) -> TlsProbe:
    values = {"timeout": 2.0, **values}
    return TlsProbe(
        TlsCheck.model_validate({"name": "c", "type": "tls", "target": endpoint} | values)
    )


async def get(endpoint: Endpoint, **values: Any) -> Observation:
    values = {"url": f"https://{endpoint}/", "timeout": 2.0, **values}
    return await HttpProbe(HttpCheck.model_validate({"name": "c", "type": "http"} | values))()


async def test_a_certificate_for_the_name_by_the_authority(authority: Authority) -> None:
    with serving(authority.issue("www.example.net", "127.0.0.1"), OK) as (endpoint, asked):
        seen = await tls(endpoint, server_name="www.example.net", ca_file=authority.file)()
        assert (seen.ok, seen.warning) == (True, "")
        assert seen.reason == f"TLS with {endpoint}: TLSv1.3"
        assert seen.expires_at == pytest.approx(time.time() + 365 * DAY, abs=60)
        assert (await tls(endpoint, ca_file=authority.file)()).ok, "for the address, without a name"
        assert asked == ["www.example.net", None]
        other = await tls(endpoint, server_name="mail.example.net", ca_file=authority.file)()
        assert not other.ok
        assert "not accepted: Hostname mismatch" in other.reason
        assert not other.timed


async def test_a_certificate_by_somebody_else(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    with serving(stranger.issue("127.0.0.1"), OK) as (endpoint, _):
        for ca in (authority.file, None):
            seen = await tls(endpoint, ca_file=ca)()
            assert not seen.ok
            assert "certificate is not accepted" in seen.reason
        seen = await tls(endpoint, insecure=True, server_name="whatever")()
        assert seen.ok
        assert seen.expires_at is not None


@pytest.mark.parametrize(
    ("days", "begins", "warning"),
    [
        (365, -10, ""),
        (13.5, -10, "its certificate ends in 13 days, at "),
        (0.5, -10, "its certificate ends in 12 hours, at "),
        (-1, -10, "its certificate has ended at "),
        (365, 2, "its certificate is not valid before "),
    ],
)
@pytest.mark.parametrize("http", [False, True])
async def test_the_dates_of_a_certificate_are_a_warning_and_no_failure(
    authority: Authority, days: float, begins: float, warning: str, http: bool
) -> None:
    shown = authority.issue("127.0.0.1", days=days, begins=begins)
    with serving(shown, OK) as (endpoint, _):
        ca = authority.file
        seen = await get(endpoint, ca_file=ca) if http else await tls(endpoint, ca_file=ca)()
        assert seen.ok, seen.reason
        assert seen.warning.startswith(warning)
        assert bool(seen.warning) is bool(warning)


async def test_https_is_http_in_it(authority: Authority) -> None:
    with serving(authority.issue("www.example.net"), OK) as (endpoint, asked):
        values: dict[str, Any] = {"ca_file": authority.file, "host": "www.example.net"}
        seen = await get(endpoint, **values, body={"contains": "ok"})
        assert seen.reason == f"GET https://{endpoint}/: status 200"
        assert (seen.ok, asked) == (True, ["www.example.net"])
        assert not (await get(endpoint, **values, body={"contains": "no"})).ok
        assert not (await get(endpoint, ca_file=authority.file)).ok, "not for the address"


async def test_a_client_certificate(authority: Authority, tmp_path: Path) -> None:
    clients = Authority(tmp_path, "clients")
    ours, theirs = clients.issue("edge"), authority.issue("edge")
    with serving(authority.issue("127.0.0.1"), OK, clients=clients.file) as (endpoint, _):
        for issued, ok in ((ours, True), (theirs, False)):
            seen = await get(
                endpoint,
                ca_file=authority.file,
                client_certificate=issued.certificate,
                client_key=issued.key,
            )
            assert seen.ok is ok, seen.reason
        for _ in range(10):
            seen = await get(endpoint, ca_file=authority.file)
            assert "certificate required" in seen.reason


async def test_a_handshake_alone_finds_out_whether_we_are_taken(
    authority: Authority, tmp_path: Path
) -> None:
    """Under TLS 1.3 it is over for us before the target has seen our certificate."""
    clients = Authority(tmp_path, "clients")
    with serving(authority.issue("127.0.0.1"), OK, clients=clients.file) as (endpoint, _):
        for issuer, why in ((clients, ""), (authority, "unknown ca"), (None, "required")):
            keys = {}
            if issuer:
                ours = issuer.issue("edge")
                keys = {"client_certificate": ours.certificate, "client_key": ours.key}
            started = time.monotonic()
            seen = await tls(endpoint, ca_file=authority.file, **keys)()
            assert time.monotonic() - started < 0.15, "it says so itself: nothing to wait out"
            assert (seen.ok, seen.timed) == (not why, False), seen.reason
            assert why in seen.reason


@pytest.mark.parametrize("closes", [False, True])
async def test_a_target_that_says_nothing_after_a_handshake(
    authority: Authority, closes: bool
) -> None:
    issued = authority.issue("127.0.0.1")
    with serving(issued, tickets=0, closes=closes) as (endpoint, _):
        seen = await tls(endpoint, ca_file=authority.file, timeout=0.6)()
        assert seen.ok is not closes, seen.reason
        assert seen.duration < 0.4
        assert ("closed right after the handshake" in seen.reason) is closes


async def test_files_that_are_renewed_are_read_again_and_damaged_ones_are_not_used(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    renewed = Authority(tmp_path, "renewed")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.file.read_bytes())
    with serving(renewed.issue("127.0.0.1")) as (endpoint, _):
        probe = tls(endpoint, ca_file=trusted)
        assert not (await probe()).ok
        replace(trusted, renewed.file.read_bytes())
        assert (await probe()).ok
        replace(trusted, b"damaged")
        assert (await probe()).ok
        assert (await probe()).ok
        assert sum("what was read before stays" in text for text in caplog.messages) == 1
        begun = await tls(endpoint, ca_file=trusted)()
        assert not begun.ok, "a verdict: no check is blind for a file"
        assert "cannot be used as certificates" in begun.reason


def test_a_certificate_that_the_target_has_renewed_is_looked_at(authority: Authority) -> None:
    check = TlsCheck.model_validate({"name": "c", "type": "tls", "target": "192.0.2.1:443"})
    client = TlsClient(check, "192.0.2.1")

    def seen(days: float) -> str:
        text = authority.issue("192.0.2.1", days=days).certificate.read_text()
        return client.success("", ssl.PEM_cert_to_DER_cert(text)).warning

    assert seen(3).startswith("its certificate ends in 3 days")
    assert seen(90) == ""
    assert seen(-1).startswith("its certificate has ended")
    assert client.success("", b"\x30\x03\x02\x01\x00").warning.startswith("its certificate cannot")


def replace(path: Path, text: bytes) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_bytes(text)
    os.replace(fresh, path)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"220 mail ESMTP\r\n", "TLS failed: wrong version number"),
        (b"", "connection closed in the middle of TLS"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "TLS failed: "),
        # A ServerHello of TLS 1.2, then a certificate that is none.
        (
            bytes.fromhex("160303002a020000260303" + "00" * 32 + "00c02f000000")
            + bytes.fromhex("16030300100b00000c000009000006308006000102ff"),
            "TLS failed: ",
        ),
    ],
)
async def test_who_speaks_no_tls_or_shows_no_certificate_is_told_of(
    answering: Callable[..., Endpoint], answer: bytes, why: str
) -> None:
    seen = await tls(answering(answer))()
    assert not seen.ok
    assert why in seen.reason


async def test_a_handshake_without_end_is_a_timeout(answering: Callable[..., Endpoint]) -> None:
    seen = await tls(answering(b"\x16\x03\x03\x40\x00", hold=True), timeout=0.2)()
    assert (seen.ok, seen.timed) == (False, True)
    assert "no answer within 200 ms" in seen.reason


async def test_endless_records_are_bounded(answering: Callable[..., Endpoint]) -> None:
    """Warnings of TLS, which OpenSSL does not count for ever."""
    started = time.monotonic()
    seen = await tls(answering(b"\x15\x03\x03\x00\x02\x01\x5a" * 2**20), timeout=1.0)()
    assert not seen.ok
    assert time.monotonic() - started < 2.0


async def test_probes_leave_no_descriptor(
    authority: Authority, descriptors: Callable[[], int]
) -> None:
    with serving(authority.issue("127.0.0.1"), OK) as (endpoint, _):
        assert (await get(endpoint, ca_file=authority.file)).ok
        before = descriptors()
        for _ in range(30):
            assert (await get(endpoint, ca_file=authority.file)).ok
            assert (await tls(endpoint, ca_file=authority.file)()).ok
        assert descriptors() <= before + 1


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({}, "192.0.2.1"),
        ({"host": "www.example.net"}, "www.example.net"),
        ({"host": "www.example.net:8443"}, "www.example.net"),
        ({"host": "[2001:db8::1]"}, "2001:db8::1"),
        ({"host": "[2001:db8::1]:8443"}, "2001:db8::1"),
        ({"host": "www.example.net", "server_name": "origin.example.net"}, "origin.example.net"),
    ],
)
def test_which_name_a_certificate_must_be_for(values: dict[str, str], name: str) -> None:
    url = {"name": "c", "type": "http", "url": "https://192.0.2.1/"}
    assert server_name(HttpCheck.model_validate(url | values)) == name


times = st.floats(-1e9, 4e9)


@given(begins=times, ends=times, now=times, patience=st.floats(0, 4e8))
def test_there_is_a_warning_unless_a_certificate_is_good_for_long(
    begins: float, ends: float, now: float, patience: float
) -> None:
    good = begins <= now < ends and ends - now >= patience
    assert (age_warning(begins, ends, now, patience) == "") is good


async def test_bytes_that_come_to_nothing_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """While there is something to read nothing else has its turn: no timeout ends that."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        stream = TlsStream(ours, "TLS with x")
        monkeypatch.setattr(tls_module, "MOST", 50_000)
        steps = 0

        def step() -> bytes:
            nonlocal steps
            steps += 1
            if steps < 100:  # else it would go on for ever
                theirs.send(bytes(10_000))
                raise ssl.SSLWantReadError
            return b"late"

        with pytest.raises(ProbeFailedError, match="bytes of TLS, and nothing in them"):
            await stream._pump(step)
        assert steps < 10
