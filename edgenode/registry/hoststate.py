"""What a worker's host remembers: who it is, and whether it is draining."""

from __future__ import annotations

import fcntl
import os
import re
import uuid
from pathlib import Path

from edgenode import durable, regularfile

_IDENTITY = re.compile(r"[A-Za-z0-9+/=_.:-]{8,64}")


class HostStateError(Exception):
    """A file cannot be used; the text says which, and what to do."""


class HostState:
    """In a directory of its own. Methods raise HostStateError."""

    def __init__(self, directory: Path) -> None:
        self._identity = directory / "identity"
        self._draining = directory / "draining"
        self._lock = directory / "lock"

    def identity(self) -> str:
        """Made when there is none: random, so that no two machines have the same.

        Not /etc/machine-id: machines that are copies of one image may share that.
        """
        try:
            text = regularfile.read(self._identity, 256).decode("ascii").strip()
        except FileNotFoundError:
            text = str(uuid.uuid4())
            self._replace(self._identity, text + "\n")
        except OSError as error:
            raise HostStateError(f"{self._identity} cannot be read: {_why(error)}") from None
        except UnicodeDecodeError:
            text = ""
        if not _IDENTITY.fullmatch(text):
            raise HostStateError(
                f"{self._identity} holds no identity (8 to 64 letters, digits and +/=_.:-): "
                "remove it, and a new one is made"
            )
        return text

    @property
    def draining(self) -> bool:
        """Whether an operator wants it to take no new connections."""
        return self._draining.exists()

    def drain(self, wanted: bool) -> None:
        """Remember it, over restarts."""
        if wanted:
            self._replace(self._draining, "")
            return
        try:
            self._draining.unlink(missing_ok=True)
        except OSError as error:
            raise HostStateError(f"{self._draining} cannot be removed: {_why(error)}") from None

    def hold(self) -> int | None:
        """A descriptor to be kept by the one `join` of this host; None: another one runs."""
        try:
            self._lock.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            lock = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HostStateError(f"{self._lock} cannot be opened: {_why(error)}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    def _replace(self, path: Path, text: str) -> None:
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            durable.replace(path, text, 0o644)
        except OSError as error:
            raise HostStateError(f"{path} cannot be written: {_why(error)}") from None


def _why(error: OSError) -> str:
    denied = isinstance(error, PermissionError)
    return f"{error.strerror or error}{': are you root?' if denied else ''}"
