"""wireguard-go's sockets: only what is a lab's for sure is removed, and only when it is dead."""

from __future__ import annotations

import socket
from pathlib import Path

from edgenode.lab import tunnels
from edgenode.lab.delays import built_in
from edgenode.lab.nodes.edge import Settings
from edgenode.lab.process import Command
from edgenode.lab.state import Daemon, State
from edgenode.lab.topology import plan

LAB = "tnlx"


def state(root: Path, *nodes: str) -> None:
    (root / LAB).mkdir()
    found = State(plan(built_in()), Settings())
    command = Command(("wireguard-go",), "namespace", "mark", root / "log", {})
    for node in nodes:
        found.daemons[node] = {"bird": Daemon(command), tunnels.DAEMON: Daemon(command)}
    found.daemons["lon"] = {"bird": Daemon(command)}
    found.save(root / LAB)


def test_a_name_alone_makes_nothing_a_labs(tmp_path: Path) -> None:
    assert tunnels.devices(LAB, tmp_path) == set()
    state(tmp_path, "lon1", "fra")
    assert tunnels.devices(LAB, tmp_path) == {f"{LAB}-lon1", f"{LAB}-fra"}


def test_only_a_socket_that_listens_answers(tmp_path: Path) -> None:
    path = tunnels.control_socket("wgx", tmp_path)
    assert not tunnels.answers(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert not tunnels.answers(path)
        listener.listen(0)
        for _ in range(3):  # the first fills its queue
            assert tunnels.answers(path)
    assert path.exists()
    assert not tunnels.answers(path)


def test_dead_sockets_of_the_lab_go_and_no_others(tmp_path: Path) -> None:
    dead, living, other = (tunnels.control_socket(name, tmp_path) for name in ("a-b", "a-c", "a-d"))
    dead.touch()
    other.touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(living))
        listener.listen()
        tunnels.remove_sockets({"a-b", "a-c", "a-gone"}, tmp_path)
        assert {*tmp_path.iterdir()} == {living, other}
