"""Who is left alone, for how long, and that it is never too many."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering.outliers import JITTER, PAUSE, Failure, Outliers
from edgenode.steering.table import Outliers as Policy

POOL = ("web", "fra")
FOUR = ("a", "b", "c", "d")
POLICY = Policy(failures=3, base_time=10.0, max_time=60.0, max_share=0.5)


def outliers(policy: Policy = POLICY) -> Outliers:
    made = Outliers(Random(1))
    made.policy = policy
    return made


def ejected(found: Outliers, now: float, workers: tuple[str, ...] = FOUR) -> set[str]:
    return set(found.view(POOL, workers, now).ejected)


def fail(found: Outliers, worker: str, now: float, failure: Failure = Failure.REFUSED) -> None:
    found.failed(POOL, worker, failure, now, now)


events = st.lists(
    st.tuples(
        st.sampled_from(("refused", "silent", "reset", "connects", "serves", "tries", "quiet")),
        st.sampled_from(FOUR),
        st.floats(0, 40),
    ),
    max_size=60,
)
policies = st.builds(
    Policy, st.integers(0, 4), st.floats(1, 20), st.floats(20, 90), st.floats(0, 1)
)


@given(events, policies)
def test_laws(story: list[tuple[str, str, float]], policy: Policy) -> None:
    found, now = outliers(policy), 100.0
    failed: set[str] = set()
    for what, worker, later in story:
        now += later
        match what:
            case "refused":
                fail(found, worker, now)
            case "silent":
                fail(found, worker, now, Failure.TIMEOUT)
                found.failed(POOL, None, Failure.TIMEOUT, now, now)
            case "reset":
                fail(found, worker, now, Failure.RESET)
            case "connects":
                found.connected(POOL, worker, now)
            case "serves":
                found.proven(POOL, worker, now, now)
            case "tries":
                found.trying(POOL, worker, now)
        if what in ("refused", "silent", "reset"):
            failed.add(worker)
        if what == "serves":
            failed.discard(worker)
        view = found.view(POOL, FOUR, now)
        # Never more than the share, and only who has failed since it was last seen well.
        assert len(view.ejected) <= policy.max_share * len(FOUR)
        assert view.ejected <= failed
        # It holds until it says, and nobody is left alone for longer than the longest time.
        assert now < view.until
        assert not view.ejected or view.until <= now + max(policy.max_time, PAUSE)
        assert now + max(policy.max_time, PAUSE) < 1e9
        after = now + max(policy.max_time, PAUSE)
        assert found.view(POOL, FOUR, after).ejected == frozenset()
        assert not found.view(POOL, FOUR, after).dead
        # What is told is what holds.
        told = {one.worker for one in found.ejections(POOL, FOUR, now)}
        assert told == view.ejected | ({None} if view.dead else set())


def test_where_all_fail_nobody_is_left_alone_and_the_region_is_dead() -> None:
    found = outliers(Policy(max_share=1.0))
    for worker in FOUR:
        assert not found.view(POOL, FOUR, 1.0).dead
        fail(found, worker, 1.0)
    assert found.view(POOL, FOUR, 1.0).dead
    assert ejected(found, 1.0) == set()
    found.connected(POOL, "c", 1.1)
    assert not found.view(POOL, FOUR, 1.1).dead
    assert ejected(found, 1.1) == {"a", "b", "d"}


def test_a_region_without_workers_is_not_dead() -> None:
    found = outliers()
    fail(found, "a", 1.0)
    assert not found.view(POOL, (), 1.0).dead
    assert list(found.ejections(POOL, (), 1.0)) == []


def test_a_failed_connect_sets_aside_for_seconds() -> None:
    found = outliers()
    fail(found, "a", 1.0)
    assert ejected(found, 1.0) == {"a"}
    assert ejected(found, 1.0 + PAUSE) == set()


def test_one_tries_while_the_others_leave_it_alone() -> None:
    found = outliers()
    fail(found, "a", 1.0)
    assert found.trying(POOL, "a", 5.0)
    assert ejected(found, 5.0) == {"a"}
    assert not found.trying(POOL, "a", 5.1)
    assert found.connected(POOL, "a", 5.2)
    assert ejected(found, 5.2) == set()


@pytest.mark.parametrize("failure", [Failure.REFUSED, Failure.TIMEOUT, Failure.RESET])
def test_so_many_failures_in_a_row_eject_and_each_time_for_longer(failure: Failure) -> None:
    found, now = outliers(), 0.0
    lengths = []
    for _ in range(8):
        for _ in range(POLICY.failures):
            fail(found, "a", now, failure)
            if failure is not Failure.RESET:  # each sets it aside by itself
                now += PAUSE
                found.trying(POOL, "a", now)
            if (view := found.view(POOL, FOUR, now)).until > now + PAUSE:
                break
        else:
            raise AssertionError("it is not ejected")
        if view.until < float("inf"):
            lengths.append(view.until - now)
            now = view.until
            found.trying(POOL, "a", now)
    for number, length in enumerate(lengths):
        longest = min(POLICY.base_time * 2**number, POLICY.max_time)
        assert longest * (1 - JITTER) <= length + PAUSE
        assert length <= longest
    assert len(set(lengths)) == len(lengths)  # jitter


def test_what_is_not_its_own_fault_ejects_nobody() -> None:
    """No address in the mesh; a region that is silent as a whole."""
    found, now = outliers(), 0.0
    for _ in range(20):
        found.failed(POOL, None, Failure.TIMEOUT, now, now)
        fail(found, "a", now, Failure.UNREACHABLE)
        fail(found, "b", now, Failure.TIMEOUT)
        assert found.view(POOL, FOUR, now).until <= now + PAUSE
        assert all(one.ejections == 0 for one in found.ejections(POOL, FOUR, now))
        now += PAUSE
        found.trying(POOL, "a", now)
        found.trying(POOL, "b", now)


def test_resets_count_only_in_a_row() -> None:
    found = outliers()
    for _ in range(10):
        fail(found, "a", 1.0, Failure.RESET)
        fail(found, "a", 1.0, Failure.RESET)
        found.connected(POOL, "a", 1.0)  # that alone is no proof
        assert ejected(found, 1.0) == set()
        found.proven(POOL, "a", 1.0, 1.0)
    for _ in range(POLICY.failures):
        found.connected(POOL, "a", 1.0)
        fail(found, "a", 1.0, Failure.RESET)
    assert ejected(found, 1.0) == {"a"}


def test_what_began_before_the_ejection_is_no_news() -> None:
    """Neither the failures of those that were on their way, nor sessions that went well before."""
    found = outliers()
    for _ in range(POLICY.failures):
        fail(found, "a", 5.0, Failure.RESET)
    until = found.view(POOL, FOUR, 5.0).until
    assert not found.failed(POOL, "a", Failure.RESET, 4.0, 6.0)
    assert not found.proven(POOL, "a", 4.0, 6.0)
    assert found.view(POOL, FOUR, 6.0).until == until


def test_a_burst_of_failures_at_once_is_one() -> None:
    """A worker that restarts refuses all that are on their way to it."""
    found = outliers()
    for number in range(100):
        found.failed(POOL, "a", Failure.REFUSED, 0.9, 1.0 + number / 1000)
    assert found.view(POOL, FOUR, 1.2).until == pytest.approx(1.0 + PAUSE)


def test_one_too_many_to_be_ejected_gets_no_longer_time_for_each_failure() -> None:
    found = outliers(Policy(failures=1, base_time=10.0, max_time=600.0, max_share=0.25))
    fail(found, "a", 1.0)
    for number in range(50):
        fail(found, "b", 1.0 + number / 100)
    assert ejected(found, 2.0) == {"a"}
    # When the first is back it takes its place, for the rest of its own time.
    assert found.connected(POOL, "a", 2.0)
    assert ejected(found, 2.0) == {"b"}
    assert ejected(found, 12.0) == set()


def test_after_a_long_good_time_it_begins_anew() -> None:
    found = outliers(Policy(failures=1, base_time=10.0, max_time=60.0))
    fail(found, "a", 0.0)
    fail(found, "a", 20.0)
    assert found.view(POOL, FOUR, 20.0).until > 20.0 + 10.0
    found.connected(POOL, "a", 30.0)
    fail(found, "a", 100.0)
    assert found.view(POOL, FOUR, 100.0).until <= 110.0


def test_a_trial_that_lasts_without_a_reset_is_enough() -> None:
    found = outliers()
    for _ in range(POLICY.failures):
        fail(found, "a", 0.0, Failure.RESET)
    assert found.trying(POOL, "a", 20.0)
    found.connected(POOL, "a", 20.1)
    assert ejected(found, 20.2) == {"a"}  # it would be reset by now and then only
    assert found.trying(POOL, "a", 20.0 + PAUSE)
    assert ejected(found, 20.0 + PAUSE) == set()
    assert found.returned(POOL, "a") == 20.0 + PAUSE


def test_the_way_is_silent_until_somebody_answers() -> None:
    found = outliers()
    found.failed(POOL, None, Failure.TIMEOUT, 1.0, 1.1)
    view = found.view(POOL, FOUR, 1.1)
    assert (view.dead, view.ejected) == (True, frozenset())
    assert found.answered(POOL, 1.2)
    assert not found.view(POOL, FOUR, 1.2).dead
