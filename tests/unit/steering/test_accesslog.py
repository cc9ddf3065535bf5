"""What the access log says of connections, and of which ones it says anything."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering.accesslog import describe
from edgenode.steering.connection import Connection, Route
from edgenode.steering.counters import ServiceCount
from edgenode.steering.table import Bind, Logging, Service, Target
from edgenode.steering.why import Why
from tests.unit.steering.running import RunningRelay, Worker, echo, eventually, reset

SERVED, REFUSED = "web", "mail"


@pytest.fixture
def worker() -> Worker:
    return Worker(echo)


def serve(relay: RunningRelay, worker: Worker, logging: Logging) -> None:
    """One service that works, and one whose only worker refuses."""
    relay.listen(SERVED)
    relay.listen(REFUSED)
    nobody = Target("iad-1", "127.0.0.1", 1)
    relay.apply(
        relay.service(("fra", [worker.target("fra-1")]), name=SERVED),
        relay.service(("iad", [nobody]), name=REFUSED),
        logging=logging,
    )


def written(relay: RunningRelay) -> list[dict[str, Any]]:
    return [json.loads(line) for line in relay.log_file.read_text().splitlines()]


def ask(relay: RunningRelay) -> None:
    with relay.connect(SERVED) as user:
        user.sendall(b"12345")
        assert user.recv(5, socket.MSG_WAITALL) == b"12345"


def fail(relay: RunningRelay) -> None:
    with pytest.raises(ConnectionResetError), relay.connect(REFUSED) as user:
        user.recv(1)


def test_a_share_of_the_ordinary_and_all_that_fail(relay: RunningRelay, worker: Worker) -> None:
    serve(relay, worker, Logging(sample=0.25))
    for _ in range(8):
        ask(relay)
    for _ in range(3):
        fail(relay)
    eventually(lambda: relay.idle())
    lines = relay.log(5)
    assert sorted(line["why"] for line in lines) == ["closed"] * 2 + ["no-target"] * 3
    assert relay.report()["figures"][SERVED]["endings"] == {"closed": 8}, "all are counted"


def test_a_line_says_who_was_tried_and_how_it_failed(relay: RunningRelay, worker: Worker) -> None:
    serve(relay, worker, Logging())
    fail(relay)
    (line,) = relay.log(1)
    assert line["errors"] == ["iad/iad-1 ECONNREFUSED"]
    assert (line["region"], line["worker"], line["connect_ms"]) == (None, None, None)
    region = relay.report()["figures"][REFUSED]["regions"]["iad"]
    assert region["reasons"] == {"refused": 1}


def test_one_that_lasts_has_lines_while_it_lives(relay: RunningRelay, worker: Worker) -> None:
    serve(relay, worker, Logging(long_after=0.05))
    with relay.connect(SERVED) as user:
        user.sendall(b"12345")
        assert user.recv(5, socket.MSG_WAITALL) == b"12345"
        while len(lines := written(relay)) < 2:
            relay.call(relay.relay.log_long)
            time.sleep(0.01)
        line = lines[0]
        assert (line["event"], line["why"]) == ("live", None)
        assert (line["up"], line["down"], line["worker"]) == (5, 5, "fra-1")
        assert line["duration_ms"] >= 50
        assert line["retransmits"] >= 0
    end = eventually(lambda: [line for line in written(relay) if "event" not in line])
    assert [line["why"] for line in end] == ["closed"]


def test_the_kernel_tells_of_the_way_to_the_user(relay: RunningRelay, worker: Worker) -> None:
    """It is asked of each session that ends badly, and not of each that is as it should be."""
    serve(relay, worker, Logging())
    ask(relay)
    assert "rtt_ms" not in relay.log(1)[0]

    def serve_rudely(connection: socket.socket, header: object) -> None:
        connection.recv(1)  # the user's connect(2) is over, then
        reset(connection)

    rude = Worker(serve_rudely)
    relay.apply(relay.service(("fra", [rude.target("fra-1")]), name=SERVED))
    with relay.connect(SERVED) as user:
        user.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            user.recv(1)
    line = relay.log(2)[1]
    assert line["why"] == "worker-reset"
    assert 0 <= line["rtt_ms"] < 10_000
    assert line["retransmits"] >= 0
    web = relay.report()["figures"][SERVED]
    assert sum(web["rtt"]["buckets"].values()) == 1
    assert web["segments"] > 0


def test_bytes_and_connect_times_are_counted_by_region(relay: RunningRelay, worker: Worker) -> None:
    serve(relay, worker, Logging())
    for _ in range(3):
        ask(relay)
    eventually(relay.idle)
    report = relay.report()
    fra = report["figures"][SERVED]["regions"]["fra"]
    assert (fra["bytes_up"], fra["bytes_down"]) == (15, 15)
    assert sum(fra["connect"]["buckets"].values()) == 3
    web = report["services"][SERVED]
    assert (web["bytes_up"], web["bytes_down"]) == (15, 15)


@given(st.text(), st.text(), st.text(), st.lists(st.text()), st.floats(0, 1e9), st.integers(-1, 9))
def test_whatever_others_have_sent_a_line_is_json(
    host: str, sni: str, alpn: str, errors: list[str], now: float, retransmits: int
) -> None:
    route = Route(Service("web", (), "v2", 1.0, 1.0, ()), ServiceCount(), Bind())
    one = Connection(1, route, (host, 1), ("2001:db8::1", 443), 3, started=now, active=now)
    one.sni, one.alpn, one.unique_id, one.errors = sni, alpn, alpn, tuple(errors)
    one.peer, one.retransmits, one.rtt = (host, 2), retransmits, 1234
    written = describe(one, Why.NO_ROUTE, now + 0.0123, 5.0)
    assert written.count(b"\n") == 1
    line = json.loads(written)
    assert line["at"] == pytest.approx(now + 5.0123, abs=1e-3)
    assert line["client"] == (f"[{host}]:1" if ":" in host else f"{host}:1")
    assert (line["local"], line["why"]) == ("[2001:db8::1]:443", "no-route")
    assert (line.get("sni", ""), line.get("alpn", ""), line["errors"]) == (sni, alpn, errors)
    assert line["duration_ms"] == pytest.approx(12.3, abs=0.11)
    assert (line["region"], line["worker"], line["connect_ms"]) == (None, None, None)
    assert line.get("rtt_ms") == (None if retransmits < 0 else 1.2)
