"""What the node remembers, in SQLite: operators' intents, and what happened and why."""

from edgenode.state.database import StateError
from edgenode.state.intents import NODE, Intent, IntentKind, Intents, Key
from edgenode.state.journal import Event, Journal, Wanted, newest
from edgenode.state.penalties import Penalties

__all__ = [
    "NODE",
    "Event",
    "Intent",
    "IntentKind",
    "Intents",
    "Journal",
    "Key",
    "Penalties",
    "StateError",
    "Wanted",
    "newest",
]
