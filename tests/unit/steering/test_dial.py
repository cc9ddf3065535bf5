from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering.dial import Attempt, Dial, Failure, Limits, Memory, TargetKey
from edgenode.steering.table import Bind, RegionTargets, Service, Table, Target

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


def connect(service: Service, memory: Memory, now: float, took: float = 0.01) -> Attempt:
    """A connection that succeeds at once."""
    dial = Dial(service, memory, now)
    attempt = dial.next(now, {})
    assert attempt is not None
    dial.connected(now + took)
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
    memory, now = Memory(), 50.0
    if known and any(region.workers for region in service.regions):
        warm(service, memory, now - 1)
    dial = Dial(service, memory, now)
    start = now
    all_targets = {(r.region, t.worker) for r in service.regions for t in r.workers}
    tried: list[TargetKey] = []
    silent: set[str] = set()
    last: Failure | None = None
    for outcome in outcomes:
        attempt = dial.next(now, {})
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
        dial.failed(outcome, now)
        last = outcome
    else:
        raise AssertionError("the attempts are not bounded")
    # It gives up only when all was tried, or at its bounds.
    bounded = len(tried) >= LIMITS.attempts or now >= start + LIMITS.deadline
    assert bounded or set(tried) == all_targets


def test_refused_workers_then_the_next_region() -> None:
    dial, tried = Dial(make(5, 1), Memory(), 0.0), []
    while (attempt := dial.next(0.0, {})) is not None:
        tried.append(attempt.region)
        dial.failed(Failure.REFUSED, 0.0)
    assert tried == ["a", "a", "a", "b", "a", "a"]


def test_the_first_connection_after_a_cut_waits_once_and_briefly() -> None:
    service, memory = make(4, 2), Memory()
    warm(service, memory, took=0.01)
    dial = Dial(service, memory, 10.0)
    first = dial.next(10.0, {})
    assert first is not None
    assert first.region == "a"
    assert first.timeout == pytest.approx(LIMITS.patience_floor)
    dial.failed(Failure.TIMEOUT, 10.1)
    second = dial.next(10.1, {})
    assert second is not None
    assert second.region == "b"


def test_patience_follows_the_usual_connect_time() -> None:
    service, memory = make(1, 1, timeout=2.0), Memory()
    warm(service, memory, took=0.2)
    attempt = Dial(service, memory, 1.0).next(1.0, {})
    assert attempt is not None
    assert attempt.timeout == pytest.approx(0.2 * 3 + 0.05)


def cut(service: Service, memory: Memory, now: float) -> None:
    """One connection finds the first region silent and the second one good."""
    dial = Dial(service, memory, now)
    first = dial.next(now, {})
    assert first is not None
    dial.failed(Failure.TIMEOUT, now + 0.1)
    second = dial.next(now + 0.1, {})
    assert second is not None
    assert second.region != first.region
    dial.connected(now + 0.11)


def test_a_silent_region_is_shunned_then_tried_by_one() -> None:
    service, memory = make(2, 1), Memory()
    warm(service, memory)
    cut(service, memory, 10.0)
    assert connect(service, memory, 10.2).region == "b"
    later = 10.1 + LIMITS.shun
    trial = Dial(service, memory, later)
    attempt = trial.next(later, {})
    assert attempt is not None
    assert attempt.region == "a"
    # While one tries, the others go on shunning it.
    assert connect(service, memory, later + 0.05).region == "b"
    trial.connected(later + 0.06)
    assert connect(service, memory, later + 0.07).region == "a"


def test_a_new_table_lets_one_try_at_once() -> None:
    service, memory = make(1, 1), Memory()
    cut(service, memory, 10.0)
    memory.forgive(table(service), 10.2)
    assert connect(service, memory, 10.3).region == "a"


def test_a_silent_worker_does_not_blame_a_region_that_answers() -> None:
    service, memory = make(2, 1), Memory()
    warm(service, memory)
    dial = Dial(service, memory, 10.0)
    hung = dial.next(10.0, {})
    assert hung is not None
    connect(service, memory, 10.01)
    dial.failed(Failure.TIMEOUT, 10.1)
    # The region goes on, but without the worker.
    following = [connect(service, memory, 10.2 + i / 10) for i in range(4)]
    assert {attempt.region for attempt in following} == {"a"}
    assert hung.key not in {attempt.key for attempt in following}


def test_a_refused_worker_is_passed_over_for_a_while() -> None:
    service, memory = make(2, 1), Memory()
    dial = Dial(service, memory, 0.0)
    down = dial.next(0.0, {})
    assert down is not None
    dial.failed(Failure.REFUSED, 0.0)
    assert all(connect(service, memory, 0.1 * i).key != down.key for i in range(1, 9))


def test_a_path_that_has_become_slow_is_found_again() -> None:
    """All regions answer, but slower than before: patience grows until they are heard."""
    service, memory = make(1, 1, timeout=1.0), Memory()
    warm(service, memory)
    now, delay = 10.0, 0.6
    dial = Dial(service, memory, now)
    for _ in range(10):
        attempt = dial.next(now, {})
        if attempt is None:
            dial = Dial(service, memory, now)
            continue
        if attempt.timeout > delay:
            dial.connected(now + delay)
            return
        now += attempt.timeout
        dial.failed(Failure.TIMEOUT, now)
    raise AssertionError("a slow path was taken for a dead one for ever")


def test_a_near_region_that_has_become_slow_is_taken_back() -> None:
    """Others answer at once, so that the short patience is never given up for want of them."""
    service, memory, delay = make(1, 1, timeout=1.0), Memory(), 0.6
    warm(service, memory)
    now = 10.0
    for _ in range(5):
        dial = Dial(service, memory, now)
        attempt = dial.next(now, {})
        assert attempt is not None
        assert attempt.region == "a"
        if attempt.timeout > delay:
            return
        dial.failed(Failure.TIMEOUT, now + attempt.timeout)
        now += LIMITS.shun + 1.0
    raise AssertionError("the near region was never given the time that it needs")


def test_fewest_live_first_and_in_turn_among_equals() -> None:
    service, memory = make(3), Memory()
    attempt = Dial(service, memory, 0.0).next(0.0, {("a", "a0"): 2, ("a", "a1"): 1, ("a", "a2"): 2})
    assert attempt is not None
    assert attempt.target.worker == "a1"
    counts = {"a0": 0, "a1": 0, "a2": 0}
    for _ in range(30):
        counts[connect(service, memory, 0.0).target.worker] += 1
    assert set(counts.values()) == {10}


def test_the_turns_of_services_do_not_mix() -> None:
    one, two, memory = make(2), make(2, name="mail"), Memory()
    seen = set()
    for _ in range(4):
        seen.add(connect(one, memory, 0.0).target.worker)
        connect(two, memory, 0.0)
    assert seen == {"a0", "a1"}


def test_no_attempt_under_way() -> None:
    dial = Dial(make(1), Memory(), 0.0)
    with pytest.raises(RuntimeError):
        dial.failed(Failure.TIMEOUT, 1.0)
