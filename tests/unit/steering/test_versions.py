"""A relay worker and a supervisor of different versions: files are replaced under a supervisor that
runs, and the relay worker that it starts next is of the new code, or of the old one put back."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgenode.steering.accesslog import AccessLog
from edgenode.steering.channel import Channel, Message
from edgenode.steering.relay import Relay
from edgenode.steering.table import Bind, Table
from edgenode.steering.worker import Worker
from tests.unit.steering.running import eventually

TABLE = Table(1, "lon1", Bind(), ())


class Told:
    """A relay worker in a thread, and the supervisor's end of its channel."""

    def __init__(self, log: Path) -> None:
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        self.relay = Relay(AccessLog(log), 10)
        self.heard: list[Message] = []
        self._selector = selectors.DefaultSelector()
        self._selector.register(ours, selectors.EVENT_READ)
        self._end = Channel(theirs)
        worker = Worker(self._end, self.relay, AccessLog(log))
        self._thread = threading.Thread(target=worker.run)
        self._thread.start()

    def table(self, number: int, **more: object) -> None:
        """Hand one over, and wait until it is obeyed."""
        table = TABLE.to_json()
        self.channel.send({"type": "table", "number": number, "table": table, **more})

        def applied() -> bool:
            self._selector.select(0.1)
            self.heard += [message for message, _ in self.channel.receive() or ()]
            return any(one.get("number") == number for one in self.heard)

        eventually(applied)

    def close(self) -> None:
        self.channel.close()
        self._thread.join(5)
        self._end.close()
        self._selector.close()


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    made = Told(tmp_path / "log")
    yield made
    made.close()


@pytest.mark.parametrize("columns", [False, True])
def test_an_older_supervisor_hears_nothing_that_it_does_not_know(told: Told, columns: bool) -> None:
    """One that knows no columns ends at a message about failures, and all connections with it."""
    more: dict[str, object] = {"columns": []} if columns else {}
    told.table(1, **more)
    for number in (2, 3):
        told.relay.counters.fresh_failures.add(("fra", "fra-1"))
        told.table(number, **more)
    kinds = {message["type"] for message in told.heard}
    assert kinds - {"beat"} == ({"applied", "failures"} if columns else {"applied"})
