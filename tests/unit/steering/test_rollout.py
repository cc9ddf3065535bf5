"""Which table is in force, and whose fault the end of a relay worker is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering.rollout import MOMENTS, Entry, Fault, Rollout, Ruling
from edgenode.steering.table import Bind, Service, Table, TableError

CANARY, OTHER = 0, 1
OWN = pytest.mark.parametrize("fault", [Fault.CRASHED, Fault.HUNG])


def table(revision: int, name: str = "web") -> Table:
    return Table(revision, "lon1", Bind(), (Service(name, (), "none", 1.0, 60.0, ()),))


class Played:
    """A rollout, and what its fleet would do."""

    def __init__(self) -> None:
        self.rollout = Rollout()

    def offer(self, revision: int, name: str = "", trusted: bool = False) -> Entry:
        return self.rollout.offer(table(revision, name or f"web{revision}"), trusted)

    def tried(self, revision: int, now: float, name: str = "", trusted: bool = False) -> Entry:
        """A table that its canary confirms."""
        self.offer(revision, name, trusted)
        entry = self.rollout.begin(CANARY)
        assert self.rollout.confirmed(CANARY, entry.number, now) is entry
        return entry

    def ends(
        self, fault: Fault, at: float, row: int = OTHER, started: float = -1e9
    ) -> Ruling | None:
        return self.rollout.ended(row, started, fault, at, at, "it is bad")

    @property
    def revision(self) -> int | None:
        return self.rollout.present.table.revision if self.rollout.present else None


def test_a_table_is_in_force_once_the_canary_has_answered() -> None:
    played = Played()
    played.tried(1, 0.0)
    entry = played.offer(2)
    rollout = played.rollout
    rollout.begin(CANARY)
    assert rollout.confirmed(OTHER, entry.number, 1.0) is None
    assert rollout.confirmed(CANARY, entry.number - 1, 1.0) is None
    assert played.revision == 1
    assert rollout.confirmed(CANARY, entry.number, 1.0) is entry
    assert played.revision == 2
    assert rollout.confirmed(CANARY, entry.number, 1.0) is None  # once


def test_of_those_that_wait_only_the_newest_is_tried() -> None:
    played = Played()
    played.offer(1)
    first = played.rollout.begin(CANARY)
    played.offer(2)
    newest = played.offer(3)
    played.rollout.confirmed(CANARY, first.number, 0.0)
    assert played.rollout.begin(OTHER) is newest


@OWN
def test_a_table_that_ends_its_canary_is_set_aside(fault: Fault) -> None:
    played = Played()
    played.tried(1, 0.0)
    played.offer(2, "bad")
    played.rollout.begin(CANARY)
    ruling = played.ends(fault, 1000.0, row=CANARY)
    assert ruling is not None
    assert [entry.table.revision for entry in ruling.tables] == [2]
    assert not ruling.everywhere
    assert played.revision == 1
    # Whatever its revision, it does not come back; anything else does.
    for _ in range(2):
        with pytest.raises(TableError, match="it is bad"):
            played.offer(7, "bad")
    assert played.rollout.waiting is None
    assert played.tried(7, 1001.0, "good").table.revision == 7


def test_a_newer_table_is_tried_when_one_is_set_aside() -> None:
    played = Played()
    played.offer(1, "bad")
    played.rollout.begin(CANARY)
    newer = played.offer(2)
    assert played.ends(Fault.CRASHED, 1.0, row=CANARY) is not None
    assert played.rollout.begin(OTHER) is newer


def test_a_canary_that_others_kill_is_followed_by_one_more() -> None:
    """The kernel, where memory is out, and a person look the same."""
    played = Played()
    played.tried(1, 0.0)
    entry = played.offer(2, "bad")
    played.rollout.begin(CANARY)
    assert played.ends(Fault.OTHERS, 1.0, row=CANARY) is None
    assert played.rollout.begin(OTHER) is entry
    assert played.ends(Fault.OTHERS, 2.0, row=OTHER) is not None
    assert played.revision == 1


@OWN
def test_what_fails_moments_after_a_table_is_its_fault(fault: Fault) -> None:
    played = Played()
    played.tried(1, 0.0)
    played.tried(2, 100.0, "bad")
    ruling = played.ends(fault, 100.0 + MOMENTS / 2)
    assert ruling is not None
    assert ruling.everywhere
    assert played.revision == 1
    assert ruling.back is played.rollout.present
    # The number is a new one: all are to be told, those too that have not heard of the other.
    assert ruling.back is not None
    assert ruling.back.number > ruling.tables[-1].number
    with pytest.raises(TableError, match="it is bad"):
        played.offer(3, "bad")


@pytest.mark.parametrize(
    ("fault", "later"),
    [(Fault.OTHERS, 0.1), (Fault.CRASHED, MOMENTS + 0.1), (Fault.CRASHED, 600.0)],
)
def test_any_other_end_is_no_tables_fault(fault: Fault, later: float) -> None:
    played = Played()
    played.tried(1, 0.0)
    played.tried(2, 100.0)
    assert played.ends(fault, 100.0 + later) is None
    assert played.revision == 2
    played.offer(3, "web2")


def test_a_silence_is_found_late_and_began_under_an_older_table() -> None:
    played = Played()
    played.tried(1, 0.0)
    played.tried(2, 100.0, "bad")
    for revision in range(3, 9):
        played.tried(revision, 99.0 + revision)
    ruling = played.rollout.ended(OTHER, 0, Fault.HUNG, 101.0, 108.0, "it is bad")
    assert ruling is not None
    assert [entry.table.revision for entry in ruling.tables] == [2, 3, 4, 5, 6, 7, 8]
    assert played.revision == 1


def test_all_tables_of_these_moments_go_and_what_is_on_its_way() -> None:
    """Who knows which of them it was."""
    played = Played()
    for revision, now in ((1, 0.0), (2, 50.0), (3, 100.0), (4, 100.5), (5, 101.0)):
        played.tried(revision, now)
    played.offer(6)
    played.rollout.begin(CANARY)
    played.offer(7)
    ruling = played.ends(Fault.CRASHED, 101.5)
    assert ruling is not None
    assert [entry.table.revision for entry in ruling.tables] == [3, 4, 5]
    assert [entry.table.revision for entry in ruling.dropped] == [6, 7]
    assert played.revision == 2
    assert played.rollout.trial is None
    played.offer(7)  # it was not judged


def test_what_there_is_nothing_better_than_is_kept() -> None:
    played = Played()
    played.tried(1, 0.0)
    assert played.ends(Fault.CRASHED, 1.0) is None
    assert played.revision == 1
    played = Played()
    played.tried(1, 0.0, trusted=True)
    played.tried(2, 0.1)
    assert played.ends(Fault.CRASHED, 0.5) is not None  # the one from before is


def test_one_that_had_failed_before_is_not_held_against_the_table_after() -> None:
    """Several fall silent under a table, and are found one by one."""
    played = Played()
    played.tried(1, 0.0)
    played.tried(2, 100.0)
    for _ in range(3):
        played.ends(Fault.HUNG, 101.0)
    assert played.revision == 1
    with pytest.raises(TableError):
        played.offer(3, "web2")


def test_a_failure_under_the_former_table_acquits() -> None:
    played = Played()
    played.tried(1, 0.0)
    played.tried(2, 100.0, "accused")
    ruling = played.ends(Fault.CRASHED, 101.0)
    assert ruling is not None
    assert ruling.back is not None
    played.ends(Fault.CRASHED, 101.5)  # it had the other, too
    with pytest.raises(TableError):
        played.offer(3, "accused")
    again = played.ends(Fault.CRASHED, 102.0, started=101.2)
    assert again is not None
    assert again.acquitted
    played.offer(3, "accused")


def test_what_ended_its_canary_is_never_acquitted() -> None:
    played = Played()
    played.tried(1, 0.0)
    played.offer(2, "bad")
    played.rollout.begin(CANARY)
    played.ends(Fault.CRASHED, 100.0, row=CANARY)
    played.tried(3, 100.5)
    ruling = played.ends(Fault.CRASHED, 101.0)
    assert ruling is not None
    assert ruling.back is not None
    acquittal = played.ends(Fault.CRASHED, 101.5, started=101.2)
    assert acquittal is not None
    assert acquittal.acquitted
    with pytest.raises(TableError):
        played.offer(4, "bad")


def test_what_may_be_innocent_comes_again_after_a_while_that_grows() -> None:
    """Killed twice while memory was out: the table may be what takes a dead region away."""
    played = Played()
    rollout = played.rollout
    played.tried(1, 0.0)
    now = 0.0
    for pause in (60.0, 120.0, 240.0):
        played.offer(2, "accused")
        for _ in range(2):
            rollout.begin(CANARY)
            played.ends(Fault.OTHERS, now, row=CANARY)
        with pytest.raises(TableError, match="it is bad"):
            played.offer(3, "accused")
        assert rollout.next_release() == now + pause
        assert not rollout.release(now + pause - 0.1)
        now += pause
        assert rollout.release(now)
        assert rollout.next_release() == float("inf")
        assert not rollout.release(now)
    assert played.tried(4, now, "accused").table.revision == 4


@pytest.mark.parametrize("trial", [False, True])
def test_a_silence_and_a_crash_moments_after_may_have_had_another_reason(trial: bool) -> None:
    played = Played()
    played.tried(1, 0.0)
    if trial:
        played.offer(2, "accused")
        played.rollout.begin(CANARY)
        played.ends(Fault.HUNG, 100.0, row=CANARY)
    else:
        played.tried(2, 99.0, "accused")
        played.ends(Fault.CRASHED, 100.0)
    with pytest.raises(TableError):
        played.offer(3, "accused")
    assert played.rollout.release(160.0)
    played.offer(3, "accused")


def test_a_crash_under_trial_is_proof_for_good() -> None:
    played = Played()
    played.tried(1, 0.0)
    played.offer(2, "bad")
    played.rollout.begin(CANARY)
    played.ends(Fault.CRASHED, 100.0, row=CANARY)
    assert not played.rollout.release(1e9)
    with pytest.raises(TableError):
        played.offer(3, "bad")


Step = tuple[str, int, float]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["offer", "confirm", "crash", "hang", "kill"]),
        st.integers(0, 2),
        st.floats(0.0, 4.0),
    ),
    max_size=60,
)


@given(STEPS)
def test_whatever_happens_nobody_is_left_without_a_table_that_was_in_force(
    steps: list[Step],
) -> None:
    """Numbers grow, what is in force was confirmed, and a bad table is never offered twice."""
    rollout, now, revision = Rollout(), 0.0, 0
    numbers, confirmed, aside = [0], set(), set()
    faults = {"crash": Fault.CRASHED, "hang": Fault.HUNG, "kill": Fault.OTHERS}
    for what, which, passed in steps:
        now += passed
        had = rollout.present
        if what == "offer":
            revision += 1
            try:
                rollout.offer(table(revision, f"web{which}"))
            except TableError:
                assert f"web{which}" in aside
        elif what == "confirm":
            if (trial := rollout.trial) and rollout.confirmed(which, trial.number, now):
                confirmed.add(trial.table.revision)
        else:
            ruling = rollout.ended(which, now - passed, faults[what], now, now, "it is bad")
            for entry in ruling.tables if ruling else ():
                aside.add(entry.table.services[0].name)
            if ruling:
                assert ruling.back is rollout.present
        if rollout.waiting and rollout.trial is None:
            rollout.begin(which)
        if rollout.present is not had:
            assert rollout.present is not None
            assert rollout.present.table.revision in confirmed
            assert rollout.present.number > numbers[-1]
            numbers.append(rollout.present.number)
