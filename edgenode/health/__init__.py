"""Is what this node announces really served? Probes, tripwires, and the rise/fall state machine."""

from edgenode.health.checker import Checker
from edgenode.health.observation import Observation
from edgenode.health.risefall import RiseFall, State, Verdict
from edgenode.health.watch import Counters

__all__ = ["Checker", "Counters", "Observation", "RiseFall", "State", "Verdict"]
