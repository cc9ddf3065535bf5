"""Who owns the users' connections while a new version takes over, step by step. Pure.

    new supervisor                     old supervisor
    HELLO            →                 refuses, or
                     ← WELCOME
    (starts its relay workers)
    PREPARE          →                 takes no table from here on
                     ← STATE           listeners, table, counters
    COPY             →                 its relay workers send descriptors and states, and serve on
    COPIED           →                 freezes them: they do no I/O; each sends what has changed
                     ← FROZEN          and the token
    READY            →                 (every relay worker has adopted its connections)
                     ← COMMIT
    (claims the token)
    OWNED            →                 leaves, without touching a connection
    (serves)

The token is an eventfd(2) of 1 that both have: to read it is to claim it, and the kernel lets one
of them. Only who has claimed it does I/O: the old one takes it back before it thaws.

All relay workers go in one step, and not one after the other. Until OWNED each step can be undone
by forgetting it: no connection has moved, and the old ones go on with what they have. One after the
other, a new version that fails midway would leave two supervisors with a part of the connections
and of the listeners each, and to go back would be another handover, by the version that failed.
The price is that all users wait at the same time, for as long as the slowest relay worker takes:
so all that takes time is done before they are frozen.

The point of no return is OWNED in the old one's queue: the new one sends it before its first I/O.
So an old one that finds the token gone waits for OWNED a little, then kills the new one, waits for
its end, and looks there.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum, auto


class Say(StrEnum):
    """Messages between the supervisors."""

    HELLO = auto()
    WELCOME = auto()
    PREPARE = auto()
    STATE = auto()
    COPY = auto()
    COPIED = auto()
    FROZEN = auto()
    READY = auto()
    COMMIT = auto()
    OWNED = auto()
    FAILED = auto()  # by either: why it gives up


class Event(Enum):
    """What happens to one of them but messages."""

    STARTED = auto()  # new: its relay workers run
    LOADED = auto()  # new: they obey the table
    COPIED = auto()  # new: they have all descriptors and states so far
    ADOPTED = auto()  # new: they have all connections
    CLAIMED = auto()  # the token was there
    BEATEN = auto()  # the other has claimed it
    FROZEN = auto()  # old: its relay workers do no I/O
    LOST = auto()  # the other has closed, or broken the rules, or took too long
    SILENT = auto()  # new: the other has closed, without a word of failure
    UNOWNED = auto()  # old: the new one is dead, and had not begun


class Do(Enum):
    """What is to be done next, beside sending."""

    START = auto()  # new: start relay workers
    LOAD = auto()  # new: hand them listeners and table
    WAIT = auto()  # new: for the relay workers' copies
    ADOPT = auto()  # new: let them adopt
    CLAIM = auto()  # read the token
    SERVE = auto()  # new: let them serve
    QUIT = auto()  # new: end, without touching a connection
    OFFER = auto()  # old: send the state
    SHARE = auto()  # old: let the relay workers copy
    FREEZE = auto()  # old: let them freeze
    DROP = auto()  # old: let them forget the copy; they never stopped
    THAW = auto()  # old: let them go on
    FENCE = auto()  # old: kill the new one, wait for its end, see whether it had begun
    LEAVE = auto()  # old: end, without touching a connection


class Old(Enum):
    """The states of the one that has the connections."""

    ALONE = auto()
    ASKED = auto()
    OFFERED = auto()
    COPYING = auto()
    FREEZING = auto()
    FROZEN = auto()
    COMMITTED = auto()
    RECLAIMING = auto()
    BEATEN = auto()  # the token is gone: OWNED is about to come, or the new one has died
    FENCING = auto()
    GONE = auto()


class New(Enum):
    """The states of the one that takes them over."""

    ASKING = auto()
    STARTING = auto()
    PREPARING = auto()
    LOADING = auto()
    COPYING = auto()
    COPIED = auto()
    ADOPTING = auto()
    READY = auto()
    ALONE = auto()  # adopting, and the old one has closed
    CLAIMING = auto()
    OWNER = auto()
    GONE = auto()


Input = Say | Event
Action = Say | Do
OldSteps = Mapping[tuple[Old, Input], tuple[Old, tuple[Action, ...]]]
NewSteps = Mapping[tuple[New, Input], tuple[New, tuple[Action, ...]]]

OLD: OldSteps = {
    (Old.ALONE, Say.HELLO): (Old.ASKED, (Say.WELCOME,)),
    (Old.ASKED, Say.PREPARE): (Old.OFFERED, (Do.OFFER, Say.STATE)),
    (Old.OFFERED, Say.COPY): (Old.COPYING, (Do.SHARE,)),
    (Old.COPYING, Say.COPIED): (Old.FREEZING, (Do.FREEZE,)),
    (Old.FREEZING, Event.FROZEN): (Old.FROZEN, (Say.FROZEN,)),
    (Old.FROZEN, Say.READY): (Old.COMMITTED, (Say.COMMIT,)),
    (Old.COMMITTED, Say.OWNED): (Old.GONE, (Do.LEAVE,)),
    (Old.ASKED, Event.LOST): (Old.ALONE, ()),
    (Old.OFFERED, Event.LOST): (Old.ALONE, ()),
    (Old.COPYING, Event.LOST): (Old.ALONE, (Do.DROP,)),
    (Old.FREEZING, Event.LOST): (Old.RECLAIMING, (Do.CLAIM,)),
    (Old.FROZEN, Event.LOST): (Old.RECLAIMING, (Do.CLAIM,)),
    (Old.COMMITTED, Event.LOST): (Old.RECLAIMING, (Do.CLAIM,)),
    (Old.RECLAIMING, Event.CLAIMED): (Old.ALONE, (Do.THAW,)),
    (Old.RECLAIMING, Event.BEATEN): (Old.BEATEN, ()),
    (Old.BEATEN, Say.OWNED): (Old.GONE, (Do.LEAVE,)),
    (Old.BEATEN, Event.LOST): (Old.FENCING, (Do.FENCE,)),
    (Old.FENCING, Say.OWNED): (Old.GONE, (Do.LEAVE,)),
    (Old.FENCING, Event.UNOWNED): (Old.ALONE, (Do.THAW,)),
}

NEW: NewSteps = {
    (New.ASKING, Say.WELCOME): (New.STARTING, (Do.START,)),
    (New.STARTING, Event.STARTED): (New.PREPARING, (Say.PREPARE,)),
    (New.PREPARING, Say.STATE): (New.LOADING, (Do.LOAD,)),
    (New.LOADING, Event.LOADED): (New.COPYING, (Say.COPY, Do.WAIT)),
    (New.COPYING, Event.COPIED): (New.COPIED, (Say.COPIED,)),
    (New.COPIED, Say.FROZEN): (New.ADOPTING, (Do.ADOPT,)),
    (New.ADOPTING, Event.ADOPTED): (New.READY, (Say.READY,)),
    (New.ADOPTING, Event.SILENT): (New.ALONE, ()),
    (New.ALONE, Event.ADOPTED): (New.CLAIMING, (Do.CLAIM,)),
    (New.READY, Say.COMMIT): (New.CLAIMING, (Do.CLAIM,)),
    # The old one has died, or has taken the token back before it closed.
    (New.READY, Event.SILENT): (New.CLAIMING, (Do.CLAIM,)),
    (New.CLAIMING, Event.CLAIMED): (New.OWNER, (Say.OWNED, Do.SERVE)),
}


def step_old(state: Old, what: Input) -> tuple[Old, tuple[Action, ...]]:
    """What follows. What the old one does not expect is as good as the loss of the new one."""
    if state in (Old.ALONE, Old.GONE) or what in (Event.LOST, Event.SILENT):
        return OLD.get((state, Event.LOST if what is Event.SILENT else what), (state, ()))
    if state is Old.BEATEN and isinstance(what, Say) and what is not Say.OWNED:
        return state, ()  # it was on its way
    return OLD.get((state, what)) or OLD.get((state, Event.LOST), (state, ()))


def step_new(state: New, what: Input) -> tuple[New, tuple[Action, ...]]:
    """What follows. Whatever is not expected ends the new one, which is never wrong before OWNED;
    afterwards nothing does."""
    if state is New.OWNER:
        return state, ()
    return NEW.get((state, what), (New.GONE, (Do.QUIT,)))
