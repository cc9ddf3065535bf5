"""The truth of each tunnel path: round-trip, loss, what size passes, and which way is broken."""

from edgenode.paths.path import Path, Times
from edgenode.paths.verdict import Direction, State, Verdict

__all__ = ["Direction", "Path", "State", "Times", "Verdict"]
