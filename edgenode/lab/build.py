"""Putting a plan up: namespaces, links, addresses, and what runs on each node."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from edgenode.lab import keys, netns, tunnels
from edgenode.lab.errors import LabError
from edgenode.lab.links import NetemLinks, WireLinks, has_netem, make_veth
from edgenode.lab.names import WIRE, namespace, tunnel_device
from edgenode.lab.nodes import addresses, edge, region, transit
from edgenode.lab.python import environment, module
from edgenode.lab.topology import Edge, Node, Region, Topology, Transit
from edgenode.lab.waiting import wait_until
from edgenode.places import control_state


class Host(Protocol):
    """What building needs of the lab that is built."""

    name: str

    @property
    def topology(self) -> Topology: ...

    @property
    def settings(self) -> edge.Settings: ...

    def directory(self, node: str) -> Path: ...

    def spawn(
        self,
        node: str,
        daemon: str,
        argv: Iterable[str],
        environment: dict[str, str] | None = None,
        text: str | None = None,
    ) -> None: ...


def in_parallel(tasks: Iterable[Callable[[], None]]) -> None:
    """Run tasks side by side, and raise the first error once all have ended."""
    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(task) for task in tasks]:
            future.result()


def namespaces(lab: Host) -> None:
    """Make all namespaces, with their sysctls. Raises LabError."""
    netns.create(namespace(lab.name, WIRE))
    for node in lab.topology.nodes:
        netns.create(namespace(lab.name, node.name))
        sysctls = {**addresses.SYSCTLS, **_sysctls(node)}
        netns.sysctl(namespace(lab.name, node.name), sysctls)


def _sysctls(node: Node) -> dict[str, int]:
    if isinstance(node, Transit):
        return transit.SYSCTLS
    return edge.SYSCTLS if isinstance(node, Edge) else {}


def links(lab: Host) -> tuple[bool, NetemLinks | WireLinks]:
    """Make all links, and give them addresses. Returns whether the kernel's netem delays them.

    Raises LabError.
    """
    for link in lab.topology.links:
        if link.rtt == 0:
            make_veth(lab.name, link)
    far = [link for link in lab.topology.links if link.rtt > 0]
    netem = has_netem(namespace(lab.name, WIRE))
    delaying = delay_links(lab, netem)
    if isinstance(delaying, NetemLinks):
        delaying.make(far)
    elif far:
        lab.spawn(
            WIRE,
            "link",
            module("edgenode.lab.link", str(delaying.path)),
            environment(),
            WireLinks.specification(lab.name, far),
        )
        wait_until(delaying.ready, 10, f"the delay line of lab {lab.name} is ready")
    for node in lab.topology.nodes:
        netns.configure(namespace(lab.name, node.name), addresses.links(lab.topology, node))
    return netem, delaying


def delay_links(lab: Host, netem: bool) -> NetemLinks | WireLinks:
    """The means by which the links of a lab are delayed."""
    return NetemLinks(lab.name) if netem else WireLinks(lab.directory(WIRE) / "link.sock")


def make_keys(lab: Host) -> dict[str, str]:
    """Make a WireGuard key for each edge and region: node → public key. Raises LabError."""
    nodes = (*lab.topology.edges, *lab.topology.regions)
    return {
        n.name: keys.make(lab.directory(n.name) / "state" / "control" / "wireguard.key")
        for n in nodes
    }


def start_transit(lab: Host, node: Transit) -> None:
    """Raises LabError."""
    space, directory = namespace(lab.name, node.name), lab.directory(node.name)
    netns.configure(space, transit.commands(lab.topology))
    netns.run(["nft", "-f", "-"], text=transit.FIREWALL, namespace=space)
    (directory / "bird.conf").write_text(transit.configuration(lab.topology, node))
    lab.spawn(node.name, "bird", transit.bird(directory))


def has_wireguard(lab: Host) -> bool:
    """Whether the kernel has WireGuard: tried in a namespace of the lab."""
    scratch = namespace(lab.name, WIRE)
    try:
        netns.configure(scratch, ["link add probe type wireguard", "link del probe"])
    except LabError:
        return False
    return True


def reserve_tunnel(lab: Host, node: str) -> str:
    """The name of a node's tunnel device. Raises LabError when a wireguard-go of somebody else
    has it: `wg` would then set up that one."""
    device = tunnel_device(lab.name, node)
    socket = tunnels.control_socket(device)
    if tunnels.answers(socket):
        raise LabError(
            f"a WireGuard device {device} that is not the lab's is controlled by {socket}: "
            "take another name for the lab"
        )
    return device


def start_tunnel(lab: Host, node: str, device: str) -> None:
    """Start wireguard-go on a node and wait until it can be set up. Raises LabError."""
    socket = tunnels.control_socket(device)
    lab.spawn(node, tunnels.DAEMON, ("wireguard-go", "-f", device), {"LOG_LEVEL": "error"})
    wait_until(lambda: tunnels.answers(socket), 10, f"wireguard-go makes the device {device}")


def start_region(lab: Host, node: Region, public_keys: dict[str, str], kernel: bool) -> None:
    """Raises LabError."""
    space, directory = namespace(lab.name, node.name), lab.directory(node.name)
    device = reserve_tunnel(lab, node.name)
    if kernel:
        netns.configure(space, [f"link add {device} type wireguard"])
    else:
        start_tunnel(lab, node.name, device)
    secret = _key_file(directory).read_text().strip()
    settings = region.wireguard(lab.topology, secret, public_keys)
    netns.run(["wg", "setconf", device, "/dev/stdin"], text=settings, namespace=space)
    netns.configure(space, region.commands(lab.topology, node, device))
    with (directory / "bytes").open("wb") as file:
        os.truncate(file.fileno(), region.BYTES)
    for worker in node.workers:
        path = directory / f"{worker.name}.conf"
        path.write_text(region.nginx(lab.topology, node, worker, directory))
        lab.spawn(node.name, worker.name, nginx(path))


def nginx(configuration: Path) -> tuple[str, ...]:
    """The command that runs an nginx in the foreground."""
    return ("nginx", "-e", "stderr", "-c", str(configuration))


def start_edge(lab: Host, node: Edge, public_keys: dict[str, str], kernel: bool) -> None:
    """Raises LabError."""
    directory = lab.directory(node.name)
    device = reserve_tunnel(lab, node.name)
    config = directory / "edgenode.toml"
    config.write_text(
        edge.configuration(lab.topology, node, directory, device, public_keys, lab.settings)
    )
    (directory / "run").mkdir(mode=0o700, exist_ok=True)
    if not kernel:  # else control makes the device
        start_tunnel(lab, node.name, device)
    (directory / "nginx.conf").write_text(edge.nginx(node, directory))
    lab.spawn(node.name, "nginx", nginx(directory / "nginx.conf"))
    for daemon in ("lifeline", "steering", "exec-runner"):
        lab.spawn(node.name, daemon, edge.daemon(config, daemon), environment())
    start_bird(lab, node)
    lab.spawn(node.name, "control", edge.daemon(config, "control"), environment())


def start_bird(lab: Host, node: Edge) -> None:
    """Write an edge's BIRD configuration, with nothing announced, and start BIRD on it.

    Raises LabError.
    """
    directory = lab.directory(node.name)
    netns.run(edge.render_bird(directory / "edgenode.toml"), environment=environment())
    lab.spawn(node.name, "bird", transit.bird(directory))


def _key_file(directory: Path) -> Path:
    return control_state(directory / "state") / "wireguard.key"
