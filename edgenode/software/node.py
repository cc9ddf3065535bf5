"""The appliance that this runs on: its store, and systemd."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from edgenode.software import systemd
from edgenode.software.errors import SoftwareError
from edgenode.software.parts import Part, Standing, changes, unused
from edgenode.software.store import Store
from edgenode.software.trial import Patience, change
from edgenode.system.gate import Seen, working

log = logging.getLogger(__name__)


class Node:
    """`Actions` of a trial, and what is made of them."""

    begin_trial = staticmethod(systemd.begin_trial)
    end_trial = staticmethod(systemd.end_trial)
    change_over = staticmethod(systemd.change_over)
    is_active = staticmethod(systemd.is_active)
    running = staticmethod(systemd.running)
    undo_after = staticmethod(systemd.undo_after)
    no_undo = staticmethod(systemd.no_undo)

    def __init__(self, store: Store, look: Callable[[], Seen]) -> None:
        self.store = store
        self.file, self.keep, self.mark = store.file, store.keep, store.mark
        self._look = look

    def standings(self) -> list[Standing]:
        """Each part's."""
        return [self._standing(part) for part in Part]

    def _standing(self, part: Part) -> Standing:
        tried = systemd.on_trial(part)
        return Standing(
            part,
            self.store.kept(part),
            self.store.before(part),
            self.running(part),
            tried.name.removeprefix("edgenode_").removesuffix(".raw") if tried else None,
        )

    def add(self, source: Path) -> str:
        """Take an extension into the store; its version. Raises SoftwareError."""
        draft = self.store.take(source)
        try:
            version = systemd.examined(draft)
            self.store.add(draft, version)
        except SoftwareError as error:
            raise SoftwareError(f"{source}: {error}") from None
        finally:
            draft.unlink(missing_ok=True)
        return version

    def change(
        self,
        version: str,
        parts: Sequence[Part],
        patience: Patience,
        tell: Callable[[str], None],
    ) -> list[Part]:
        """Have these parts run it, one after the other; which did change. Raises SoftwareError.

        It ends at the first that fails: those before it are well with it, and run it.
        """
        changed = changes(self.standings(), version, parts)
        if not changed:
            return []
        record = working(self._look())
        for part in changed:
            tell(f"{part}: {version}")
            if part is Part.TOOLS:
                self._change_tools(version)
            else:
                change(part, version, record, self._look, self, patience)
            log.warning("%s runs %s", part, version)
        return changed

    def _change_tools(self, version: str) -> None:
        """Not tried: that it can be mounted was seen when it was taken in."""
        old = self.store.kept(Part.TOOLS)
        self.keep(Part.TOOLS, version)
        if not self.is_active(Part.TOOLS):
            return
        try:
            self.change_over(Part.TOOLS)
        except SoftwareError:
            if old is not None:
                self.keep(Part.TOOLS, old)
                self.change_over(Part.TOOLS)
            raise

    def undo(self) -> list[Part]:
        """End all trials: the parts run what they start with. Raises SoftwareError."""
        ended = [each for each in self.standings() if each.trial is not None]
        for each in ended:
            self.end_trial(each.part)
            if each.running != each.kept and self.is_active(each.part):
                self.change_over(each.part)
                log.warning("%s: the trial of %s is ended", each.part, each.trial)
        self.no_undo()
        return [each.part for each in ended]

    def prune(self) -> list[str]:
        """Remove what nobody starts with, runs, or may go back to. Raises SoftwareError."""
        gone = unused(self.standings(), self.store.versions())
        for version in gone:
            self.store.remove(version)
        return gone
