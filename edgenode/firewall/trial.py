"""Rules on trial: loaded, and undone by themselves unless they are confirmed in time.

`confirmed.nft` is what a boot loads and an undo restores (edgenode-firewall.service does both,
without Python); `pending.nft` is on trial. The undo is armed *before* anything is loaded:

| killed                            | what is left                                              |
|-----------------------------------|-----------------------------------------------------------|
| before the undo is armed          | the old rules                                             |
| after it, or in the load          | the old rules again, when the time is over or at a boot   |
| in `confirm`, before the rename   | the same                                                  |
| after the rename                  | the new rules: the undo that may still come loads those   |
| in `undo`, or while the undo runs | the old rules: nft replaces the table as a whole          |
| in `apply --no-undo`, loaded      | the new rules until a boot, which loads the old ones      |

Rules that are pending with no undo to come were never loaded, or are undone already: they cannot
be confirmed. A lock keeps two operators apart; the undo does not wait for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgenode import durable

UNDO = "edgenode-firewall-undo"
LOADER = "edgenode-firewall.service"
LOADED_AT_BOOT = Path("/var/lib/edgenode/firewall")
"""Where the loader looks; it reads no configuration of ours."""
BASELINE = Path("/usr/share/edgenode/baseline.nft")
NFT = "/usr/sbin/nft"
SYSTEMD = Path("/run/systemd/system")
"""sd_booted(3)."""


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
    loaded: bool
    """Rules of a configuration are in place, not the baseline and not none."""


class Trial:
    """The files in `directory`, and what is done with them. Needs root."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._confirmed = directory / "confirmed.nft"
        self._pending = directory / "pending.nft"

    def status(self) -> Status:
        """Raises FirewallError."""
        return Status(_read(self._confirmed), _read(self._pending), _armed(), _loaded())

    def apply(self, text: str, undo_after: float | None) -> bool:
        """Load `text`; unless `undo_after` (seconds) is None it has to be confirmed.

        False: it is the confirmed one already, and loaded. Raises FirewallError.
        """
        with self._locked():
            return self._apply(text, undo_after)

    def _apply(self, text: str, undo_after: float | None) -> bool:
        if SYSTEMD.is_dir():
            if self._directory != LOADED_AT_BOOT:
                raise FirewallError(
                    f"a boot loads {LOADED_AT_BOOT}, and would not find {self._directory}: "
                    f"the firewall needs node.state_dir to be {LOADED_AT_BOOT.parent}"
                )
        elif undo_after is not None:
            raise FirewallError("an undo needs systemd, which does not run here: use --no-undo")
        status = self.status()
        if status.armed:
            raise FirewallError(
                "rules are on trial: `edgenode firewall confirm` or `undo` comes first"
            )
        if status.confirmed == text and status.loaded:
            return False
        _write(self._pending, text)
        try:
            _call(NFT, "-c", "-f", str(self._pending))
            if undo_after is not None:
                _arm(undo_after)
            _call(NFT, "-f", str(self._pending))
        except FirewallError:
            # The kernel takes all of it or nothing: the old rules are in place.
            self._pending.unlink(missing_ok=True)
            _disarm()
            raise
        if undo_after is None:
            self._keep()
        return True

    def confirm(self) -> None:
        """Keep what is on trial. Raises FirewallError."""
        with self._locked():
            if not self._pending.exists():
                raise FirewallError("no rules are on trial")
            if not _armed():
                self._pending.unlink(missing_ok=True)
                raise FirewallError(
                    "the time of the trial is over, the rules from before it are back: "
                    "`edgenode firewall apply` loads the new ones again"
                )
            self._keep()
            _disarm()
            try:
                # As a boot does it; and the undo may have come between the look and the rename.
                _call("systemctl", "restart", LOADER)
            except FirewallError as error:
                _call(NFT, "-f", str(self._confirmed))
                raise FirewallError(
                    f"the rules are in place, but a boot would not load them ({error}): "
                    f"see `journalctl -u {LOADER}`"
                ) from None

    def undo(self) -> None:
        """Back to the confirmed rules, or the baseline, now. Raises FirewallError."""
        with self._locked():
            self._pending.unlink(missing_ok=True)
            if SYSTEMD.is_dir():
                _call("systemctl", "restart", LOADER)
                _disarm()
            else:
                _call(NFT, "-f", str(self._confirmed if self._confirmed.exists() else BASELINE))

    def _keep(self) -> None:
        os.replace(self._pending, self._confirmed)
        durable.sync_directory(self._directory)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = open(self._directory / "lock", "w", opener=_private)  # noqa: SIM115
        except OSError as error:
            raise FirewallError(f"{self._directory}: {error.strerror}: run as root") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FirewallError("another `edgenode firewall` is at work: wait for it") from None
            yield


def _arm(seconds: float) -> None:
    _call(
        *("systemd-run", "--quiet", "--collect", f"--unit={UNDO}", f"--on-active={seconds:g}s"),
        *("--timer-property=AccuracySec=100ms", "systemctl", "restart", LOADER),
    )


def _disarm() -> None:
    if _armed():
        _call("systemctl", "stop", f"{UNDO}.timer")


def _armed() -> bool:
    command = ("systemctl", "is-active", "--quiet", f"{UNDO}.timer")
    with contextlib.suppress(FileNotFoundError):
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    return False


def _loaded() -> bool:
    # The baseline has no such chain: it stands where confirmed rules did not load, too.
    command = (NFT, "list", "chain", "inet", "edgenode", "operator")
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
    try:
        durable.replace(path, text, 0o600)
    except OSError as error:
        raise FirewallError(f"{path} cannot be written ({error.strerror}): run as root") from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


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
