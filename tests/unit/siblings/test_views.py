"""What siblings said, for how long it counts, and when it was seen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgenode.regions.evidence import Statement
from edgenode.siblings.views import LATE, TWINS, Views
from tests.unit.siblings.told import message, service

STALE = 4.0


def heard(*said: tuple[float, object]) -> Views:
    views = Views(["nyc1", "sin1"], ["web"], STALE)
    for now, each in said:
        views.hear("nyc1", each, now)  # type: ignore[arg-type]
    return views


def test_what_was_said_counts_for_as_long_as_it_is_fresh() -> None:
    views = heard((500.0, message()))
    assert views.statements("web", 504.0) == (Statement("nyc1", True, 499.5),)
    assert [view.sibling for view in views.fresh(504.0)] == ["nyc1"]
    assert views.statements("web", 504.1) == ()
    assert views.fresh(504.1) == ()


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_the_senders_clock_does_not_tell_whether_it_is_fresh(at: float, arrived: float) -> None:
    views = heard((arrived, message(at=at)))
    assert views.statements("web", arrived + STALE - 0.01)
    assert not views.statements("web", arrived + STALE + 0.01)


def test_a_message_that_waited_somewhere_tells_of_what_was_before() -> None:
    first = [(500.0 + n, message(n, at=100.0 + n)) for n in range(3)]
    late = message(3, at=103.0, services=[service(silent=0.5)])
    (told,) = heard(*first, (509.0, late)).statements("web", 509.0)
    assert told.answered == 502.5


def test_a_service_with_no_worker_that_answers_was_not_answered() -> None:
    for reachable in (False, None):
        said = message(services=[service(reachable, 0.5)])
        assert heard((1.0, said)).statements("web", 1.0) == (Statement("nyc1", reachable, None),)


def test_older_messages_and_others_services_are_passed_over() -> None:
    views = heard((1.0, message(5)), (1.1, message(4, services=[service(False)])))
    assert views.statements("web", 1.2)[0].reachable is True
    other = message(services=[service() | {"name": "mail"}])
    assert heard((1.0, other)).statements("mail", 1.0) == ()


def test_siblings_that_are_silent_may_steer_a_service_and_others_say() -> None:
    assert heard().voters("web", 1.0) == 2
    assert heard((1.0, message())).voters("web", 1.0) == 2
    assert heard((1.0, message(services=[]))).voters("web", 1.0) == 1


def test_it_is_news_when_a_service_goes_or_comes() -> None:
    views = heard()
    news = [
        views.hear("nyc1", message(n, services=[service(reachable)]), float(n))
        for n, reachable in enumerate([True, True, False, False, True])
    ]
    assert news == [True, False, True, False, True]


def test_a_restarted_sibling_is_the_same_one() -> None:
    again = message(1, boot="2" * 16, services=[service(False)])
    straggler = message(9 + LATE)
    views = heard((1.0, message(9)), (2.0, again), (2.1, straggler))
    assert views.statements("web", 2.2)[0].reachable is False
    assert not any(view.twins(2.2) for view in views)


def test_two_nodes_that_take_turns_at_being_one_count_as_none() -> None:
    one = [(float(n), message(n)) for n in range(1, 20, 2)]
    other = [(float(n), message(n, boot="2" * 16)) for n in range(2, 20, 2)]
    views = heard(*sorted([*one, *other], key=lambda said: said[0]))
    assert [view.sibling for view in views if view.twins(20.0)] == ["nyc1"]
    assert views.statements("web", 20.0) == ()
    assert views.voters("web", 20.0) == 2
    assert not any(view.twins(20.0 + TWINS) for view in views)


def test_what_was_heard_outlasts_another_configuration() -> None:
    before = heard((1.0, message()))
    after = Views(["nyc1", "fra1"], ["web"], STALE, before)
    assert after.statements("web", 2.0) == (Statement("nyc1", True, 0.5),)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50), st.booleans()), max_size=60))
def test_whatever_a_sibling_says_little_is_kept(said: list[tuple[int, int, bool]]) -> None:
    views = heard()
    for now, (boot, number, reachable) in enumerate(said):
        services = [service(reachable) | {"name": f"s{number}"}, service(reachable)]
        told = message(number, boot=f"{boot:016x}", services=services)
        views.hear("nyc1", told, float(now))
    (view, _) = views
    assert set(view.said(0.0)) <= {"web"}
    assert len(view._boots) <= 4
