"""What users' results come to."""

from __future__ import annotations

from edgenode.lab.users import Request, endpoint, next_success


def request(started: float, finished: float, ok: bool) -> Request:
    return Request(started, None, finished, ok, None if ok else "reset", None)


def test_the_outage_ends_with_the_first_success_of_a_request_begun_after() -> None:
    results = [
        request(0.90, 1.05, True),  # begun before
        request(1.01, 1.02, False),
        request(1.03, 1.50, True),
        request(1.04, 1.20, True),
    ]
    found = next_success(results, 1.0)
    assert found is results[3]
    assert next_success(results, 2.0) is None


def test_figures() -> None:
    answered = Request(1.0, 1.25, 1.5, True, None, {})
    assert (answered.connect_ms, answered.total_ms) == (250.0, 500.0)
    assert request(1.0, 2.0, False).connect_ms is None


def test_endpoints() -> None:
    assert endpoint("192.0.2.1", 80) == "192.0.2.1:80"
    assert endpoint("2001:db8::1", 80) == "[2001:db8::1]:80"
