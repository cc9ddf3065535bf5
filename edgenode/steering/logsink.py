"""Where the lines of the access log go: never waiting, never a part of a line."""

from __future__ import annotations

import os
import select
import socket
import stat
import threading
from collections import deque
from pathlib import Path
from typing import Protocol

from edgenode.steering import descriptors

LIMIT = 1 << 20
"""Bytes kept for a reader or a disk that is slow; lines beyond are dropped and counted."""

_PATIENCE = 1.0  # seconds that a slow disk gets at the end


class Sink(Protocol):
    """Takes whole lines, each with its newline."""

    dropped: int
    """Lines that were lost."""

    @property
    def waiting(self) -> bool:
        """Whether `flush` is to be called again."""

    def write(self, lines: list[bytes]) -> None: ...

    def flush(self) -> None: ...

    def reopen(self) -> None:
        """Open the path anew: another program has moved the file away."""

    def close(self) -> None: ...


def open_sink(path: Path | None) -> Sink:
    """Open a file, or standard error if `path` is None. Raises OSError."""
    if path is not None:
        fd = _open(path)
        return FileSink(fd, path) if _is_file(fd) else PipeSink(fd, path)
    # Others share standard error: they would not expect it to become non-blocking. Opening it
    # anew gives a description of our own; a socket (systemd's journal) cannot be opened anew,
    # but takes MSG_DONTWAIT.
    try:
        fd = os.open("/proc/self/fd/2", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        fd = os.dup(2)
    return FileSink(fd, None) if _is_file(fd) else PipeSink(fd, None)


class PipeSink:
    """A pipe, a terminal or a socket, which other processes write to as well.

    A write of up to PIPE_BUF bytes is taken as a whole or not at all, see pipe(7); so is one to a
    Unix socket, which makes one buffer of it.
    """

    def __init__(self, fd: int, path: Path | None) -> None:
        self.dropped = 0
        self._fd = fd
        self._path = path
        self._socket = socket.socket(fileno=os.dup(fd)) if _is_socket(fd) else None
        self._unsent: deque[bytes] = deque()
        self._size = 0

    @property
    def waiting(self) -> bool:
        return bool(self._unsent)

    def write(self, lines: list[bytes]) -> None:
        for line in lines:
            if len(line) > select.PIPE_BUF or self._size + len(line) > LIMIT:
                self.dropped += 1
            else:
                self._unsent.append(line)
                self._size += len(line)
        self.flush()

    def flush(self) -> None:
        while self._unsent:
            count, size = 0, 0
            for line in self._unsent:
                if size + len(line) > select.PIPE_BUF:
                    break
                count, size = count + 1, size + len(line)
            piece = b"".join(self._unsent[index] for index in range(count))
            try:
                self._write(piece)
            except BlockingIOError:
                return
            except OSError:  # the reader is gone: serving goes on without a log
                self.dropped += len(self._unsent)
                self._unsent.clear()
                self._size = 0
                return
            for _ in range(count):
                self._unsent.popleft()
            self._size -= size

    def reopen(self) -> None:
        _open_anew(self._fd, self._path)

    def close(self) -> None:
        self.flush()
        os.close(self._fd)
        if self._socket is not None:
            self._socket.close()

    def _write(self, piece: bytes) -> None:
        if self._socket is not None:
            self._socket.send(piece, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        else:
            os.write(self._fd, piece)


class FileSink:
    """A regular file. Writing to one may wait for a disk that hangs: a thread does it."""

    def __init__(self, fd: int, path: Path | None) -> None:
        self.dropped = 0
        self._fd = fd
        self._path = path
        self._changed = threading.Condition()
        self._lines: list[bytes] = []
        self._size = 0
        self._reopen = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> bool:
        return False

    def write(self, lines: list[bytes]) -> None:
        with self._changed:
            for line in lines:
                if self._size + len(line) > LIMIT:
                    self.dropped += 1
                else:
                    self._lines.append(line)
                    self._size += len(line)
            self._changed.notify()

    def flush(self) -> None:
        """Nothing to do: the thread writes as soon as it can."""

    def reopen(self) -> None:
        with self._changed:
            self._reopen = True
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._reopen or self._closed)
                if not self._lines and not self._reopen:
                    break
                lines, self._lines = self._lines, []
                reopen, self._reopen = self._reopen, False
            self._append(b"".join(lines), len(lines))
            if reopen:
                _open_anew(self._fd, self._path)
        os.close(self._fd)

    def _append(self, data: bytes, lines: int) -> None:
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError:  # the disk is full: serving goes on without a log
            with self._changed:
                self.dropped += lines - data.count(b"\n", 0, written)
        with self._changed:
            self._size -= len(data)


def _open(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
    with descriptors.reserve():
        return os.open(path, flags, 0o640)


def _open_anew(fd: int, path: Path | None) -> None:
    """Let the descriptor be of what is at the path now; the old file is better than none."""
    if path is None:
        return
    try:
        new = _open(path)
    except OSError:
        return
    os.dup2(new, fd, inheritable=False)
    os.close(new)


def _is_file(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode)


def _is_socket(fd: int) -> bool:
    return stat.S_ISSOCK(os.fstat(fd).st_mode)
