"""The texts of the configuration that exec-runner has read, kept over its restarts.

Control goes on with an older text where the file is damaged, or was undone (`control.texts`), and
exec-runner has to know the commands that it means. It believes no other process what to run: what
it keeps is what it has read of the file itself, and no other user can write there.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from pathlib import Path

from edgenode import durable

log = logging.getLogger(__name__)

MOST = 8
"""Texts that are kept: the newest."""


class Kept:
    """A directory of files, numbered in the order in which they were read last."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()

    def texts(self) -> list[str]:
        """The newest last; what cannot be read is not there."""
        found = []
        for path in self._files():
            with contextlib.suppress(OSError, UnicodeDecodeError):
                found.append(path.read_bytes().decode())
        return found

    def keep(self, text: str) -> None:
        """Remember that this one was read, last of all. A disk that does not take it is no harm
        before the next start."""
        with self._lock:
            try:
                self._keep(text)
            except OSError as error:
                log.warning(
                    "the configuration could not be kept in %s (%s): should its file be damaged, "
                    "exec-runner does not start",
                    self._directory,
                    error.strerror or error,
                )

    def _keep(self, text: str) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = self._files()
        known = [path for path in files if _holds(path, text)]
        if known and known[-1] == files[-1]:
            return
        number = int(files[-1].stem) + 1 if files else 1
        fresh = self._directory / f"{number:09d}.toml"
        durable.replace(fresh, text, 0o600)
        left = [path for path in files if path not in known]
        for path in known + left[: -(MOST - 1)]:
            path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        try:
            return sorted(p for p in self._directory.glob("*.toml") if p.stem.isdecimal())
        except OSError:
            return []


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False
