from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering.histogram import BOUNDS, Histogram, cumulative, quantile
from edgenode.steering.report import add

times = st.lists(st.floats(0.0, 4.9), min_size=1, max_size=50)


def of(seconds: list[float]) -> Histogram:
    made = Histogram()
    for each in seconds:
        made.add(each)
    return made


@given(times, times)
def test_two_together_are_one_of_both(one: list[float], other: list[float]) -> None:
    together = add(of(one).to_json(), of(other).to_json())
    assert together["buckets"] == of(one + other).to_json()["buckets"]
    assert abs(together["us"] - 1e6 * sum(one + other)) <= 2


@given(times, st.sampled_from((0.5, 0.99)))
def test_a_quantile_is_in_the_bucket_of_the_true_one(seconds: list[float], share: float) -> None:
    found = quantile(of(seconds).to_json()["buckets"], share)
    ordered = sorted(seconds)
    true = next(t for at, t in enumerate(ordered, 1) if at >= share * len(ordered))
    bounds = (0.0, *BOUNDS)
    bucket = next(at for at, upper in enumerate(BOUNDS) if true <= upper)
    assert found is not None
    assert bounds[bucket] <= found <= bounds[bucket + 1]


def test_what_is_beyond_the_last_bound_counts() -> None:
    made = of([0.01, 60.0])
    assert made.to_json() == {"us": 60_010_000, "buckets": {"0.01": 1, "inf": 1}}
    assert cumulative(made.to_json()["buckets"])[-2:] == [("5", 1), ("inf", 2)]
    assert quantile(made.to_json()["buckets"], 0.99) == 5.0


def test_of_nothing_there_is_no_quantile() -> None:
    assert quantile({}, 0.5) is None
