from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering.timers import GRANULARITY, Timed, Timers

INFINITY = float("inf")

keys = st.integers(0, 5)
operations = st.lists(
    st.tuples(st.just("set"), keys, st.floats(0, 20), st.sampled_from((0.0, 0.5)))
    | st.tuples(st.just("cancel"), keys)
    | st.tuples(st.just("wait"), st.floats(0, 5)),
    max_size=60,
)


@given(operations)
def test_never_early_and_late_within_bounds(steps: list[tuple[object, ...]]) -> None:
    timers, model, now = Timers(), dict[Timed, tuple[float, float]](), 100.0
    those = [Timed() for _ in range(6)]
    for step in steps:
        match step:
            case ("set", int(key), float(after), float(slack)):
                timers.set(those[key], now + after, slack)
                model[those[key]] = (now + after, slack)
            case ("cancel", int(key)):
                timers.cancel(those[key])
                model.pop(those[key], None)
            case ("wait", float(time)):
                due = timers.next_due()
                assert not model or due < INFINITY
                now += time
                for one in timers.expired(now):
                    assert model.pop(one)[0] <= now + 1e-6
                for at, slack in model.values():
                    assert at + slack + GRANULARITY >= now - 1e-6
    assert set(timers.expired(now + 100)) == set(model)
    assert timers.next_due() == INFINITY
