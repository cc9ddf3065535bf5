"""Relay workers in threads, and what is done to hand connections from one to the next."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgenode.steering import sysio
from edgenode.steering.accesslog import AccessLog
from edgenode.steering.channel import Channel, Message
from edgenode.steering.handover import channel as handover
from edgenode.steering.occupancy import Occupancy, Register, columns_to_json
from edgenode.steering.relay import Relay
from edgenode.steering.table import Table
from edgenode.steering.worker import Worker
from tests.unit.steering.running import PATIENCE, eventually


class Hand:
    """A relay worker in a thread; the supervisor's part is played by the test.

    `other` leads to the relay worker that it takes over from.
    """

    def __init__(self, log: Path, other: socket.socket | None = None) -> None:
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        self.register = Register(1)
        self._log = AccessLog(log)
        self.relay = Relay(self._log, 20000, occupancy=Occupancy.shared(self.register.fd, 0))
        self.heard: list[Message] = []
        self.ours: bool | None = None  # whose the connections are at its end
        self._other = other
        self._worker = Worker(Channel(theirs), self.relay, self._log)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        if self._other is not None and not self._worker.arrive(handover.Channel(self._other)):
            self.ours = False
        else:
            self.ours = self._worker.run()
        if not self.ours:  # as the end of the process does
            self._log.flush()
            loop = self.relay.parts().loop
            for side in loop.sides.values():
                with contextlib.suppress(OSError):
                    sysio.close(side.fd)
            loop.epoll.close()

    def send(self, message: Message, *descriptors: int) -> None:
        self.channel.send(message, descriptors)

    def listen(self, address: str, listener: socket.socket) -> None:
        self.send({"type": "listeners", "listen": [address]}, listener.fileno())

    def table(self, table: Table) -> None:
        """Hand one over, and wait until it is obeyed."""
        self.register.assign(table, table.revision, table.revision - 1)
        columns = columns_to_json(self.register.columns)
        self.send(
            {
                "type": "table",
                "number": table.revision,
                "table": table.to_json(),
                "columns": columns,
            }
        )
        self.wait(lambda one: one.get("number") == table.revision)

    def wait(self, wanted: Callable[[Message], bool]) -> Message:
        """The first message that is wanted."""

        def found() -> Message | None:
            poll = select.poll()
            poll.register(self.channel.fileno(), select.POLLIN)
            poll.poll(20)
            self.heard += [message for message, _ in self.channel.receive() or ()]
            return next((one for one in self.heard if wanted(one)), None)

        message = eventually(found)
        assert message is not None
        self.heard.remove(message)
        return message

    def step(self, name: str) -> Message:
        return self.wait(lambda one: one.get("step") == name)

    def web(self) -> dict[str, Any]:
        """The counters of the service."""
        service: dict[str, Any] = self.relay.counters.to_json()["services"]["web"]
        return service

    def taken(self) -> list[int]:
        """Places that are taken at workers and regions."""
        seen = Occupancy.shared(self.register.fd, None)
        return [seen.live(column) for column in sorted(self.register.columns.values())]

    def live(self, target: str) -> int:
        count: int = self.relay.counters.to_json()["targets"][target]["live"]
        return count

    def close(self) -> None:
        self.channel.close()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        self._log.close()


def copy(old: Hand, new: Callable[[socket.socket], Hand]) -> Hand:
    """Begin to hand over to a new one, which is given its end, until it has all so far."""
    ours, theirs = handover.pair()
    made = new(theirs)
    made.step("started")
    old.send({"type": "share"}, ours.fileno())
    ours.close()
    made.step("copied")
    return made


def freeze(old: Hand, patience: float = PATIENCE) -> int:
    """The token."""
    token = handover.make_token()
    old.send({"type": "freeze", "deadline": time.monotonic() + patience}, token)
    return token
