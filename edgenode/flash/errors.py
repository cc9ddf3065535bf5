"""Why a disk is not flashed."""

from __future__ import annotations


class FlashError(Exception):
    """In a sentence, for the operator."""
