"""https and tls checks on a real nginx, with certificates of a test's own authority."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgenode.health import State
from edgenode.health.probes import probe_of
from tests.lab.health.test_nginx import SOON, check_of, watching
from tests.unit.health.certificates import Authority, Issued

StartNginx = Callable[..., Any]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def ssl(shown: Issued) -> str:
    return f"ssl_certificate {shown.certificate}; ssl_certificate_key {shown.key};"


async def probe(values: dict[str, Any]) -> Any:
    usual: dict[str, Any] = {"name": "c", "timeout": 2.0}
    return await probe_of(check_of.validate_python(usual | values), Path("-"))()


async def test_https_with_a_client_certificate(
    nginx: StartNginx, authority: Authority, tmp_path: Path
) -> None:
    shown, ours = authority.issue("www.example.net"), authority.issue("edge")
    clients = (
        f"ssl_client_certificate {authority.file}; ssl_verify_client on; ssl_protocols TLSv1.3;"
    )
    proxy = nginx(options="ssl", http=ssl(shown) + clients + "ssl_protocols TLSv1.3;")
    values: dict[str, Any] = {
        "type": "http",
        "url": f"https://{proxy.endpoint}/health",
        "host": "www.example.net",
        "ca_file": authority.file,
        "body": {"regex": "^ok$"},
        "headers": [{"name": "Content-Type", "contains": "text/plain"}],
    }
    refused = await probe(values)
    assert not refused.ok
    assert refused.reason.endswith("status 400"), "No required SSL certificate was sent"
    keys = {"client_certificate": ours.certificate, "client_key": ours.key}
    for _ in range(20):
        seen = await probe(values | keys)
        assert (seen.ok, seen.warning) == (True, ""), seen.reason
    stranger = Authority(tmp_path, "stranger").issue("edge")
    theirs = {"client_certificate": stranger.certificate, "client_key": stranger.key}
    assert (await probe(values | theirs)).reason.endswith("status 400")
    # nginx lets every handshake end well, and says what it misses in HTTP alone.
    alone = {"type": "tls", "target": proxy.endpoint, "server_name": "www.example.net"}
    for options in ({}, keys, theirs):
        seen = await probe(alone | {"ca_file": authority.file} | options)
        assert seen.reason == f"TLS with {proxy.endpoint}: TLSv1.3"
        assert seen.ok
    seen = await probe(values | keys | {"body": {"regex": "^OK$"}})
    assert 'the body must match "^OK$"' in seen.reason
    await asyncio.sleep(0.1)
    levels = {line.split("[")[1].split("]")[0] for line in proxy.log("error.log")}
    assert levels <= {"info", "notice"}


async def test_a_certificate_that_ends_is_a_warning_beside_up(
    nginx: StartNginx, authority: Authority
) -> None:
    shown = authority.issue("127.0.0.1", days=-1)
    proxy = nginx(options="ssl", http=ssl(shown))
    async with watching(proxy, type="tls", ca_file=authority.file) as watched:
        await asyncio.sleep(0.3)
        counters = watched.checker.counters()["c"]
        assert "certificate has ended" in counters.warning
        assert counters.failed == 0
        killed = time.monotonic()
        proxy.kill_all()
        assert (await watched.wait(State.DOWN)).since - killed < SOON
    levels = {line.split("[")[1].split("]")[0] for line in proxy.log("error.log")}
    assert levels <= {"info", "notice"}, "the end of our probes is no error of the proxy"


async def test_a_unix_socket_with_its_tripwire(nginx: StartNginx, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    server = f"server {{ listen unix:{path}; location / {{ return 200 ready; }} }}"
    proxy = nginx(http=server)
    values = {"unix_socket": path, "body": {"contains": "ready"}}
    async with watching(proxy, "/", **values) as watched:
        await asyncio.sleep(0.1)
        killed = time.monotonic()
        proxy.kill_all()
        down = await watched.wait(State.DOWN)
        assert down.since - killed < SOON
        assert down.reason == f"connection to {path} refused"
