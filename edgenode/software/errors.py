"""What goes wrong with edgenode's own releases."""

from __future__ import annotations


class SoftwareError(Exception):
    """What could not be done, why, and what to do; what runs is as it was unless it says so."""
