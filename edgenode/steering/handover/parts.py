"""The parts of a relay that a handover reads and fills."""

from __future__ import annotations

from dataclasses import dataclass

from edgenode.steering.acceptor import Acceptor
from edgenode.steering.counters import Counters
from edgenode.steering.dialing import Dialing
from edgenode.steering.ending import Ending
from edgenode.steering.entrance import Entrance
from edgenode.steering.flow import Flow
from edgenode.steering.loop import Loop
from edgenode.steering.memory import Memory


@dataclass(frozen=True, slots=True)
class Parts:
    """See `relay`."""

    loop: Loop
    counters: Counters
    memory: Memory
    ending: Ending
    flow: Flow
    dialing: Dialing
    entrance: Entrance
    acceptor: Acceptor
