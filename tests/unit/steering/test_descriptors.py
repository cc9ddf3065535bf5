from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering.descriptors import most_addresses, most_connections


@given(st.integers(1024, 1 << 20), st.integers(1, 64))
def test_all_fits_while_one_table_replaces_another(limit: int, workers: int) -> None:
    addresses, connections = most_addresses(limit, workers), most_connections(limit)
    # The supervisor: a listener for each relay worker, and its copy on the way there.
    assert 2 * addresses * workers * 2 + 256 <= limit or addresses == 0
    # A relay worker: its share of them, and two sides a connection.
    assert 2 * addresses + 2 * connections + 128 <= limit


def test_usual_limits() -> None:
    assert most_addresses(1024, 2) == 64
    assert most_connections(1024) == 320
    assert most_addresses(524_288, 8) > 10_000
    assert most_connections(524_288) > 200_000
