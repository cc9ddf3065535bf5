"""What control says of what happened."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from edgenode.control.parts import note
from edgenode.state import Event


class Kept:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        self.events.append(event)


def test_no_line_is_forged_by_the_names_of_others(caplog: pytest.LogCaptureFixture) -> None:
    """The key of a record in etcd is whatever somebody has written there."""
    journal: Any = Kept()
    with caplog.at_level(logging.INFO):
        note(journal, "registry", "/edgenode/workers/a\n\x1b[2Jgroup web", "is not\nused")
    assert caplog.messages == ["registry /edgenode/workers/a\\n\\x1b[2Jgroup web: is not\\nused"]
    assert journal.events[0].subject.isprintable()
