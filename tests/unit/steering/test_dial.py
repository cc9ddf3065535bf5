from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering.dial import Attempt, Dial, Limits, TargetKey
from edgenode.steering.memory import Memory
from edgenode.steering.outliers import Failure
from edgenode.steering.pick import Room
from edgenode.steering.table import Bind, Dialing, RegionTargets, Service, Table, Target

LIMITS = Limits()


def make(*sizes: int, timeout: float = 1.0, name: str = "web") -> Service:
    """A service with regions a, b, c, … of so many workers each."""
    regions = tuple(
        RegionTargets(
            region, tuple(Target(f"{region}{i}", "198.51.100.1", 80) for i in range(size))
        )
        for region, size in zip("abcdefgh", sizes, strict=False)
    )
    return Service(name, ("203.0.113.1:80",), "v2", timeout, 60.0, regions)


def table(*services: Service) -> Table:
    return Table(1, "lon1", Bind(), services)


def told(*services: Service) -> Memory:
    """A memory with a table of these services."""
    memory = Memory(random=Random(1))
    memory.apply(table(*services), 0.0, 0.0)
    return memory


def connect(service: Service, memory: Memory, now: float, took: float = 0.01) -> Attempt:
    """A connection that succeeds at once."""
    dial = Dial(service, memory, now)
    attempt = dial.next(now)
    assert attempt is not None
    dial.connected(attempt, now + took)
    return attempt


def warm(service: Service, memory: Memory, now: float = 0.0, took: float = 0.01) -> None:
    for _ in range(4):
        connect(service, memory, now, took)


services = st.builds(
    lambda sizes, timeout: make(*sizes, timeout=timeout),
    st.lists(st.integers(0, 4), max_size=4),
    st.floats(0.05, 5),
)
failures = st.lists(st.sampled_from(list(Failure)), min_size=20, max_size=20)


@given(services, failures, st.booleans())
def test_laws_of_one_dial(service: Service, outcomes: list[Failure], known: bool) -> None:
    memory, now = told(service), 50.0
    if known and any(region.workers for region in service.regions):
        warm(service, memory, now - 1)
    dial = Dial(service, memory, now)
    start = now
    all_targets = {(r.region, t.worker) for r in service.regions for t in r.workers}
    tried: list[TargetKey] = []
    silent: set[str] = set()
    last: Failure | None = None
    for outcome in outcomes:
        attempt = dial.next(now)
        if attempt is None:
            break
        untried = all_targets - set(tried)
        # Each target is tried once, and only real ones.
        assert attempt.key in untried
        # After silence another region follows, as long as one is left that has not been silent.
        if last is Failure.TIMEOUT and any(region not in silent for region, _ in untried):
            assert attempt.region not in silent
        # No attempt lasts longer than configured, nor beyond the deadline.
        assert 0 < attempt.timeout <= service.connect_timeout
        assert now + attempt.timeout <= start + LIMITS.deadline + 1e-9
        # Nobody is short of patience when there is nobody else.
        if untried == {attempt.key}:
            left = start + LIMITS.deadline - now
            assert attempt.timeout == min(service.connect_timeout, left)
        tried.append(attempt.key)
        now += attempt.timeout if outcome is Failure.TIMEOUT else 0.001
        if outcome is Failure.TIMEOUT:
            silent.add(attempt.region)
        dial.failed(attempt, outcome, now)
        last = outcome
    else:
        raise AssertionError("the attempts are not bounded")
    # It gives up only when all was tried, or at its bounds.
    bounded = len(tried) >= LIMITS.attempts or now >= start + LIMITS.deadline
    assert bounded or set(tried) == all_targets


def test_refused_workers_then_the_next_region() -> None:
    service = make(5, 1)
    dial, tried = Dial(service, told(service), 0.0), []
    while (attempt := dial.next(0.0)) is not None:
        tried.append(attempt.region)
        dial.failed(attempt, Failure.REFUSED, 0.0)
    assert tried == ["a", "a", "a", "b", "a", "a"]


def test_the_first_connection_after_a_cut_waits_once_and_briefly() -> None:
    service = make(4, 2)
    memory = told(service)
    warm(service, memory, took=0.01)
    dial = Dial(service, memory, 10.0)
    first = dial.next(10.0)
    assert first is not None
    assert first.region == "a"
    assert first.timeout == pytest.approx(LIMITS.patience_floor)
    dial.failed(first, Failure.TIMEOUT, 10.1)
    second = dial.next(10.1)
    assert second is not None
    assert second.region == "b"


def test_patience_follows_the_usual_connect_time() -> None:
    service = make(1, 1, timeout=2.0)
    memory = told(service)
    warm(service, memory, took=0.2)
    attempt = Dial(service, memory, 1.0).next(1.0)
    assert attempt is not None
    assert attempt.timeout == pytest.approx(0.2 * 3 + 0.05)


def cut(service: Service, memory: Memory, now: float) -> None:
    """One connection finds the first region silent and the second one good."""
    dial = Dial(service, memory, now)
    first = dial.next(now)
    assert first is not None
    dial.failed(first, Failure.TIMEOUT, now + 0.1)
    second = dial.next(now + 0.1)
    assert second is not None
    assert second.region != first.region
    dial.connected(second, now + 0.11)


def test_a_silent_region_is_shunned_then_tried_by_one() -> None:
    service = make(2, 1)
    memory = told(service)
    warm(service, memory)
    cut(service, memory, 10.0)
    assert connect(service, memory, 10.2).region == "b"
    later = 10.1 + LIMITS.pause
    trial = Dial(service, memory, later)
    attempt = trial.next(later)
    assert attempt is not None
    assert attempt.region == "a"
    # While one tries, the others go on shunning it.
    assert connect(service, memory, later + 0.05).region == "b"
    trial.connected(attempt, later + 0.06)
    assert connect(service, memory, later + 0.07).region == "a"


def test_a_new_table_changes_nothing_of_what_was_learned() -> None:
    service = make(1, 1)
    memory = told(service)
    cut(service, memory, 10.0)
    memory.apply(table(service, make(1, name="mail")), 10.2, 10.2)
    assert connect(service, memory, 10.3).region == "b"


def test_a_worker_that_came_up_anew_is_tried_at_once_by_one() -> None:
    service = make(1, 1)
    memory = told(service)
    cut(service, memory, 10.0)
    near, far = service.regions
    came_up = replace(near, workers=(replace(near.workers[0], since=10.1),))
    memory.apply(table(replace(service, regions=(came_up, far))), 10.2, 10.2)
    trial = Dial(service, memory, 10.3)
    attempt = trial.next(10.3)
    assert attempt is not None
    assert attempt.region == "a"
    assert connect(service, memory, 10.4).region == "b"


def test_only_what_the_newest_table_names_is_tried() -> None:
    """Also by a connection that came before it."""
    service = make(2, 1)
    memory = told(service)
    dial = Dial(service, memory, 0.0)
    first = dial.next(0.0)
    assert first is not None
    dial.failed(first, Failure.REFUSED, 0.0)
    memory.apply(table(replace(service, regions=service.regions[1:])), 0.0, 0.0)
    attempt = dial.next(0.0)
    assert attempt is not None
    assert attempt.region == "b"
    dial.failed(attempt, Failure.REFUSED, 0.0)
    assert dial.next(0.0) is None


def limited(
    *sizes: int,
    soft: int | None = None,
    hard: int | None = None,
    region_soft: int | None = None,
    region_hard: int | None = None,
) -> Service:
    service = make(*sizes)
    return replace(
        service,
        regions=tuple(
            RegionTargets(
                region.region,
                tuple(replace(one, soft_limit=soft, hard_limit=hard) for one in region.workers),
                region_soft,
                region_hard,
            )
            for region in service.regions
        ),
    )


def fill(service: Service, memory: Memory) -> list[str]:
    """Connections that stay, until one is refused for want of room: the regions in turn."""
    regions: list[str] = []
    while True:
        dial = Dial(service, memory, 0.0)
        attempt = dial.next(0.0)
        if attempt is None:
            assert dial.full
            return regions
        dial.connected(attempt, 0.0)
        regions.append(attempt.region)


def test_soft_limits_spill_over_and_hard_ones_refuse() -> None:
    service = limited(2, 1, soft=1, hard=3)
    assert fill(service, told(service)) == ["a"] * 2 + ["b"] + ["a"] * 4 + ["b"] * 2


def test_a_region_has_limits_of_its_own() -> None:
    service = limited(3, 1, hard=9, region_soft=1, region_hard=2)
    assert fill(service, told(service)) == ["a", "b", "a", "b"]


def test_a_place_that_was_left_is_taken_again() -> None:
    service = limited(2, hard=1)
    memory = told(service)
    fill(service, memory)
    (pool,) = memory.pools(service.name)
    memory.give(pool, 1)
    assert fill(service, memory) == ["a"]


def test_soft_limits_are_passed_before_a_dead_region_is_tried() -> None:
    service = limited(1, 1, soft=1)
    memory = told(service)
    far = memory.pools(service.name)[1]
    memory.failed(far, 0, Failure.TIMEOUT, 0.0, 0.0)
    regions = [connect(service, memory, 0.1).region for _ in range(5)]
    assert regions == ["a"] * 5


def test_whom_others_failed_with_is_the_last_resort() -> None:
    service = make(2)
    memory = told(service)
    (pool,) = memory.pools(service.name)
    memory.failed(pool, 0, Failure.REFUSED, 0.0, 0.0)
    dial = Dial(service, memory, 0.1)
    first = dial.next(0.1)
    assert first is not None
    assert first.target.worker == "a1"
    dial.failed(first, Failure.UNREACHABLE, 0.1)
    second = dial.next(0.1)
    assert second is not None
    assert second.target.worker == "a0"


def test_a_silent_worker_does_not_blame_a_region_that_answers() -> None:
    service = make(2, 1)
    memory = told(service)
    warm(service, memory)
    dial = Dial(service, memory, 10.0)
    hung = dial.next(10.0)
    assert hung is not None
    connect(service, memory, 10.01)
    dial.failed(hung, Failure.TIMEOUT, 10.1)
    # The region goes on, but without the worker.
    following = [connect(service, memory, 10.2 + i / 10) for i in range(4)]
    assert {attempt.region for attempt in following} == {"a"}
    assert hung.key not in {attempt.key for attempt in following}


def test_a_refused_worker_is_passed_over_for_a_while() -> None:
    service = make(2, 1)
    memory = told(service)
    dial = Dial(service, memory, 0.0)
    down = dial.next(0.0)
    assert down is not None
    dial.failed(down, Failure.REFUSED, 0.0)
    assert all(connect(service, memory, 0.1 * i).key != down.key for i in range(1, 9))


def test_a_path_that_has_become_slow_is_found_again() -> None:
    """All regions answer, but slower than before: patience grows until they are heard."""
    service = make(1, 1, timeout=1.0)
    memory = told(service)
    warm(service, memory)
    now, delay = 10.0, 0.6
    dial = Dial(service, memory, now)
    for _ in range(10):
        attempt = dial.next(now)
        if attempt is None:
            dial = Dial(service, memory, now)
            continue
        if attempt.timeout > delay:
            dial.connected(attempt, now + delay)
            return
        now += attempt.timeout
        dial.failed(attempt, Failure.TIMEOUT, now)
    raise AssertionError("a slow path was taken for a dead one for ever")


def test_a_near_region_that_has_become_slow_is_taken_back() -> None:
    """Others answer at once, so that the short patience is never given up for want of them."""
    service, delay = make(1, 1, timeout=1.0), 0.6
    memory = told(service)
    warm(service, memory)
    now = 10.0
    for _ in range(5):
        dial = Dial(service, memory, now)
        attempt = dial.next(now)
        assert attempt is not None
        assert attempt.region == "a"
        if attempt.timeout > delay:
            return
        dial.failed(attempt, Failure.TIMEOUT, now + attempt.timeout)
        now += LIMITS.pause + 1.0
    raise AssertionError("the near region was never given the time that it needs")


# --- races


def late(service: Service, memory: Memory, now: float) -> tuple[Dial, Attempt]:
    """A connection whose first attempt has had no answer until `now`, when it is late."""
    dial = Dial(service, memory, now - 0.05)
    attempt = dial.next(now - 0.05)
    assert attempt is not None
    assert now - 0.05 < attempt.late_at <= now
    return dial, attempt


def test_what_is_late_is_raced_by_another_region_once() -> None:
    service = make(3, 1, 1)
    memory = told(service)
    warm(service, memory)
    dial, first = late(service, memory, 10.0)
    assert first.late_at < first.until
    dial.late(first, 10.0)
    rival = dial.race(first, 10.0)
    assert rival is not None
    assert rival.region == "b"
    # When both have failed, a third region follows: neither is asked again.
    dial.failed(first, Failure.TIMEOUT, 10.1)
    dial.failed(rival, Failure.REFUSED, 10.1)
    third = dial.next(10.1)
    assert third is not None
    assert third.region == "c"


def test_another_worker_races_where_there_is_no_other_region() -> None:
    service = make(2)
    memory = told(service)
    warm(service, memory)
    dial, first = late(service, memory, 10.0)
    rival = dial.race(first, 10.0)
    assert rival is not None
    assert rival.key != first.key
    assert dial.race(rival, 10.1) is None


def test_nobody_races_where_the_service_says_so_or_nothing_is_known_for_short() -> None:
    quiet = replace(make(1, 1), hedge=False)
    memory = told(quiet)
    warm(quiet, memory)
    attempt = Dial(quiet, memory, 10.0).next(10.0)
    assert attempt is not None
    assert attempt.late_at == float("inf")
    service = make(1, 1)
    attempt = Dial(service, told(service), 10.0).next(10.0)
    assert attempt is not None
    assert attempt.late_at == pytest.approx(10.25)


def test_a_race_takes_no_place_above_a_soft_limit() -> None:
    service = limited(1, 1, soft=1)
    memory = told(service)
    near, far = memory.pools("web")
    memory.connected(near, 0, 9.0, 9.01)
    assert memory.take(far, Room.SOFT, (), 9.0) == 0
    dial, first = late(service, memory, 10.0)
    assert dial.race(first, 10.0) is None
    memory.give(far, 0)
    assert dial.race(first, 10.0) is not None


def test_a_race_does_not_ask_whom_others_failed_with() -> None:
    service = make(1, 1)
    memory = told(service)
    warm(service, memory)
    memory.failed(memory.pools("web")[1], 0, Failure.REFUSED, 9.9, 9.9)
    dial, first = late(service, memory, 10.0)
    assert dial.race(first, 10.0) is None
    assert not dial.exhausted


def test_a_dying_region_starts_no_storm() -> None:
    service = make(4, 4)
    memory = Memory(random=Random(1))
    budget = Dialing(hedge_share=0.2, hedge_floor=0.0)
    memory.apply(replace(table(service), dialing=budget), 0.0, 0.0)
    warm(service, memory)
    raced = exhausted = 0
    for _ in range(1000):
        memory.budget("web").earn(10.0)
        dial, first = late(service, memory, 10.0)
        raced += dial.race(first, 10.0) is not None
        exhausted += dial.exhausted
    assert raced == pytest.approx(200, abs=2)
    assert raced + exhausted == 1000
    # A retry needs no leave, but is paid for.
    for _ in range(5):
        memory.budget("web").earn(10.0)
    dial, first = late(service, memory, 10.0)
    dial.failed(first, Failure.REFUSED, 10.0)
    second = dial.next(10.0)
    assert second is not None
    assert dial.race(second, 10.0) is None
    assert dial.exhausted


def test_a_region_in_which_all_are_late_is_shunned_until_it_answers() -> None:
    service = make(2, 1)
    memory = told(service)
    warm(service, memory)
    told_of = []
    pending = []
    for number in range(3):
        dial, attempt = late(service, memory, 10.0 + number / 100)
        pending.append((dial, attempt))
        told_of.append(dial.late(attempt, 10.0 + number / 100))
    assert told_of == [False, False, True]
    assert [one.silent for one in memory.ejections(10.1)] == [True]
    assert connect(service, memory, 10.1).region == "b"
    dial, attempt = pending[0]
    dial.connected(attempt, 10.2)
    assert connect(service, memory, 10.3).region == "a"


def test_a_worker_that_is_late_again_and_again_is_set_aside_alone() -> None:
    service = make(2, 1)
    memory = told(service)
    warm(service, memory)
    near = memory.pools("web")[0]
    for now in (10.0, 11.0, 12.0):
        memory.connected(near, 1, now, now + 0.01)
        memory.late(near, 0, now, now + 0.05)
    assert {connect(service, memory, 12.1).target.worker for _ in range(8)} == {"a1"}
