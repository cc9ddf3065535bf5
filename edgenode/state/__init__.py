"""What the node remembers, in SQLite: operators' intents, and what happened and why."""

from edgenode.state.database import StateError
from edgenode.state.intents import Intent, IntentKind, Intents
from edgenode.state.journal import Event, Journal, newest

__all__ = ["Event", "Intent", "IntentKind", "Intents", "Journal", "StateError", "newest"]
