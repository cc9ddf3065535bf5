"""Verdicts on a real nginx: killed, half killed, reloaded, stopped, idle."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from edgenode.config import Check
from edgenode.health import Checker, State, Verdict
from edgenode.health.http import HttpProbe
from edgenode.health.tcp import TcpProbe

check_of: TypeAdapter[Any] = TypeAdapter(Check)

StartNginx = Callable[..., Any]

SOON = 0.5
"""Seconds after which a tripwire has told, however busy the machine is: about 10 ms on one at rest.
The polls alone would take 10 s (see `watching`)."""


class Watched:
    """A checker with one check on one nginx, and the verdicts it gave."""

    def __init__(self, values: dict[str, object]) -> None:
        self.verdicts: list[Verdict] = []
        self._new = asyncio.Event()
        self.checker = Checker([check_of.validate_python(values)], self._on_verdict, Path("-"))

    def _on_verdict(self, verdict: Verdict) -> None:
        self.verdicts.append(verdict)
        self._new.set()

    async def wait(self, state: State) -> Verdict:
        async with asyncio.timeout(10):
            while not self.verdicts or self.verdicts[-1].state is not state:
                self._new.clear()
                await self._new.wait()
        return self.verdicts[-1]

    @property
    def states(self) -> list[State]:
        return [verdict.state for verdict in self.verdicts]


@contextlib.asynccontextmanager
async def watching(nginx: Any, path: str | None = None, **values: Any) -> AsyncIterator[Watched]:
    """Entered when the check is up; it is an HTTP check where a path is given.

    The polls alone would need many seconds: `fall` is high.
    """
    usual: dict[str, Any] = {"name": "c", "type": "tcp", "target": str(nginx.endpoint)}
    if path is not None:
        usual = {"name": "c", "type": "http", "url": f"http://{nginx.endpoint}{path}"}
    usual |= {"interval": 0.1, "timeout": 0.3, "rise": 1, "fall": 100}
    watched = Watched(usual | values)
    task = asyncio.ensure_future(watched.checker.run())
    try:
        await watched.wait(State.UP)
        yield watched
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize("master_first", [True, False])
@pytest.mark.parametrize("options", ["", "reuseport"])
async def test_kill_of_all_processes_is_down_at_once(
    nginx: StartNginx, master_first: bool, options: str
) -> None:
    proxy = nginx(options=options)
    async with watching(proxy) as watched:
        await asyncio.sleep(0.1)
        killed = time.monotonic()
        proxy.kill_all(master_first=master_first)
        down = await watched.wait(State.DOWN)
        assert down.since - killed < SOON
        assert "refused" in down.reason


async def test_http_check_has_the_tripwire_as_well(nginx: StartNginx) -> None:
    proxy = nginx()
    async with watching(proxy, "/health") as watched:
        await asyncio.sleep(0.1)
        killed = time.monotonic()
        proxy.kill_all()
        assert (await watched.wait(State.DOWN)).since - killed < SOON


async def test_death_of_any_one_worker_is_nothing(nginx: StartNginx) -> None:
    proxy = nginx()
    async with watching(proxy) as watched:
        for pid in proxy.workers():  # one of them has accepted the tripwire
            await asyncio.sleep(0.1)
            os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.4)
        assert watched.states == [State.UP]
        assert watched.checker.tripped()["c"] >= 1


async def test_death_of_the_master_alone_is_nothing(nginx: StartNginx) -> None:
    proxy = nginx()
    async with watching(proxy) as watched:
        await asyncio.sleep(0.1)
        workers = proxy.workers()
        proxy.master.kill()
        proxy.master.wait()
        await asyncio.sleep(0.5)
        assert watched.states == [State.UP]
        killed = time.monotonic()
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        assert (await watched.wait(State.DOWN)).since - killed < SOON


@pytest.mark.parametrize("options", ["", "reuseport"])
async def test_reload_is_nothing(nginx: StartNginx, options: str) -> None:
    proxy = nginx(options=options)
    async with watching(proxy) as watched:
        for _ in range(3):
            await asyncio.sleep(0.2)
            proxy.master.send_signal(signal.SIGHUP)
        await asyncio.sleep(0.5)
        assert watched.states == [State.UP]
        killed = time.monotonic()
        proxy.kill_all()
        assert (await watched.wait(State.DOWN)).since - killed < SOON


async def test_idle_connections_that_nginx_closes_are_nothing(nginx: StartNginx) -> None:
    proxy = nginx(header_timeout="1s")
    async with watching(proxy) as watched:
        await asyncio.sleep(2.5)
        assert watched.states == [State.UP]
        assert watched.checker.tripped()["c"] == 2
        killed = time.monotonic()
        proxy.kill_all()
        assert (await watched.wait(State.DOWN)).since - killed < SOON


async def test_stopped_processes_are_found_by_the_polls(nginx: StartNginx) -> None:
    """SIGSTOP trips nothing, and the kernel still accepts: only an HTTP answer tells."""
    proxy = nginx()
    async with watching(proxy, "/health", fall=3) as watched:
        stopped = time.monotonic()
        proxy.signal_all(signal.SIGSTOP)
        down = await watched.wait(State.DOWN)
        # Three timeouts of 0.3 s; between them the waits for the next slot of 0.1 s. On a busy
        # machine some are set aside, since we were late ourselves; one at rest takes 1.1 s.
        assert 0.85 < down.since - stopped < 4
        assert "no answer within 300 ms" in down.reason
        assert watched.checker.tripped()["c"] == 0
        proxy.signal_all(signal.SIGCONT)
        await watched.wait(State.UP)


async def test_restart_in_place_within_its_grace_is_nothing(nginx: StartNginx) -> None:
    proxy = nginx()
    async with watching(proxy, restart_grace=5.0) as watched:
        await asyncio.sleep(0.1)
        proxy.master.send_signal(signal.SIGTERM)
        proxy.master.wait(timeout=5)
        await asyncio.sleep(0.2)
        proxy.start()
        await asyncio.sleep(0.3)
        assert watched.states == [State.UP]
        assert watched.checker.tripped()["c"] >= 1


async def test_graceful_end_is_down(nginx: StartNginx) -> None:
    proxy = nginx()
    async with watching(proxy, fall=3) as watched:
        await asyncio.sleep(0.1)
        proxy.master.send_signal(signal.SIGQUIT)
        await watched.wait(State.DOWN)


def probe_of(nginx: Any, path: str) -> HttpProbe:
    values = {"name": "c", "type": "http", "url": f"http://{nginx.endpoint}{path}", "timeout": 1.0}
    return HttpProbe(check_of.validate_python(values))


async def test_probes_do_not_trouble_the_proxy(nginx: StartNginx) -> None:
    """Our RSTs leave nothing in nginx's logs but lines of level `info`."""
    proxy = nginx()
    for _ in range(200):
        assert (await TcpProbe(proxy.endpoint, 1.0)()).ok
    await asyncio.sleep(0.1)
    assert proxy.log("access.log") == []
    probe = probe_of(proxy, "/health")
    for _ in range(200):
        assert (await probe()).ok
    broken = await probe_of(proxy, "/broken")()
    assert broken.reason.endswith("status 503")
    await asyncio.sleep(0.1)
    statuses = [line.split('"')[2].split()[0] for line in proxy.log("access.log")]
    assert statuses == ["200"] * 200 + ["503"]
    levels = {line.split("[")[1].split("]")[0] for line in proxy.log("error.log")}
    assert levels <= {"info", "notice"}
