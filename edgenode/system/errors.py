"""What goes wrong with the system's versions."""

from __future__ import annotations


class UpdateError(Exception):
    """What could not be done, why, and what to do; nothing was changed unless it says so."""
