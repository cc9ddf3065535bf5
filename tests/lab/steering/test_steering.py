"""Steering between hosts: addresses, a cut tunnel, a mesh that is away, a hung relay worker."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgenode.steering.slot import BEAT_TIMEOUT
from edgenode.steering.table import Bind
from tests.lab.steering.site import MESH, PORT, SERVICE, USER, Site, site
from tests.unit.steering.process import Control
from tests.unit.steering.running import eventually

FAMILIES = pytest.mark.parametrize("workers", [4, 6])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


@FAMILIES
@pytest.mark.parametrize("users", [4, 6])
def test_all_addresses_are_the_right_ones(place: Site, users: int, workers: int) -> None:
    """Users and workers may be of different families."""
    place.publish(place.table(workers))
    assert place.ask(users) == b"near:x"
    peer, header = place.seen[0]
    assert peer == MESH[workers]
    assert header is not None
    assert header.source is not None
    assert header.source[0] == USER[users]
    assert header.destination == (SERVICE[users], PORT)


@FAMILIES
def test_a_cut_tunnel_moves_new_connections_at_once(place: Site, workers: int) -> None:
    place.publish(place.table(workers))
    for _ in range(3):
        assert place.ask(4) == b"near:x"
    place.cut(True)
    waits = []
    for _ in range(5):
        started = time.monotonic()
        assert place.ask(4) == b"far:x"
        waits.append(time.monotonic() - started)
    assert max(waits) < 1.0  # the timeout is 3 s

    def lines() -> list[dict[str, Any]]:
        text = (place.directory / "log").read_text()
        found = [json.loads(line) for line in text.splitlines()]
        return found if len(found) == 8 else []

    # The first ones race the next region; then nobody is sent there any more.
    attempts = [line["attempts"] for line in eventually(lines)[3:]]
    assert (attempts[0], attempts[-1]) == (2, 1)
    place.cut(False)
    eventually(lambda: place.ask(4) == b"near:x")


@FAMILIES
def test_nothing_leaves_without_the_mesh(place: Site, workers: int) -> None:
    """No mesh address, none in the table, or no device: users are reset, no worker is reached."""
    addresses = Bind("mesh", None, None)
    place.publish(place.table(workers, addresses))
    with pytest.raises(ConnectionResetError):
        place.ask(4)
    place.publish(place.table(workers))
    place.ip("edge", f"addr del {MESH[workers]} dev mesh")
    with pytest.raises(ConnectionResetError):
        place.ask(4)
    place.ip("edge", "link del mesh")
    with pytest.raises(ConnectionResetError):
        place.ask(4)
    assert place.seen == []


def test_a_hung_relay_worker_is_replaced(place: Site) -> None:
    place.publish(place.table(4))
    with Control(place.directory / "run" / "steering" / "steering.sock") as control:
        (before,) = [relay["pid"] for relay in control.report()["relays"]]
        os.kill(before, signal.SIGSTOP)
        started = time.monotonic()
        # The user waits in the queue of the listener meanwhile.
        assert place.ask(4) == b"near:x"
        assert time.monotonic() - started < BEAT_TIMEOUT + 4
        # The reports of the meantime are read first.
        eventually(lambda: before not in [relay["pid"] for relay in control.report()["relays"]])


def test_a_supervisor_that_stood_still_kills_nobody(place: Site) -> None:
    place.publish(place.table(4))
    with Control(place.directory / "run" / "steering" / "steering.sock") as control:
        (before,) = [relay["pid"] for relay in control.report()["relays"]]
        with place.connect(4) as user:
            user.sendall(b"x")
            place.stand_still(BEAT_TIMEOUT + 1)
            for _ in range(3):  # about a second each
                while control.receive()["type"] != "report":
                    pass
            user.shutdown(socket.SHUT_WR)
            assert user.recv(100) == b"near:x"
        assert [relay["pid"] for relay in control.report()["relays"]] == [before]
