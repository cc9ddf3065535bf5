"""From what is known of a path to what it is, in a sentence. Pure; times in monotonic seconds.

Fail safe: a bad path takes all workers behind it away, so it is bad only by evidence.

- A host that never answered an echo may filter them, and workers that accept connections prove the
  path whatever else is silent.
- Where hosts behind the peer are asked, and not the peer itself, one that answers no more may be
  dead, and its way well. What answered before is missed all the same: no worker is taken away by
  that which accepts connections, and the text leaves both open.
- Both ends may begin a handshake at the same moment. Each then drops the answer to its own, and
  that looks as if answers were lost, until they miss each other: so that takes many in a row.
- Firewalls filter large echoes alone, and TCP's handshake passes through a black hole: neither
  tells the one from the other. So a size is held against a path only if the same host answered
  echoes of such a size before. Where it never did, operators are told, and users go on: wrong about
  a filter, a node would leave a region that works; wrong about a hole, it is as it was, and the
  relays see connections fail.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from edgenode.mesh.routes import IPV6_MIN_MTU

KEEPALIVE_TIMEOUT = 10.0
"""WireGuard answers a packet within this, by a keepalive if by nothing else (section 6.5)."""
SLACK = 5.0
LAG = 1.5
"""Seconds by which a look at the counters may be dated too late."""
RECENT = 60.0
"""Seconds: keepalives and handshakes come more often than that."""
CALLS = 8
"""Handshakes that a peer began, one after the other: had it heard the answer, it would not.

They are 5 s apart, and up to a third of a second more by chance (section 6.4): two ends that are
80 ms apart and began together do so again in 2 of 5 cases, and eight times in 1 of 600."""
HANDSHAKING = 60.0
"""Seconds that ends which have never met may need for a first handshake."""


class State(StrEnum):
    """The last three are bad: connections through such a path hang or fail."""

    UNKNOWN = "unknown"
    GOOD = "good"
    LOSSY = "lossy"
    FILTERED = "echo-filtered"
    """No echo is answered, but workers behind it are reached."""
    LARGE_LOST = "large-lost"
    """No echo of a useful size was ever answered: they are filtered, or it is a black hole."""
    BLACK_HOLE = "black-hole"
    """Packets of a useful size vanish, and did not before."""
    ONE_WAY = "one-way"
    DEAD = "dead"


BAD = frozenset({State.BLACK_HOLE, State.ONE_WAY, State.DEAD})


class Direction(StrEnum):
    """The way that is broken."""

    OUT = "out"
    """From this node to the peer."""
    IN = "in"


@dataclass(frozen=True)
class Facts:
    """What is known of one path."""

    peer: str
    asked: bool
    """Whether there is an address behind it that is sent echoes, and could be."""
    host: bool
    """Whether it is the peer itself that answered last, and not a host behind it."""
    ever: bool
    """Whether an echo was ever answered."""
    silent: float | None
    """Since when none is answered; None: they are, or it is too soon to say."""
    probed: float
    """By when workers that still count as up have been asked because of that."""
    lossy: bool
    mtu: int
    """Bytes: what the device is configured for."""
    size: int | None
    """What passes, where that is less; 0: no useful size. None: all, or it is not known."""
    min_mtu: int
    large: int
    """The largest echo that who is asked now has ever answered; 0: none."""
    workers: float | None
    """When a worker behind it that is up last accepted a connection; None: none is up."""
    data: float | None
    """When a packet of the peer came; as `Arrivals`."""
    response: float | None
    """When it answered a handshake of ours; as `Arrivals`."""
    call: float | None
    """When it began a handshake; as `Arrivals`."""
    calls: int
    """As `Arrivals`."""
    keepalive: float
    """Seconds after which the peer says that it is there, as we do; 0: never."""
    preshared: bool
    """Whether this end has a preshared key for it: with another there no handshake completes."""
    stale: bool
    """Keepalive would hold a session, and there is none."""
    began: float
    """Since when this path is looked at."""

    @property
    def patience(self) -> float:
        """Seconds within which a peer that is heard says something, whatever it filters."""
        return max(KEEPALIVE_TIMEOUT, self.keepalive) + SLACK

    @property
    def hint(self) -> str:
        """What else to look at where no handshake completes."""
        return "; see whether both ends have the same preshared key" if self.preshared else ""


@dataclass(frozen=True)
class Verdict:
    state: State
    reason: str
    direction: Direction | None = None
    likely: bool = False
    """Whether the direction is the likely one only."""
    small: bool = False
    """Whether packets that IPv6 needs vanish, and did not before."""

    def problem(self, version: int) -> str | None:
        """Why the path is no good for addresses of an IP version; None: it is, or may be."""
        if self.state in BAD:
            return self.reason
        if version == 6 and self.small:
            return f"{self.reason}, and IPv6 needs {IPV6_MIN_MTU}"
        return None

    def worse(self, before: Verdict) -> bool:
        """Whether it takes workers away that `before` did not."""
        return any(self.problem(v) and not before.problem(v) for v in (4, 6))


def judge(facts: Facts, now: float) -> Verdict:
    """What the path is."""
    since = facts.silent
    found = _heard(facts, now) if since is None else _silent(facts, since, now)
    small = facts.size is not None and facts.size < IPV6_MIN_MTU <= facts.large
    return replace(found, small=small)


def _heard(facts: Facts, now: float) -> Verdict:
    peer = facts.peer
    if not facts.asked:
        if facts.stale and facts.workers is None and now - facts.began > facts.patience:
            said = f"no session with {peer}: its last handshake is stale{facts.hint}"
            return Verdict(State.DEAD, said)
        return Verdict(State.UNKNOWN, f"no address behind {peer} that could be sent an echo")
    if not facts.ever:
        return Verdict(State.UNKNOWN, f"no echo of {peer} yet")
    if facts.size == 0 and facts.large < facts.min_mtu:
        return Verdict(
            State.LARGE_LOST,
            f"{peer} answers small echoes, and has never answered one of {facts.min_mtu} bytes or "
            "more: large ones are filtered, or all large packets vanish. Send one through TCP, "
            "and see what filters there",
        )
    if facts.size == 0:
        return Verdict(
            State.BLACK_HOLE,
            f"small packets to {peer} pass, but those of {facts.min_mtu} bytes and more vanish: "
            "see the MTU of the links under the tunnel, and what filters there",
        )
    state, said = State.GOOD, f"{peer} answers"
    if facts.lossy:
        state, said = State.LOSSY, f"{peer} answers, but not all echoes"
    if facts.size is not None:
        said = (
            f"{said}; packets larger than {facts.size} bytes vanish on the way, so its routes "
            f"have this as their MTU instead of {facts.mtu}"
        )
    return Verdict(state, said)


def _silent(facts: Facts, since: float, now: float) -> Verdict:
    peer = facts.peer
    if _after(facts.workers, since):
        said = f"{peer} answers no echo, but workers behind it accept connections"
        return Verdict(State.FILTERED, said)
    if facts.workers is not None and now < facts.probed:
        said = f"{peer} answers no echo any more; whether workers behind it answer is being asked"
        return Verdict(State.LOSSY, said)
    if facts.ever and _arrives(facts, since, now):
        if facts.host:
            return Verdict(
                State.ONE_WAY,
                f"one direction only: packets of {peer} arrive here, and ours do not arrive there",
                Direction.OUT,
            )
        return Verdict(
            State.ONE_WAY,
            f"packets of {peer} arrive here, and nothing behind it answers any more: ours do not "
            "arrive there, or everything behind it is dead",
            Direction.OUT,
            likely=True,
        )
    if _lately(facts.data, since, now):
        return Verdict(
            State.UNKNOWN,
            f"packets of {peer} arrive, but nothing behind it answers an echo: "
            "they may be filtered there",
        )
    if facts.calls >= CALLS:
        return Verdict(
            State.ONE_WAY,
            f"one direction only: {peer} begins handshakes again and again, and our answers do "
            f"not arrive there{facts.hint}",
            Direction.OUT,
        )
    patient = now - since > facts.patience
    if _lately(facts.response, since, now) and (facts.ever or patient):
        said = f"one direction only: {peer} answers handshakes, but no packet of it arrives here"
        if not patient:
            return Verdict(State.ONE_WAY, f"{said}; which way is broken is not known yet")
        # One that hears us sends a keepalive at least, even if it filters echoes. One that does
        # not hear us sends its own all the same, where it has any.
        return Verdict(State.ONE_WAY, f"{said}, and likely ours do there", Direction.IN, True)
    if facts.calls and not facts.ever and now - since <= HANDSHAKING:
        return Verdict(State.UNKNOWN, f"{peer} begins handshakes, and none is completed yet")
    if facts.calls and (facts.ever or patient):
        return Verdict(
            State.DEAD,
            f"{peer} begins handshakes, and none is completed: which way is broken is not known"
            f"{facts.hint}",
        )
    if facts.ever or patient:
        return Verdict(
            State.DEAD,
            f"nothing arrives from {peer}, neither answers nor handshakes: whether ours arrive "
            f"there cannot be seen from here{facts.hint}",
        )
    return Verdict(State.UNKNOWN, f"no echo of {peer} yet")


def _arrives(facts: Facts, since: float, now: float) -> bool:
    """Whether packets of the peer came after `since`, and it is heard still.

    What came tells the direction. From then on handshakes that it begins are enough: it may have
    nothing else to say, or no session left.
    """
    if not _after(facts.data, since + LAG):
        return False
    recent = max(RECENT, facts.patience)
    return any(_lately(at, since, now, recent) for at in (facts.data, facts.call))


def _after(at: float | None, since: float) -> bool:
    return at is not None and at >= since


def _lately(at: float | None, since: float, now: float, recent: float = RECENT) -> bool:
    """Whether the counters tell of something after `since`, and not so long ago."""
    return _after(at, max(since + LAG, now - recent))
