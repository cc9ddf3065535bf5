"""The access log's ways out: pipes that others write to, full pipes, files, disks that hang."""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgenode.steering import logsink
from edgenode.steering.accesslog import AccessLog
from edgenode.steering.logsink import FileSink, PipeSink, open_sink
from tests.unit.steering.running import PATIENCE, eventually

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A small one that does not wait."""
    read, write = os.pipe2(os.O_NONBLOCK)
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4 * select.PIPE_BUF)
    yield read, write
    os.close(read)


def drain(fd: int) -> bytes:
    data = b""
    try:
        while piece := os.read(fd, 1 << 16):
            data += piece
    except BlockingIOError:
        pass
    return data


def line(number: int) -> bytes:
    return json.dumps({"n": number, "pad": "x" * (number * 37 % 1000)}).encode() + b"\n"


def test_lines_stay_whole_in_a_pipe_that_is_shared(pipe: Pipe) -> None:
    """Each time the reader makes room, another writer may be the first to use it."""
    read, write = pipe
    sinks = [PipeSink(write, None), PipeSink(os.dup(write), None)]
    expected = []
    for at in range(0, 400, 20):
        lines = [line(number) for number in range(at, at + 20)]
        expected += lines
        sinks[at // 20 % 2].write(lines)
    data = b""
    while any(sink.waiting for sink in sinks):
        data += os.read(read, 1000)
        for sink in sinks:
            sink.flush()
    data += drain(read)
    assert sorted(data.splitlines(keepends=True)) == sorted(expected)
    for sink in sinks:
        assert sink.dropped == 0
        sink.close()


def test_no_write_to_a_pipe_is_larger_than_it_takes_at_once(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, fd = pipe
    sizes: list[int] = []
    write = os.write

    def noted(fd: int, data: bytes) -> int:
        sizes.append(len(data))
        return write(fd, data)

    monkeypatch.setattr(os, "write", noted)
    sink = PipeSink(fd, None)
    sink.write([line(number) for number in range(20)])
    assert max(sizes) <= select.PIPE_BUF
    assert len(sizes) < 20  # but many lines share one
    sink.write([b"x" * select.PIPE_BUF + b"\n"])  # it could be cut
    assert sink.dropped == 1
    sink.close()


def test_a_pipe_that_nobody_reads(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = pipe
    monkeypatch.setattr(logsink, "LIMIT", 10_000)
    sink = PipeSink(write, None)
    for _ in range(100):
        sink.write([b"x" * 999 + b"\n"])
    arrived = 0
    while sink.waiting:
        arrived += drain(read).count(b"\n")
        sink.flush()
    arrived += drain(read).count(b"\n")
    assert sink.dropped > 0
    assert arrived + sink.dropped == 100
    sink.close()


def test_a_reader_that_is_gone() -> None:
    read, write = os.pipe()
    os.close(read)
    sink = PipeSink(write, None)
    sink.write([b"one\n", b"two\n"])
    assert (sink.dropped, sink.waiting) == (2, False)
    sink.close()


def test_a_socket_as_standard_error() -> None:
    ours, theirs = socket.socketpair()
    sink = PipeSink(theirs.detach(), None)
    sink.write([line(number) for number in range(20)])
    assert ours.recv(1 << 20).count(b"\n") > 0
    sink.close()
    ours.close()


def test_a_disk_that_hangs_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, write = threading.Event(), os.write

    def slow(fd: int, data: bytes) -> int:
        assert go.wait(PATIENCE)
        return write(fd, data)

    monkeypatch.setattr(os, "write", slow)
    monkeypatch.setattr(logsink, "LIMIT", 5_000)
    log = AccessLog(tmp_path / "log")
    for number in range(1000):
        log.add(b'{"n":%d}\n' % number)
        log.flush()
    assert log.dropped > 0
    go.set()
    dropped = log.dropped
    log.close()
    assert len((tmp_path / "log").read_text().splitlines()) + dropped == 1000


def test_a_full_disk_is_counted() -> None:
    sink = open_sink(Path("/dev/full"))
    sink.write([b"one\n"])
    sink.close()
    assert sink.dropped == 1
    file = FileSink(os.open("/dev/full", os.O_WRONLY), None)
    file.write([b"one\n", b"two\n"])
    file.close()
    assert file.dropped == 2


def test_it_goes_on_in_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = AccessLog(path)
    log.add(b'{"n":1}\n')
    log.flush()
    old = path.rename(tmp_path / "old")
    log.reopen()
    eventually(path.exists)
    log.add(b'{"n":2}\n')
    log.close()
    assert (old.read_text(), path.read_text()) == ('{"n":1}\n', '{"n":2}\n')


def test_the_old_file_is_better_than_none(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    log = AccessLog(directory / "log")
    moved = directory.rename(tmp_path / "moved")
    log.reopen()
    log.add(b'{"n":1}\n')
    log.close()
    assert (moved / "log").read_text() == '{"n":1}\n'
