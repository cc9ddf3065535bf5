"""Another release on trial: whenever that ends, what is kept was seen to work."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.software.errors import SoftwareError
from edgenode.software.parts import UNITS, Part
from edgenode.software.trial import Failed, Patience, change
from edgenode.system.gate import Record, Seen

OLD, NEW = "1.0", "2.0"
CONTROL = UNITS[Part.CONTROL].name
RECORD = Record(units=(CONTROL,))
PATIENCE = Patience(within=20.0, hold=5.0)


class Killed(BaseException):
    """SIGKILL, at some step."""


class Fake:
    """A node on which a release works, or not; and which may be killed at its n-th step."""

    def __init__(self, works: Callable[[str], bool] = lambda version: True) -> None:
        self.works = works
        self.kept, self.running_now, self.starts = OLD, OLD, 0
        self.trial: str | None = None
        self.active, self.timer, self.failed = True, False, dict[str, str | None]()
        self.now, self.steps, self.killed_at = 0.0, 0, -1
        self.refuses: set[str] = set()

    def _step(self, name: str) -> None:
        self.steps += 1
        if self.steps == self.killed_at:
            raise Killed
        if name in self.refuses and (name, self.running_now) != ("change_over", OLD):
            raise SoftwareError(f"{name} is refused")

    def begin_trial(self, part: Part, file: Path) -> None:
        self._step("begin_trial")
        self.trial = file.name

    def end_trial(self, part: Part) -> None:
        self._step("end_trial")
        self.trial = None

    def change_over(self, part: Part) -> None:
        self._step("change_over")
        self.running_now, self.starts = self.trial or self.kept, self.starts + 1

    def is_active(self, part: Part) -> bool:
        return self.active

    def running(self, part: Part) -> str | None:
        return self.running_now

    def undo_after(self, seconds: float) -> None:
        assert seconds > PATIENCE.within + PATIENCE.hold
        self._step("undo_after")
        self.timer = True

    def no_undo(self) -> None:
        self._step("no_undo")
        self.timer = False

    def file(self, version: str) -> Path:
        return Path(version)

    def keep(self, part: Part, version: str) -> None:
        self._step("keep")
        self.kept = version

    def mark(self, version: str, why: str | None) -> None:
        self._step("mark")
        self.failed[version] = why

    def look(self) -> Seen:
        self._step("look")
        up = self.active and self.works(self.running_now)
        return Seen({CONTROL: str(self.starts)} if up else {}, (), None)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def tried(fake: Fake) -> None:
    change(Part.CONTROL, NEW, RECORD, fake.look, fake, PATIENCE, clock=fake.clock, sleep=fake.sleep)


def test_one_that_works_is_kept() -> None:
    fake = Fake()
    tried(fake)
    assert (fake.kept, fake.running_now, fake.trial, fake.timer) == (NEW, NEW, None, False)
    assert fake.now >= PATIENCE.hold


def test_one_that_does_not_is_left_and_remembered() -> None:
    fake = Fake(works=lambda version: version == OLD)
    with pytest.raises(Failed, match=r"control goes on with what it ran: 2\.0 does not do"):
        tried(fake)
    assert (fake.kept, fake.running_now, fake.trial, fake.timer) == (OLD, OLD, None, False)
    assert CONTROL in str(fake.failed[NEW])


def test_what_does_not_run_is_not_started_for_it() -> None:
    fake = Fake()
    fake.active = False
    tried(fake)
    assert (fake.kept, fake.running_now, fake.starts) == (NEW, OLD, 0)


@pytest.mark.parametrize("what", ["begin_trial", "keep"])
def test_what_cannot_be_done_is_said_and_leaves_the_old_one(what: str) -> None:
    fake = Fake()
    fake.refuses = {what}
    with pytest.raises(Failed, match=f"{what} is refused"):
        tried(fake)
    assert (fake.kept, fake.running_now, fake.trial, fake.timer) == (OLD, OLD, None, False)


def test_where_the_way_back_fails_systemd_tries_it_again() -> None:
    fake = Fake(works=lambda version: version == OLD)
    fake.refuses = {"change_over"}  # back from the new one
    with pytest.raises(SoftwareError, match="could not be had back"):
        tried(fake)
    assert (fake.kept, fake.trial, fake.timer) == (OLD, None, True)


def test_one_that_never_came_to_run_disturbs_nothing() -> None:
    class Refuses(Fake):
        def change_over(self, part: Part) -> None:
            raise SoftwareError("it cannot take over")

    fake = Refuses()
    with pytest.raises(Failed, match="cannot take over"):
        tried(fake)
    assert (fake.kept, fake.starts, fake.trial, fake.timer) == (OLD, 0, None, False)


@given(st.booleans(), st.integers(1, 80))
def test_killed_anywhere_it_starts_with_one_that_was_seen_to_work(good: bool, at: int) -> None:
    fake = Fake(works=lambda version: good or version == OLD)
    fake.killed_at = at
    with contextlib.suppress(Killed, Failed):
        tried(fake)
    assert fake.kept == OLD or good
    if fake.running_now != fake.kept:
        assert fake.timer, "what runs on trial is ended by systemd"
    # The reboot: nothing of the trial is left.
    assert fake.works(fake.kept)
