"""A whole node, an etcd, and worker hosts that join, drain and leave: as operators see them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgenode import places
from edgenode.api.client import ApiError, ControlAway, call
from edgenode.lab import netns
from edgenode.lab.waiting import wait_until
from edgenode.state.registrycopy import RegistryCopy
from tests.lab.mesh.pair import PORT, Node, pair, server
from tests.lab.registry import etcd as etcd_server
from tests.lab.registry.etcd import DIES_WITH_US, EtcdServer

NODE = """\
[node]
name = "here"
run_dir = "{state}/run"
state_dir = "{state}/lib"
[bgp]
asn = 64700
router_id = "192.0.2.250"
socket = "{state}/nobody.ctl"
config = "{state}/bird.conf"
[[bgp.neighbors]]
name = "transit"
address = "192.0.2.254"
asn = 64601
[[groups]]
name = "web"
prefixes = ["203.0.113.0/24"]
addresses = ["203.0.113.1"]
[[services]]
name = "web"
group = "web"
listen = ["203.0.113.1:80"]
port = {port}
[[regions]]
name = "fra"
probe = {{ interval = "200ms", timeout = "1s" }}
[registry]
endpoints = ["{etcd}"]
look_interval = "200ms"
linger = "500ms"
timeout = "1s"
[mesh]
device = "{device}"
addresses = ["{v4}", "{v6}"]
private_key_file = "{key}"
[[mesh.peers]]
name = "fra"
public_key = "{public_key}"
endpoint = "{underlay}:51820"
allowed = ["{peer_v4}/32", "{peer_v6}/128"]
keepalive = "1s"
"""

WORKER = """\
region = "fra"
name = "{name}"
addresses = ["{address}"]
state_dir = "{state}/{name}"
lease = "2s"
report_interval = "1s"
load_command = ["/bin/echo", "0.42"]
drain_time = "300ms"
[registry]
endpoints = ["{etcd}"]
timeout = "1s"
"""


class Site:
    """The edge's namespace has etcd in it, and the workers' commands: they need no more."""

    def __init__(self, state: Path, edge: Node, worker: Node, etcd: EtcdServer) -> None:
        self.state, self.edge, self.worker, self.etcd = state, edge, worker, etcd
        self._running: list[subprocess.Popen[bytes]] = []
        (state / "node.toml").write_text(
            NODE.format(
                state=state,
                etcd=etcd.url,
                port=PORT,
                device=edge.device,
                v4=edge.v4,
                v6=edge.v6,
                key=edge.key_file,
                public_key=worker.public_key,
                underlay=worker.underlay,
                peer_v4=worker.v4,
                peer_v6=worker.v6,
            )
        )

    def host(self, name: str, address: str) -> Path:
        """The configuration of a worker's host."""
        path = self.state / f"{name}.toml"
        values = {"name": name, "address": address, "state": self.state, "etcd": self.etcd.url}
        path.write_text(WORKER.format(**values))
        return path

    def start(self, log: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [*DIES_WITH_US, sys.executable, "-m", "edgenode.cli", *arguments]
        with netns.inside(self.edge.namespace), (self.state / f"{log}.log").open("ab") as file:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        self._running.append(process)
        return process

    def control(self) -> subprocess.Popen[bytes]:
        return self.start("control", "--config", str(self.state / "node.toml"), "control")

    def join(self, host: Path) -> subprocess.Popen[bytes]:
        return self.start(host.stem, "worker", "join", "--config", str(host))

    def said(self, log: str, text: str) -> None:
        path = self.state / f"{log}.log"
        wait_until(lambda: text in path.read_text(), 10, f"{text!r} in {path}")

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        with netns.inside(self.edge.namespace):
            running = subprocess.Popen(
                [sys.executable, "-m", "edgenode.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        out, err = running.communicate(timeout=30)
        return subprocess.CompletedProcess(running.args, running.returncode, out, err)

    def status(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = call(
                places.control_socket(self.state / "run"), "GET", "/v1/status"
            )
        except (ApiError, ControlAway):
            return {}
        return found

    def registry(self) -> dict[str, Any]:
        found: dict[str, Any] = self.status().get("registry", {})
        return found

    def up(self) -> list[str]:
        """The workers that answer."""
        regions = self.status().get("regions", [])
        targets = regions[0]["targets"] if regions else {}
        return sorted(
            name.partition(":")[0] for name, each in targets.items() if each["state"] == "up"
        )

    def until_up(self, *workers: str) -> None:
        wait_until(lambda: self.up() == [*workers], 15, f"{workers} up")

    def record(self, name: str) -> dict[str, Any]:
        text = self.etcd.ctl("get", "--print-value-only", f"/edgenode/workers/fra/{name}").stdout
        found: dict[str, Any] = json.loads(text) if text.strip() else {}
        return found

    def close(self) -> None:
        for process in self._running:
            process.kill()
            process.wait(10)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with pair(tmp_path) as (edge, worker), _etcd(edge.namespace, tmp_path) as etcd:
        worker.ensure(edge)
        made = Site(tmp_path, edge, worker, etcd)
        try:
            yield made
        finally:
            made.close()


@contextmanager
def _etcd(inside: str, directory: Path) -> Iterator[EtcdServer]:
    netns.configure(inside, ["link set lo up"])
    with etcd_server.server(inside, directory) as made:
        yield made


def test_the_life_of_a_worker(site: Site) -> None:
    one, two = site.host("one", site.worker.v4), site.host("two", site.worker.v6)
    control, joined = site.control(), site.join(one)
    with server(site.worker, []):
        site.until_up("one")
        assert site.registry()["source"] == "etcd"
        second = site.join(two)
        site.until_up("one", "two")
        wait_until(
            lambda: site.registry()["loads"] == {"fra/one": 0.42, "fra/two": 0.42}, 15, "loads"
        )

        # Drained, and not: whoever asks for it, the service that runs goes along.
        done = site.command("worker", "drain", "--config", str(two), "--json")
        assert json.loads(done.stdout) == {
            "region": "fra",
            "name": "two",
            "draining": True,
            "registered": True,
        }

        def drained() -> bool:
            return bool(site.status()["regions"][0]["targets"][f"two:{PORT}"]["draining"])

        wait_until(drained, 5, "the edge knows it")
        assert site.up() == ["one", "two"], "it is probed all the same"
        second.kill()
        second.wait(10)
        second = site.join(two)
        wait_until(lambda: "is registered, draining" in _log(site, "two"), 10, "it still drains")
        assert site.command("worker", "undrain", "--config", str(two)).returncode == 0
        wait_until(lambda: not drained(), 5, "it takes connections again")

        # Nobody is removed by half a name, or in place of another.
        running = site.command("worker", "leave", "--config", str(two))
        assert (running.returncode, "join runs on this host" in running.stderr) == (1, True)
        identity = site.record("two")["identity"]
        for region, name, which, said in (
            ("fra", "tw", identity, "is not registered"),
            ("fra", "two", "another-machine", "is registered by another machine"),
            ("fra", "one", identity, "is registered by another machine"),
        ):
            asked = ("--region", region, "--name", name, "--identity", which)
            found = site.command("worker", "leave", "--config", str(two), *asked)
            assert said in found.stdout + found.stderr
        assert site.record("one")
        assert site.record("two")

        # A machine with another's address, and one with another's name.
        thief = site.join(site.host("thief", site.worker.v4))
        site.said("thief", f"{site.worker.v4} is the address of fra/one")
        thief.kill()
        twin = site.host("twin", site.worker.v6)
        twin.write_text(twin.read_text().replace('name = "twin"', 'name = "two"'))
        double = site.join(twin)
        site.said("twin", "fra/two is registered by another machine")
        double.kill()
        assert site.up() == ["one", "two"]

        # Told to end, it drains and leaves; killed, its lease ends.
        second.send_signal(signal.SIGTERM)
        assert second.wait(10) == 0
        site.until_up("one")
        assert site.record("two") == {}
        joined.kill()
        wait_until(lambda: site.record("one") == {}, 10, "its lease has ended")
        wait_until(lambda: site.registry()["workers"] == 0, 10, "and the edge knows it")
    control.send_signal(signal.SIGTERM)
    assert control.wait(10) == 0


def _log(site: Site, name: str) -> str:
    return (site.state / f"{name}.log").read_text()


def test_without_etcd_the_copy_serves(site: Site) -> None:
    control, joined = site.control(), site.join(site.host("one", site.worker.v4))
    with server(site.worker, []):
        site.until_up("one")
        dry = site.start("dry", "--config", str(site.state / "node.toml"), "control", "--dry-run")
        site.said("dry", "dry run of node here")
        other = {"identity": "by-hand-1", "addresses": [site.worker.v6], "draining": True}
        site.etcd.put("/edgenode/workers/fra/two", json.dumps(other))
        revision = site.etcd.revision()
        site.said("dry", "registry fra/two: registered")
        dry.send_signal(signal.SIGTERM)
        assert dry.wait(10) == 0
        assert site.etcd.revision() == revision, "a dry run reads, and writes nothing"
        site.etcd.ctl("del", "/edgenode/workers/fra/two")
        site.until_up("one")
        copy = RegistryCopy(places.control_state(site.state / "lib"))

        def kept() -> list[str]:
            stored = copy.load()
            return [each.key for each in stored.records if each.gone is None] if stored else []

        wait_until(lambda: kept() == ["/edgenode/workers/fra/one"], 10, "a copy of the last state")
        site.etcd.kill()
        wait_until(lambda: site.registry().get("source") == "copy", 5, "it is said")
        age = site.registry()["age_s"]
        wait_until(lambda: site.registry()["age_s"] > age + 1, 5, "its age grows")
        assert site.up() == ["one"]
        site.said("one", "it is tried again and again")

        control.send_signal(signal.SIGTERM)
        assert control.wait(10) == 0
        site.control()
        site.until_up("one")
        wait_until(lambda: "Connect" in site.registry()["problem"], 5, "etcd is tried, in vain")
        known = site.registry()
        assert known["source"] == "copy"
        assert known["age_s"] > age

        site.etcd.start()
        wait_until(lambda: site.registry().get("source") == "etcd", 15, "etcd is heard again")
        wait_until(lambda: site.record("one"), 15, "and the worker is registered in it")
        assert site.up() == ["one"]
        assert joined.poll() is None
