"""A relay worker process.

`python -m edgenode.steering.worker FD PARENT LIMIT LOG`, run by the supervisor.

FD is its end of the channel, PARENT the supervisor's process, LIMIT its number of connections, LOG
the access log's path or "-".

It obeys the supervisor alone (signals that go to the whole unit are ignored) and never outlives it:
the next supervisor opens listeners of its own, and users that were still sent to ours would be
served by nobody's table. So at the channel's end it resets its connections and exits.
See `parent` for one that cannot.
"""

from __future__ import annotations

import gc
import signal
import socket
import sys
from pathlib import Path

from edgenode.steering import descriptors, parent
from edgenode.steering.accesslog import AccessLog
from edgenode.steering.channel import Channel, Message
from edgenode.steering.relay import Relay
from edgenode.steering.table import Table

BEAT = 1.0
"""Seconds between two reports, which are the heartbeats too."""

_DRAIN_STEP = 0.05


class Worker:
    """Ties a relay to the supervisor's channel."""

    def __init__(self, channel: Channel, relay: Relay, log: AccessLog) -> None:
        self._channel = channel
        self._relay = relay
        self._log = log
        self._drain_until: float | None = None
        self._stopped = False
        relay.watch(channel.fileno(), self._on_channel)

    def run(self) -> None:
        """Serve until the supervisor says so or is gone."""
        relay = self._relay
        beat = relay.now
        while not self._stopped:
            if relay.now >= beat:
                beat = relay.now + BEAT
                self._report()
            until = beat
            if self._drain_until is not None:
                if relay.live == 0 or relay.now >= self._drain_until:
                    break
                until = min(beat, relay.now + _DRAIN_STEP)
            relay.step(until)
        relay.abort_all("stopped")
        self._report()

    def _on_channel(self) -> None:
        try:
            messages = self._channel.receive()
        except OSError:
            messages = None
        if messages is None:
            self._stopped = True
            return
        for message, fds in messages:
            self._obey(message, fds)

    def _obey(self, message: Message, fds: list[int]) -> None:
        match message["type"]:
            case "listeners":
                for listen, fd in zip(message["listen"], fds, strict=True):
                    self._relay.add_listener(listen, socket.socket(fileno=fd))
            case "table":
                self._relay.apply(Table.from_json(message["table"]))
                self._report()  # so that reports know of the services from now on
                self._send({"type": "applied", "number": message["number"]})
            case "reopen":
                self._log.reopen()
            case "drain":
                self._relay.stop_accepting()
                self._drain_until = self._relay.now + message["seconds"]

    def _report(self) -> None:
        counters = self._relay.counters
        self._send(
            {
                "type": "beat",
                "counters": counters.to_json(),
                "accept_errors": counters.accept_errors,
                "log_dropped": self._log.dropped,
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


def main(arguments: list[str]) -> int:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    fd, supervisor, limit = (int(argument) for argument in arguments[:3])
    path = arguments[3]
    if not parent.end_with(supervisor):
        return 1
    limit = min(limit, descriptors.most_connections(descriptors.raise_limit()))
    log = AccessLog(None if path == "-" else Path(path))
    worker = Worker(Channel(socket.socket(fileno=fd)), Relay(log, limit), log)
    # Connections make no rings (see `connection`): collecting would only stop everybody now and
    # then, for longer the more connections there are.
    gc.collect()
    gc.freeze()
    gc.disable()
    worker.run()
    log.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
