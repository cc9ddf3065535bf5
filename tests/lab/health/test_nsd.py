"""DNS checks on a real nsd."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from edgenode.config import Endpoint
from edgenode.health import State
from edgenode.health.observation import Observation
from edgenode.health.probes import probe_of
from tests.lab.health.conftest import free_port
from tests.lab.health.test_nginx import check_of, watching

CONFIGURATION = """
server:
  ip-address: 127.0.0.1@{port}
  username: ""
  chroot: ""
  zonesdir: "{directory}"
  pidfile: "{directory}/pid"
  database: ""
  zonelistfile: "{directory}/list"
  xfrdfile: "{directory}/xfrd"
  xfrdir: "{directory}"
  logfile: "{directory}/log"
remote-control:
  control-enable: no
zone:
  name: example.net
  zonefile: zone
"""

ZONE = """
$TTL 60
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 192.0.2.53
www A 192.0.2.7
www AAAA 2001:db8::7
alias CNAME www
"""


class Nsd:
    """An authority for example.net, until it is killed."""

    def __init__(self, directory: Path) -> None:
        self.endpoint = Endpoint(ip_address("127.0.0.1"), free_port())
        text = CONFIGURATION.format(port=self.endpoint.port, directory=directory)
        (directory / "nsd.conf").write_text(text)
        big = "\n".join(f'big TXT "{n:0100}"' for n in range(40))
        (directory / "zone").write_text(f"{ZONE}{big}\n")
        command = ["nsd", "-d", "-c", str(directory / "nsd.conf")]
        self.process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.endpoint.port)) == 0:
                    return
            time.sleep(0.01)
        raise AssertionError((directory / "log").read_text())

    def signal(self, number: signal.Signals) -> None:
        """To all its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    async def ask(self, **values: Any) -> Observation:
        usual = {"name": "c", "type": "dns", "target": str(self.endpoint), "timeout": 2.0}
        return await probe_of(check_of.validate_python(usual | values), Path("-"))()


@pytest.fixture
def nsd(tmp_path: Path) -> Iterator[Nsd]:
    one = Nsd(tmp_path)
    yield one
    one.signal(signal.SIGKILL)
    one.process.wait()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_answers(nsd: Nsd, transport: str) -> None:
    def ask(query: str, **values: Any) -> Any:
        return nsd.ask(query=query, transport=transport, **values)

    assert (await ask("www.example.net", answers=["192.0.2.7"])).ok
    assert (await ask("alias.example.net", answers=["192.0.2.7"])).ok
    assert (await ask("www.example.net", record="AAAA", answers=["2001:db8::7"])).ok
    soa = "ns.example.net hostmaster.example.net 1 3600 600 86400 60"
    assert (await ask("example.net", record="SOA", answers=[soa])).ok
    assert (await ask("gone.example.net")).reason.endswith("NXDOMAIN")
    assert (await ask("gone.example.net", rcode="NXDOMAIN")).ok
    assert (await ask("example.org", rcode="REFUSED")).ok


async def test_an_answer_that_does_not_fit_comes_over_tcp(nsd: Nsd) -> None:
    wanted = [f'"{n:0100}"' for n in (0, 39)]
    seen = await nsd.ask(query="big.example.net", record="TXT", answers=wanted)
    assert seen.ok, seen.reason


async def test_a_server_that_hangs_and_one_that_dies(nsd: Nsd) -> None:
    values: dict[str, Any] = {"type": "dns", "query": "www.example.net", "tripwire": True}
    async with watching(nsd, fall=2, **values) as watched:
        nsd.signal(signal.SIGSTOP)
        down = await watched.wait(State.DOWN)
        assert "no answer within 300 ms" in down.reason
        nsd.signal(signal.SIGCONT)
        await watched.wait(State.UP)
        await asyncio.sleep(0.1)
        killed = time.monotonic()
        nsd.signal(signal.SIGKILL)
        assert (await watched.wait(State.DOWN)).since - killed < 1
