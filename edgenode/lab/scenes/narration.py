"""Telling the spectator what happens while it happens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from edgenode.lab.scenes.outcome import Claim


class Narrator:
    """Lines with the time since the start; on a terminal also what is waited for just now."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._start = time.monotonic()

    def title(self, name: str, text: str) -> None:
        """The head of a scene."""
        self.console.print()
        self.console.rule(f"[bold]{name}[/]: {text}", align="left", characters="─")

    def say(self, text: str) -> None:
        """One paragraph."""
        row = Table.grid(padding=(0, 2))
        row.add_column(width=8, justify="right", style="dim")
        row.add_column(overflow="fold")
        row.add_row(f"{time.monotonic() - self._start:.1f} s", text)
        self.console.print(row)

    def claim(self, claim: Claim) -> None:
        """Something that must hold."""
        mark = "[green]✓[/]" if claim.holds else "[bold red]✗[/]"
        detail = f"  [dim]{claim.detail}[/]" if claim.detail else ""
        self.say(f"{mark} {claim.text}{detail}")

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """While something takes its time."""
        if not self.console.is_terminal:
            self.say(f"… {text}")
            yield
            return
        with self.console.status(text):
            yield
