"""Rules on trial: loaded, and undone by themselves unless they are confirmed in time.

`confirmed.nft` is what a boot loads and an undo restores (edgenode-firewall.service does both,
without Python); `pending.nft` is on trial. The undo is armed *before* anything is loaded:

| killed                          | what is left                                              |
|---------------------------------|-----------------------------------------------------------|
| before the undo is armed        | the old rules                                             |
| after it, or in the load        | the old rules again, when the time is over or at a boot   |
| in `confirm`, before the rename | the same                                                  |
| after the rename                | the new rules: the undo that may still come loads those   |
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

UNDO = "edgenode-firewall-undo"
LOADER = "edgenode-firewall.service"
NFT = "/usr/sbin/nft"


class FirewallError(Exception):
    """What could not be done, why, and what to do."""


@dataclass(frozen=True)
class Status:
    confirmed: str | None
    """The text that a boot loads; None: the baseline."""
    pending: str | None
    """The text on trial."""
    armed: bool
    """An undo is to come."""


class Trial:
    """The files in `directory`, and what is done with them. Needs root."""

    def __init__(self, directory: Path) -> None:
        self._confirmed = directory / "confirmed.nft"
        self._pending = directory / "pending.nft"

    def status(self) -> Status:
        """Raises FirewallError."""
        return Status(_read(self._confirmed), _read(self._pending), _armed())

    def apply(self, text: str, undo_after: float | None) -> bool:
        """Load `text`; unless `undo_after` (seconds) is None it has to be confirmed.

        False: it is the confirmed one already, and loaded. Raises FirewallError.
        """
        status = self.status()
        if status.armed:
            raise FirewallError(
                "rules are on trial: `edgenode firewall confirm` or `undo` comes first"
            )
        if status.confirmed == text and _loaded():
            return False
        if undo_after is not None and not Path("/run/systemd/system").is_dir():
            raise FirewallError("an undo needs systemd, which does not run here: use --no-undo")
        _write(self._pending, text)
        try:
            _call(NFT, "-c", "-f", str(self._pending))
            if undo_after is not None:
                _arm(undo_after)
            _call(NFT, "-f", str(self._pending))
        except FirewallError:
            self._pending.unlink(missing_ok=True)
            raise
        if undo_after is None:
            self.confirm()
        return True

    def confirm(self) -> None:
        """Keep what is on trial. Raises FirewallError."""
        if not self._pending.exists():
            raise FirewallError("no rules are on trial")
        os.replace(self._pending, self._confirmed)
        _sync(self._confirmed.parent)
        if _armed():
            _call("systemctl", "stop", f"{UNDO}.timer")

    def undo(self) -> None:
        """Back to the confirmed rules, or the baseline, now. Raises FirewallError."""
        self._pending.unlink(missing_ok=True)
        _call("systemctl", "restart", LOADER)
        if _armed():
            _call("systemctl", "stop", f"{UNDO}.timer")


def _arm(seconds: float) -> None:
    _call(
        *("systemd-run", "--quiet", "--collect", f"--unit={UNDO}", f"--on-active={seconds:g}s"),
        *("--timer-property=AccuracySec=100ms", "systemctl", "restart", LOADER),
    )


def _armed() -> bool:
    command = ("systemctl", "is-active", "--quiet", f"{UNDO}.timer")
    with contextlib.suppress(FileNotFoundError):
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    return False


def _loaded() -> bool:
    command = (NFT, "list", "table", "inet", "edgenode")
    with contextlib.suppress(FileNotFoundError):
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    return False


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise FirewallError(f"{path} cannot be read ({error}): run as root") from None


def _write(path: Path, text: str) -> None:
    draft = path.with_suffix(".new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(draft, "w", encoding="utf-8", opener=_private) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        _sync(path.parent)
    except OSError as error:
        raise FirewallError(f"{path} cannot be written ({error.strerror}): run as root") from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _call(*command: str) -> None:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        raise FirewallError(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise FirewallError(f"{' '.join(command)} did not end within 30 s") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"status {done.returncode}"
        raise FirewallError(f"{' '.join(command)}: {said}")
