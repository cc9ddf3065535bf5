"""`edgenode worker join` as a process: registered while it runs, drained before it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time

from edgenode.config.workerhost import WorkerHost
from edgenode.notify import Notifier
from edgenode.registry.answers import AnswerError
from edgenode.registry.busy import LoadError, busy
from edgenode.registry.etcd import Etcd, EtcdError
from edgenode.registry.hoststate import HostState
from edgenode.registry.member import Keeper, Member, MemberError
from edgenode.registry.records import Layout, Load, Record, WorkerId

log = logging.getLogger(__name__)

STEP = 0.05
"""A load that differs by less from what was reported is not worth a write."""
QUIET = 60.0
"""Seconds after which it is reported all the same."""
LOOK = 1.0
"""Seconds between two looks at whether an operator wants it drained."""


def record_of(host: WorkerHost, identity: str, draining: bool) -> Record:
    """What is to be registered."""
    return Record(
        identity=identity,
        addresses=host.addresses,
        weight=host.weight,
        soft_limit=host.soft_limit,
        hard_limit=host.hard_limit,
        draining=draining or host.draining,
    )


async def join(host: WorkerHost, state: HostState, identity: str) -> None:
    """Until SIGTERM or SIGINT; a second one does not wait for the drain."""
    loop = asyncio.get_running_loop()
    notifier = Notifier()
    told = [asyncio.Event(), asyncio.Event()]

    def tell() -> None:
        told[told[0].is_set()].set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, tell)
    etcd = Etcd(host.registry)
    who = WorkerId(host.region, host.name)
    member = Member(etcd, Layout(host.registry.prefix), who, identity)

    def wanted() -> Record:
        return record_of(host, identity, told[0].is_set() or state.draining)

    keeper = Keeper(member, wanted, host.lease, lambda text: log.info("%s", text))
    log.info("worker %s, identity %s", who, identity)
    notifier.ready(f"worker {who}")
    tasks = [
        loop.create_task(keeper.run()),
        loop.create_task(_report(member, keeper, host)),
        loop.create_task(_heed(state, keeper)),
    ]
    try:
        stop = loop.create_task(told[0].wait())
        done, _ = await asyncio.wait({stop, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # a fault of ours ends it loudly
        notifier.stopping()
        if keeper.registered:
            log.info("drains for %g s, then leaves", host.drain_time)
            keeper.hurry.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(told[1].wait(), host.drain_time)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    try:
        await member.leave()
        log.info("%s has left", who)
    except (EtcdError, AnswerError, MemberError) as error:
        log.warning("%s; its record ends with its lease, within %g s", error, host.lease)
    finally:
        await etcd.close()


async def _heed(state: HostState, keeper: Keeper) -> None:
    """Have what an operator wants registered soon."""
    known = state.draining
    while True:
        await asyncio.sleep(LOOK)
        if state.draining is not known:
            known = state.draining
            keeper.hurry.set()


async def _report(member: Member, keeper: Keeper, host: WorkerHost) -> None:
    """How busy it is, when that changes: one write in `report_interval` at most."""
    reported, at, trouble = -1.0, -QUIET, ""
    while True:
        try:
            load = await busy(host.load_command)
            now = time.monotonic()
            if keeper.registered and (abs(load - reported) >= STEP or now - at >= QUIET):
                await member.report(Load(load=load, at=time.time()))
                reported, at = load, now
            trouble = ""
        except LoadError as error:
            if str(error) != trouble:
                log.warning("the load is not reported: %s", error)
            trouble = str(error)
        except (EtcdError, AnswerError):
            reported = -1.0  # the keeper says it
        await asyncio.sleep(host.report_interval)
