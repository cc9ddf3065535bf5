"""A relay worker process.

`python -m edgenode.steering.worker FD PARENT LIMIT LOG SHARED ROW SOURCES [OTHER]`, run by the
supervisor.

FD is its end of the channel, PARENT the supervisor's process, LIMIT its number of connections, LOG
the access log's path or "-", SHARED the file in which connections are counted, ROW its place in
it, and SOURCES the file for users' sources (a supervisor that was not upgraded yet does not give
these). OTHER leads to a relay worker of another version, whose connections it takes over.

It obeys the supervisor alone (signals that go to the whole unit are ignored) and never outlives it:
the next supervisor opens listeners of its own, and users that were still sent to ours would be
served by nobody's table. So at the channel's end it resets its connections and exits.
See `parent` for one that cannot.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path

from edgenode.steering import FORM, descriptors, parent
from edgenode.steering.accesslog import AccessLog
from edgenode.steering.channel import Channel, Message
from edgenode.steering.counters import NO_BOUND
from edgenode.steering.handover.arriving import Arriving
from edgenode.steering.handover.channel import Channel as HandoverChannel
from edgenode.steering.handover.channel import give_back
from edgenode.steering.handover.leaving import ROUND, Leaving, left_alone
from edgenode.steering.occupancy import Occupancy, columns_from_json
from edgenode.steering.relay import Relay
from edgenode.steering.report import FAILURES, MOST_EJECTIONS
from edgenode.steering.sources import Sources
from edgenode.steering.table import Table, TableError
from edgenode.steering.tabledelta import BaseError, patch
from edgenode.steering.why import Why

BEAT = 1.0
"""Seconds between two reports, which are the heartbeats too."""

FAILURES_INTERVAL = 0.05
"""Seconds between two messages about targets that have just failed."""

_DRAIN_STEP = 0.05
_FIGURES = 100  # services and regions of which a report has figures: about a millisecond


class Worker:
    """Ties a relay to the supervisor's channel."""

    def __init__(self, channel: Channel, relay: Relay, log: AccessLog) -> None:
        self._channel = channel
        self._relay = relay
        self._log = log
        self._table: Table | None = None
        self._wants_failures = False  # a supervisor that was not upgraded yet falls over them
        self._failures_at = 0.0  # when failures may be told again
        self._drain_until: float | None = None
        self._stopped = False
        self._arriving: Arriving | None = None
        self._leaving: Leaving | None = None
        self._token: int | None = None  # not None: frozen
        self._freeze_until: float | None = None
        self._still = False  # frozen: all but the handover's end waits
        self._later: list[tuple[Message, list[int]]] = []
        self._left = False
        relay.watch(channel.fileno(), self._on_channel)

    def arrive(self, other: HandoverChannel) -> bool:
        """Take over another's connections, without touching them; whether they are ours now."""
        arriving = self._arriving = Arriving(self._relay.parts(), other, self._send)
        poll = select.poll()
        poll.register(self._channel.fileno(), select.POLLIN)
        poll.register(arriving.fileno(), select.POLLIN)
        self._send({"type": "handover", "step": "started"})
        while self._arriving is not None and not self._stopped:
            for fd, _ in poll.poll():
                if fd == self._channel.fileno():
                    self._on_channel()
                elif fd == arriving.fileno():
                    arriving.read()
                    if arriving.fileno() < 0:
                        poll.unregister(fd)
        return not self._stopped

    def run(self) -> bool:
        """Serve until the supervisor says so or is gone; False: another has the connections."""
        relay = self._relay
        beat = relay.now
        while not self._stopped:
            if relay.now >= beat:
                beat = relay.now + BEAT
                self._report(_FIGURES)
                relay.log_long()
            until = beat
            if self._drain_until is not None:
                if relay.live == 0 or relay.now >= self._drain_until:
                    break
                until = min(beat, relay.now + _DRAIN_STEP)
            if relay.counters.fresh_failures:
                until = min(until, self._failures_at)
            if self._leaving is not None and self._leaving.behind:
                until = min(until, relay.now + ROUND)
            relay.step(until)
            self._tell_failures()
            if self._leaving is not None and not self._hand_over(self._leaving):
                return False
        relay.abort_all(Why.STOPPED)
        self._report()
        if self._token is not None:
            give_back(self._token)
        return True

    def _hand_over(self, leaving: Leaving) -> bool:
        """Copy some more, or hand over; False: another has the connections."""
        deadline, token = self._freeze_until, self._token
        try:
            if deadline is None or token is None:
                leaving.step()
                return True
            self._log.flush()
            leaving.freeze(deadline)
        except OSError as error:
            self._send({"type": "handover", "step": "failed", "reason": str(error)})
            if deadline is None or token is None:
                self._drop()
                return True
        else:
            self._report()
            self._send({"type": "handover", "step": "frozen"})
        return self._frozen(deadline, token)

    def _frozen(self, deadline: float, token: int) -> bool:
        """Do nothing until it is known whose the connections are; whether they are ours."""
        self._still = True
        poll = select.poll()
        while self._leaving is not None:
            out = select.POLLOUT if self._channel.blocked else 0
            poll.register(self._channel.fileno(), select.POLLIN | out)
            poll.poll()
            if self._channel.blocked:
                with suppress(OSError):
                    self._channel.flush()
            self._on_channel()
            if self._left:
                return False
            if self._stopped:  # the supervisor is gone
                return left_alone(token, deadline)
        self._still = False
        later, self._later = self._later, []
        for message, fds in later:
            self._obey(message, fds)
        return True

    def _drop(self) -> None:
        """Forget a handover."""
        if self._leaving is not None:
            self._leaving.close()
        if self._token is not None:
            os.close(self._token)
        self._leaving = self._token = self._freeze_until = None

    def _on_channel(self) -> None:
        try:
            with descriptors.reserve():  # listeners come this way
                messages = self._channel.receive()
        except OSError:
            messages = None
        if messages is None:
            self._stopped = True
            return
        for message, fds in messages:
            if self._still and message["type"] not in ("keep", "leave"):
                self._later.append((message, fds))
            else:
                self._obey(message, fds)

    def _obey(self, message: Message, fds: list[int]) -> None:
        match message["type"]:
            case "listeners":
                for listen, fd in zip(message["listen"], fds, strict=True):
                    self._relay.add_listener(listen, socket.socket(fileno=fd))
            case "table":
                self._apply(Table.from_json(message["table"]), message)
            case "delta":
                try:
                    if self._table is None:
                        raise BaseError
                    table = patch(self._table, message["delta"])
                except (BaseError, TableError):  # a supervisor of another version
                    self._send({"type": "whole"})
                else:
                    self._apply(table, message)
            case "ping":
                self._send({"type": "pong", "number": message["number"]})
            case "reopen":
                self._log.reopen()
            case "share":
                end = socket.socket(fileno=fds[0])
                self._leaving = Leaving(self._relay.parts(), HandoverChannel(end))
            case "freeze":
                self._token, self._freeze_until = fds[0], message["deadline"]
            case "keep":
                self._drop()
            case "leave":
                self._left = True
            case "serve":
                if self._arriving is not None:
                    self._arriving.begin()
                    self._arriving = None
            case "drain":
                self._relay.stop_accepting()
                self._drain_until = self._relay.now + message["seconds"]

    def _apply(self, table: Table, message: Message) -> None:
        known, self._table = self._table, table
        # A supervisor that was not upgraded yet gives none.
        columns = columns_from_json(message["columns"]) if "columns" in message else None
        self._wants_failures = columns is not None
        self._relay.apply(table, columns)
        if known is None or _names(known) != _names(table):
            self._report()  # so that reports know of the services from now on
        number = message["number"]
        self._send({"type": "applied", "number": number, "deltas": True, "pings": True})

    def _tell_failures(self) -> None:
        """Each is evidence that the target is gone: whoever probes it need not wait."""
        fresh = self._relay.counters.fresh_failures
        if fresh and self._relay.now >= self._failures_at:
            self._failures_at = self._relay.now + FAILURES_INTERVAL
            names = {f"{region}/{worker}" for region, worker in fresh}
            silent = {one.region for one in self._relay.ejections() if one.silent}
            names |= silent & {region for region, _ in fresh}
            fresh.clear()
            if self._wants_failures:
                self._send({"type": FAILURES, "targets": sorted(names)})

    def _report(self, figures: int = NO_BOUND) -> None:
        """`figures`: of how many services and regions, see `Counters.to_json`."""
        counters, ejections = self._relay.counters, self._relay.ejections()
        busy, lag = self._relay.pace()
        self._send(
            {
                "type": "beat",
                "counters": counters.to_json(figures),
                "accept_errors": counters.accept_errors,
                "log_dropped": self._log.dropped,
                "figures": {
                    "live": self._relay.live,
                    "cpu_s": round(time.process_time(), 3),
                    "busy": round(busy, 3),
                    "lag_ms": round(lag * 1e3, 1),
                    "form": FORM,
                },
                "ejections": [asdict(one) for one in islice(ejections, MOST_EJECTIONS)],
            }
        )

    def _send(self, message: Message) -> None:
        try:
            if self._channel.blocked:
                self._channel.flush()
            # A supervisor that does not read gets no second report on top of the first.
            if not self._channel.blocked or message["type"] != "beat":
                self._channel.send(message)
        except OSError:
            self._stopped = True


def _names(table: Table) -> list[str]:
    return [service.name for service in table.services]


def main(arguments: list[str]) -> int:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    fd, supervisor, limit = (int(argument) for argument in arguments[:3])
    path = arguments[3]
    if not parent.end_with(supervisor):
        return 1
    limit = min(limit, descriptors.most_connections(descriptors.raise_limit()))
    descriptors.keep_reserve()
    log = AccessLog(None if path == "-" else Path(path))
    shared = [int(argument) for argument in arguments[4:7]]
    occupancy = Occupancy.shared(*shared[:2]) if shared else None
    sources = Sources.shared(shared[2], shared[1]) if len(shared) > 2 else None
    relay = Relay(log, limit, occupancy=occupancy, sources=sources)
    worker = Worker(Channel(socket.socket(fileno=fd)), relay, log)
    # Connections make no rings (see `connection`): collecting would only stop everybody now and
    # then, for longer the more connections there are.
    gc.collect()
    gc.freeze()
    gc.disable()
    if len(arguments) > 7 and not worker.arrive(
        HandoverChannel(socket.socket(fileno=int(arguments[7])))
    ):
        os._exit(1)
    ours = worker.run()
    log.close()
    if not ours:
        os._exit(0)  # without the end of each object, which is none of a connection
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
