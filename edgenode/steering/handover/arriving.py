"""The new relay worker's part: it takes connections in, and touches none until it is told to."""

from __future__ import annotations

from collections.abc import Callable

from edgenode.steering.handover import learned
from edgenode.steering.handover.adopt import Adoption
from edgenode.steering.handover.channel import Broken, Channel, Closed, Message, close_all, unseal
from edgenode.steering.handover.parts import Parts
from edgenode.steering.handover.record import RecordError, decode
from edgenode.steering.table import TableError

Tell = Callable[[Message], None]


class Arriving:
    """`tell` is told "copied", "adopted", or "failed" with a reason, each once."""

    def __init__(self, parts: Parts, other: Channel, tell: Tell) -> None:
        self._parts = parts
        self._other: Channel | None = other
        self._adoption = Adoption(parts)
        self._tell = tell

    def fileno(self) -> int:
        """What is to be waited for; -1: nothing more comes."""
        return -1 if self._other is None else self._other.fileno()

    def read(self) -> None:
        """Take in what has come."""
        try:
            while self._other is not None:
                self._obey(*self._other.receive())
        except TimeoutError:
            return
        except Closed:
            self._fail("the old relay worker has closed before it sent all")
        except (OSError, RecordError, TableError, LookupError, TypeError, ValueError) as error:
            self._fail(f"the connections cannot be taken over: {error}")

    def begin(self) -> None:
        """All is ours."""
        self._adoption.begin()

    def _obey(self, message: Message, descriptors: list[int]) -> None:
        match message["type"]:
            case "rows":
                memory, *sockets = descriptors
                try:
                    head, rows = decode(unseal(memory))
                    self._adoption.add(rows, sockets, head["services"])
                except BaseException:
                    close_all(sockets)
                    raise
            case "closed":
                self._adoption.close(message["numbers"])
            case "so-far":
                parts = self._parts
                learned.take_in(parts.memory, message.get("learned"), parts.loop.now)
                self._tell({"type": "handover", "step": "copied"})
            case "all":
                self._end(message["connections"], message["number"])
            case other:
                raise Broken(f"the message {other!r} is unknown")

    def _end(self, connections: int, number: int) -> None:
        if len(self._adoption) != connections:
            raise RecordError(f"{len(self._adoption)} connections came of {connections}")
        entrance = self._parts.entrance
        entrance.last_number = max(entrance.last_number, number)
        self._close()
        self._tell({"type": "handover", "step": "adopted", "connections": connections})

    def _fail(self, reason: str) -> None:
        self._close()
        self._tell({"type": "handover", "step": "failed", "reason": reason})

    def _close(self) -> None:
        if self._other is not None:
            self._other.close()
            self._other = None
