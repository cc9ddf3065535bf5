"""What `./run bench relay` makes its figures with: the load on a schedule, and the ratios."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.bench import relay, syscalls
from tests.bench.openloop import Failed, Generator, quantiles
from tests.bench.relay import Case

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"


@contextmanager
def server(answer: Callable[[int], bytes]) -> Iterator[tuple[str, int]]:
    """Answers each request, of all connections, with what `answer` gives for its number."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    count = iter(range(1 << 20))

    def serve(connection: socket.socket) -> None:
        with connection:
            while request := connection.recv(65536):
                connection.sendall(answer(next(count)))
                if b"close" in request:
                    return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_each_request_of_the_schedule_is_counted_once() -> None:
    with server(lambda _: HEAD + b"ok\n") as address:
        generator = Generator(address, b"ok\n")
        generator.open(4)
        generator.run(rate=200, seconds=0.5, new_every=4)
    assert len(generator.requests) == 75
    assert len(generator.connections) == 25
    assert len(generator.late) == 100


def test_latency_counts_from_when_a_request_was_due() -> None:
    """A server that stands still delays all that was due meanwhile, each by what was left."""

    def answer(number: int) -> bytes:
        if number == 20:
            stopped.acquire()
            threading.Timer(0.3, stopped.release).start()
        with stopped:
            return HEAD + b"ok\n"

    stopped = threading.Lock()
    with server(answer) as address:
        generator = Generator(address, b"ok\n")
        generator.open(2)
        generator.run(rate=200, seconds=0.5, new_every=0)
    assert generator.extra > 10  # others are sent while those that stand wait
    slow = sorted(one for one in generator.requests if one > 0.05)
    assert len(slow) > 20
    assert slow[-1] > 0.25
    assert slow[len(slow) // 2] < slow[-1] - 0.05


@pytest.mark.parametrize(
    "wrong", [HEAD + b"no\n", b"HTTP/1.1 502 Bad\r\n\r\nok\n", HEAD + b"ok\nmore"]
)
def test_a_wrong_answer_is_no_figure(wrong: bytes) -> None:
    with server(lambda number: wrong if number == 7 else HEAD + b"ok\n") as address:
        generator = Generator(address, b"ok\n")
        generator.open(2)
        with pytest.raises(Failed, match="a wrong answer"):
            generator.run(rate=200, seconds=0.2, new_every=0)


def test_a_connection_that_ends_early_is_no_figure() -> None:
    with server(lambda number: b"" if number == 7 else HEAD + b"ok\n") as address:
        generator = Generator(address, b"ok\n")
        generator.open(2)
        with pytest.raises(Failed, match="before its answer was whole"):
            generator.run(rate=200, seconds=0.2, new_every=1)


def test_quantiles_are_microseconds() -> None:
    found = quantiles([number / 1e6 for number in range(1, 101)])
    assert found["count"] == 100
    assert found["p50"] == pytest.approx(50, abs=1)
    assert found["p99"] == pytest.approx(99, abs=1)
    assert found["max"] == 100


def test_a_ratio_is_of_haproxys_best_to_ours() -> None:
    case = Case("p99", "µs", "p99", (), lambda _: {})
    rounds = {
        "edgenode": [{"p50": 10.0, "p99": 100.0}, {"p50": 10.0, "p99": 300.0}] * 2,
        "haproxy": [{"p50": 30.0, "p99": 900.0}],
        "haproxy-bulk": [{"p50": 40.0, "p99": 400.0}],
        "nginx": [{"p50": 1.0, "p99": 1.0}],
    }
    found = relay.compared({"p99": rounds}, [case])
    assert found["ratios"] == {"p99": 2.0, "p50": 3.0}
    assert found["medians"]["p99"]["edgenode"]["p99"] == 200.0


def test_the_table_of_strace_is_read() -> None:
    text = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.006000           6      1000        10 recvfrom
 40.00    0.004000           4       500           epoll_wait
------ ----------- ----------- --------- --------- ----------------
100.00    0.010000           6      1500        10 total
"""
    assert syscalls.parsed(text) == {"recvfrom": 1000, "epoll_wait": 500}
