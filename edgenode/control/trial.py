"""When a configuration on trial has failed. Pure.

Why BIRD's own ``configure timeout`` is no backstop here: it brings back the configuration of before
with the levels that *that text* was rendered with. A group that was withdrawn in the meantime would
be announced again, by nobody's decision: by control's (which could be told of it), or, worse, by
`edgenode withdraw --all` while control is dead. And it would help in nothing else: a control that
comes back in the middle of a trial undoes it itself, and for one that does not, the lifeline
withdraws all but the groups that are to be kept as they are.
"""

from __future__ import annotations

from collections.abc import Collection

LOST = 20.0
"""Seconds within which a session must be back: a change of its settings restarts it, and BIRD tries
again after 1 to 5 s."""


class Trial:
    """One configuration's. Times are seconds of the monotonic clock."""

    def __init__(self, now: float, seconds: float, sessions: Collection[str]) -> None:
        """`sessions`: the neighbors that were Established before, and are configured still."""
        self.until = now + seconds
        self.seconds = seconds
        self._seen = dict.fromkeys(sessions, now)

    def failed(self, now: float, established: Collection[str]) -> str | None:
        """Why it is to be undone at this moment, as the end of a sentence; None: it is not."""
        for name in self._seen:
            if name in established:
                self._seen[name] = now
        lost = [name for name, at in self._seen.items() if now - at >= LOST]
        if lost:
            return f"the session with {', '.join(lost)} was lost, and not back within {LOST:g} s"
        if now >= self.until:
            return f"nobody confirmed it within {self.seconds:g} s"
        return None
