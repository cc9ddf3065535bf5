"""How soon a region that died is in no relay's table: real processes in the lab's namespaces.

An edge (BIRD, control, steering with its relay workers, wireguard-go), two regions of workers,
and a user who opens new connections all the time, or none.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any

from edgenode.api import client
from edgenode.lab import Lab, Layout, plan, wait_until
from edgenode.lab.delays import built_in
from edgenode.lab.topology import WEB, Region
from edgenode.places import control_socket
from tests.bench.figures import summary

EDGE, NEAR, USER = "lon1", "fra", "par"
WORKERS = 4
INTERVAL = 1.0
"""Seconds between two probes of a worker: the default."""
EVERY = 0.02
"""Seconds between two new connections of the user."""
LOOK = 0.01

LAYOUT = Layout(
    transits=("lon", "nyc"),
    neighbors=(("lon", "nyc"),),
    edges=("lon",),
    regions=(NEAR, "iad"),
    workers=WORKERS,
    users=(USER,),
)


class Deaths:
    """The lab, up."""

    def __init__(self, lab: Lab, near: str = NEAR) -> None:
        self.lab = lab
        self.near = near
        self.socket = control_socket(lab.directory(EDGE) / "run")
        region = lab.topology.node(near)
        assert isinstance(region, Region)
        self.workers = [worker.name for worker in region.workers]

    def kill(self) -> float:
        """All workers of the region at once, by SIGKILL; the UNIX time just before."""
        pids = [pid for worker in self.workers for pid in self.lab.pids(NEAR, worker)]
        moment = time.time()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return moment

    def revive(self) -> None:
        for worker in self.workers:
            self.lab.start(NEAR, worker)

    def cut(self) -> float:
        return self.lab.cut_region(EDGE, NEAR)

    def heal(self) -> None:
        self.lab.heal_region(EDGE, NEAR)

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = client.call(self.socket, "GET", "/v1/status")
        return answer

    def in_tables(self, workers: int) -> bool:
        """Whether all relay workers have a table with so many workers of the region.

        A suspect is in none, since the other region answers.
        """
        status = self.status()
        up = {
            region["name"]: sum(
                target["state"] == "up" and not target["suspect"]
                for target in region["targets"].values()
            )
            for region in status["regions"]
        }
        revision: int | None = status["table_revision"]
        applied: int | None = status["steering"]["applied"]
        return bool(up[self.near] == workers and applied == revision)

    def failures(self) -> int:
        """How many attempts of the relays at the region's workers have failed so far."""
        targets = self.status()["steering"]["report"]["targets"]
        return sum(
            target["connect_failures"]
            for name, target in targets.items()
            if name.startswith(f"{NEAR}/")
        )

    def death(self, die: Callable[[], float], live: Callable[[], object]) -> tuple[float, int]:
        """Seconds until the region is in no table, and how many attempts at it have failed."""
        before = self.failures()
        time.sleep(INTERVAL * random.random())
        moment = die()
        wait_until(lambda: self.in_tables(0), 20, f"{NEAR} is in no table", every=LOOK)
        gone = time.time() - moment
        live()
        wait_until(lambda: self.in_tables(WORKERS), 20, f"{NEAR} is in all tables", every=0.1)
        time.sleep(2.2)  # relay workers report once a second, and so does their supervisor
        return gone, self.failures() - before


def measure(runs: int, note: Callable[[str], None]) -> dict[str, Any]:
    """Each way to die, with and without users: milliseconds, failed attempts. Raises LabError."""
    found: dict[str, Any] = {}
    answered: dict[str, int] = {}
    with Lab("death", plan(built_in(), LAYOUT)) as lab:
        lab.up(note)
        deaths = Deaths(lab)
        wait_until(lambda: deaths.in_tables(WORKERS), 20, "all workers are in the tables")
        for users in (False, True):
            load = lab.requests(USER, WEB.addresses[0], every=EVERY) if users else None
            time.sleep(2.0)
            for name, die, live in (
                ("refused", deaths.kill, deaths.revive),
                ("silent", deaths.cut, deaths.heal),
            ):
                case = f"{name}, {'50 users a second' if users else 'no users'}"
                note(f"a region dies: {case}")
                results = [deaths.death(die, live) for _ in range(runs)]
                found[case] = {
                    "gone_ms": summary(gone * 1000 for gone, _ in results),
                    "failed_attempts": summary(failed for _, failed in results),
                }
            if load is not None:
                load.stop()
                requests = load.requests()
                answered = {
                    "requests": len(requests),
                    "failed": sum(not request.ok for request in requests),
                }
    return {
        "probe_interval_s": INTERVAL,
        "workers": WORKERS,
        "cases": found,
        "users": answered,
    }
