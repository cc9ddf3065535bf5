"""Limits and outliers over two relay workers: real processes, users and workers elsewhere."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgenode.steering.faults import GONE
from edgenode.steering.table import Outliers, RegionTargets, Table
from tests.lab.steering.site import NEAR, Site, site
from tests.unit.steering.process import Control
from tests.unit.steering.running import eventually

SOFT, HARD, FAR = 4, 6, 4
ALL = HARD + FAR


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, relays=2) as made:
        yield made


@pytest.fixture
def control(place: Site) -> Iterator[Control]:
    with Control(place.directory / "run" / "steering" / "steering.sock") as made:
        yield made


def limited(place: Site) -> Table:
    table = place.table(4)
    near, far = table.services[0].regions
    regions = (
        replace(near, workers=(replace(near.workers[0], soft_limit=SOFT, hard_limit=HARD),)),
        replace(far, soft_limit=FAR, hard_limit=FAR),
    )
    return replace(table, services=(replace(table.services[0], regions=regions),))


def enter(place: Site) -> socket.socket | None:
    """A user who stays; None if refused."""
    try:
        user = place.connect(4)
    except ConnectionError:
        return None
    try:
        user.sendall(b"x")
        user.settimeout(0.2)
        user.recv(1)
    except TimeoutError:
        return user
    except ConnectionError:
        user.close()
    return None


def is_live(user: socket.socket) -> bool:
    with contextlib.suppress(ConnectionResetError):
        user.setblocking(False)
        try:
            return user.recv(1) != b""
        except BlockingIOError:
            return True
    return False


def live(control: Control) -> tuple[int, int]:
    targets = control.report()["targets"]
    return tuple(targets.get(f"{name}/{name}-1", {}).get("live", 0) for name in ("near", "far"))


def test_limits_hold_over_all_relay_workers(place: Site, control: Control) -> None:
    """Soft ones spill over to the next region, hard ones refuse; who dies leaves no counts."""
    place.publish(limited(place))
    with contextlib.ExitStack() as stack:
        users: list[socket.socket] = []

        def fill() -> None:
            while (user := enter(place)) is not None:
                users.append(stack.enter_context(user))

        filled = [(SOFT, 0), (SOFT, FAR), (HARD, FAR)]
        for near, far in filled:
            while len(users) < near + far:
                user = enter(place)
                assert user is not None
                users.append(stack.enter_context(user))
            eventually(lambda near=near, far=far: live(control) == (near, far))  # type: ignore[misc]
        assert [enter(place) for _ in range(6)] == [None] * 6
        eventually(lambda: control.report()["full"] == {"web": 6})
        log = (place.directory / "log").read_text()
        assert log.count('"why":"full"') == 6

        first, _ = [relay["pid"] for relay in control.report()["relays"]]
        os.kill(first, signal.SIGKILL)
        eventually(lambda: len([user for user in users if is_live(user)]) < ALL)
        eventually(lambda: first not in [relay["pid"] for relay in control.report()["relays"]])
        users = [user for user in users if is_live(user)]
        assert users  # those of the other relay worker
        fill()
        assert len(users) == ALL
        eventually(lambda: live(control) == (HARD, FAR))


def test_a_worker_that_resets_is_ejected_and_comes_back(place: Site, control: Control) -> None:
    """Two workers in the near region, one of them reset by its application."""
    table = place.table(4)
    near, far = table.services[0].regions
    other = replace(place.table(6).services[0].regions[0].workers[0], worker="near-2")
    regions = (RegionTargets("near", (*near.workers, other)), far)
    services = (replace(table.services[0], regions=regions),)
    policy = Outliers(failures=2, base_time=3.0, max_time=3.0)
    place.publish(replace(table, services=services, outliers=policy))
    place.sick.add(NEAR[6])

    def ask() -> bytes:
        try:
            return place.ask(4)
        except OSError as error:
            if error.errno not in GONE:
                raise
            return b"reset"  # before or after all was sent

    def ejections() -> list[tuple[str, str, int]]:
        return [
            (one["worker"], one["reason"], one["relays"]) for one in control.report()["ejections"]
        ]

    def ejected_by_both() -> bool:
        for _ in range(10):
            ask()
        return ("near-2", "reset", 2) in ejections()

    eventually(ejected_by_both)
    assert {ask() for _ in range(20)} == {b"near:x"}
    place.sick.clear()
    sick = place.workers["near"][1]
    before = sick.accepted
    eventually(lambda: ask() == b"near:x" and sick.accepted > before)
    eventually(lambda: ask() == b"near:x" and ejections() == [])
