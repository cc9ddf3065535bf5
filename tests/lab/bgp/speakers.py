"""Other routing daemons as the neighbor: how each is started, and what it says that it has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.bgp.conftest import run

OUR_V4, OUR_V6 = "198.51.100.2", "2001:db8:ffff::2"
V4, V6 = "198.51.100.3", "2001:db8:ffff::3"
ASN, OUR_ASN = 64601, 64701


@dataclass(frozen=True)
class Seen:
    """A route as the neighbor has it."""

    as_path: tuple[int, ...]
    med: int | None
    communities: frozenset[str]
    large: frozenset[str] = frozenset()


@dataclass
class Speaker:
    """A daemon in the upstream's namespace, with a session per family; that of IPv4 has a password.

    Its port is not opened before `start`.
    """

    namespace: str
    directory: Path
    password: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    NEEDS = ""
    """The program that must be there."""

    def start(self) -> None:
        raise NotImplementedError

    def routes(self) -> dict[str, Seen]:
        raise NotImplementedError

    def spawn(self, *command: str, **environment: str) -> None:
        with (self.directory / "speaker.log").open("ab") as log:
            self.processes.append(
                subprocess.Popen(
                    ["ip", "netns", "exec", self.namespace, *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=os.environ | environment,
                    start_new_session=True,
                )
            )

    def ask(self, *command: str) -> str:
        return run("ip", "netns", "exec", self.namespace, *command)

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(5)


class Frr(Speaker):
    """bgpd alone: with no zebra it takes every next hop for reachable (-Z)."""

    NEEDS = "/usr/lib/frr/bgpd"

    def start(self) -> None:
        config = self.directory / "bgpd.conf"
        config.write_text(
            f"router bgp {ASN}\n"
            f" bgp router-id {V4}\n"
            " no bgp ebgp-requires-policy\n"
            " no bgp default ipv4-unicast\n"
            f" neighbor {OUR_V4} remote-as {OUR_ASN}\n"
            f" neighbor {OUR_V4} password {self.password}\n"
            f" neighbor {OUR_V4} timers connect 1\n"
            f" neighbor {OUR_V6} remote-as {OUR_ASN}\n"
            f" neighbor {OUR_V6} timers connect 1\n"
            " address-family ipv4 unicast\n"
            f"  neighbor {OUR_V4} activate\n"
            " exit-address-family\n"
            " address-family ipv6 unicast\n"
            f"  neighbor {OUR_V6} activate\n"
            " exit-address-family\n"
        )
        own = str(self.directory)
        self.spawn(
            *(self.NEEDS, "-f", str(config), "-i", f"{own}/bgpd.pid", "-z", f"{own}/no-zebra"),
            *("--vty_socket", own, "-P", "0", "-Z", "-S", "-u", "root", "-g", "root"),
        )

    def routes(self) -> dict[str, Seen]:
        found = {}
        for family in ("ipv4", "ipv6"):
            for prefix in self._vtysh(f"show bgp {family} unicast json").get("routes", {}):
                shown = self._vtysh(f"show bgp {family} unicast {prefix} json")
                for path in shown.get("paths", ()):
                    found[prefix] = Seen(
                        tuple(map(int, path["aspath"]["string"].split())),
                        path.get("metric"),
                        frozenset(path.get("community", {}).get("list", ())),
                        frozenset(path.get("largeCommunity", {}).get("list", ())),
                    )
        return found

    def _vtysh(self, command: str) -> Any:
        try:
            return json.loads(
                self.ask("vtysh", "--vty_socket", str(self.directory), "-d", "bgpd", "-c", command)
            )
        except (subprocess.CalledProcessError, json.JSONDecodeError):
            return {}  # it is not up yet


class GoBgp(Speaker):
    NEEDS = "/usr/bin/gobgpd"

    def start(self) -> None:
        config = self.directory / "gobgpd.toml"
        config.write_text(
            f'[global.config]\nas = {ASN}\nrouter-id = "{V4}"\n'
            f'local-address-list = ["{V4}", "{V6}"]\n'
            + "".join(
                f"[[neighbors]]\n[neighbors.config]\n"
                f'neighbor-address = "{address}"\npeer-as = {OUR_ASN}\n{password}'
                f"[neighbors.timers.config]\nconnect-retry = 1\n"
                "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\n"
                f'afi-safi-name = "{family}-unicast"\n'
                for address, family, password in (
                    (OUR_V4, "ipv4", f'auth-password = "{self.password}"\n'),
                    (OUR_V6, "ipv6", ""),
                )
            )
        )
        self.spawn(self.NEEDS, "-f", str(config), "--api-hosts", "127.0.0.1:50051", "-p")

    def routes(self) -> dict[str, Seen]:
        found = {}
        for family in ("ipv4", "ipv6"):
            try:
                said = self.ask("gobgp", "global", "rib", "-a", family, "-j")
            except subprocess.CalledProcessError:
                continue  # it is not up yet
            for prefix, paths in (json.loads(said) or {}).items():
                found[prefix] = _gobgp(paths[0]["attrs"])
        return found


def _gobgp(attributes: list[dict[str, Any]]) -> Seen:
    by_type = {each["type"]: each for each in attributes}
    path = by_type[2]["as_paths"]
    numbers = by_type.get(8, {}).get("communities", ())
    return Seen(
        tuple(asn for part in path for asn in part["asns"]),
        by_type.get(4, {}).get("metric"),
        frozenset(f"{number >> 16}:{number & 0xFFFF}" for number in numbers),
        frozenset(
            f"{each['ASN']}:{each['LocalData1']}:{each['LocalData2']}"
            for each in by_type.get(32, {}).get("value", ())
        ),
    )


class ExaBgp(Speaker):
    """It keeps no table: what it has is what its messages add up to."""

    NEEDS = "/usr/sbin/exabgp"

    def start(self) -> None:
        config = self.directory / "exabgp.conf"
        listen = self.directory / "listen.py"
        # Its standard output has to stay open: else ExaBGP takes it for dead.
        listen.write_text(
            "import os\n"
            f"with open({str(self.directory / 'heard.json')!r}, 'ab', buffering=0) as heard:\n"
            "    while data := os.read(0, 65536):\n"
            "        heard.write(data)\n"
        )
        config.write_text(
            "process listen {\n"
            f"  run {sys.executable} {listen};\n"
            "  encoder json;\n"
            "}\n"
            + "".join(
                f"neighbor {theirs} {{\n"
                f"  router-id {V4};\n  local-address {own};\n"
                f"  local-as {ASN};\n  peer-as {OUR_ASN};\n  hold-time 9;\n{password}"
                f"  family {{ {family} unicast; }}\n"
                "  api { processes [ listen ]; neighbor-changes; receive { parsed; update; } }\n"
                "}\n"
                for theirs, own, family, password in (
                    (OUR_V4, V4, "ipv4", f'  md5-password "{self.password}";\n'),
                    (OUR_V6, V6, "ipv6", ""),
                )
            )
        )
        environment = {
            "exabgp.daemon.user": "root",
            "exabgp.daemon.drop": "false",
            "exabgp.api.cli": "false",
            "exabgp.api.ack": "false",
        }
        self.spawn(self.NEEDS, str(config), **environment)

    def routes(self) -> dict[str, Seen]:
        by_session: dict[str, dict[str, Seen]] = {}
        for message in self._heard():
            if "neighbor" not in message:
                continue  # of ExaBGP itself
            neighbor = message["neighbor"]
            found = by_session.setdefault(neighbor["address"]["peer"], {})
            if message["type"] == "state" and neighbor["state"] == "down":
                found.clear()
            update = neighbor.get("message", {}).get("update", {})
            for routes in update.get("withdraw", {}).values():
                for route in routes:
                    found.pop(route["nlri"], None)
            for hops in update.get("announce", {}).values():
                for routes in hops.values():
                    for route in routes:
                        if "nlri" in route:
                            found[route["nlri"]] = _exabgp(update["attribute"])
        return {prefix: seen for found in by_session.values() for prefix, seen in found.items()}

    def _heard(self) -> Iterator[Any]:
        path = self.directory / "heard.json"
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return  # the last line is not whole yet


def _exabgp(attributes: dict[str, Any]) -> Seen:
    def words(name: str) -> frozenset[str]:
        return frozenset(":".join(map(str, each)) for each in attributes.get(name, ()))

    return Seen(
        tuple(attributes["as-path"]),
        attributes.get("med"),
        words("community"),
        words("large-community"),
    )


SPEAKERS: tuple[type[Speaker], ...] = (Frr, GoBgp, ExaBgp)
