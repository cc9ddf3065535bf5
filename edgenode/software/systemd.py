"""What systemd does for another release: trials, restarts, signatures. Needs root.

A trial is a drop-in below /run that names the release: after a reboot there is none, and the part
starts with what was good before.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgenode.software.errors import SoftwareError
from edgenode.software.parts import UNITS, Part

_DROP_IN = "60-edgenode-trial.conf"
_RUN = Path("/run/systemd/system")
_UNDO = "edgenode-software-undo"
_POLICY = "--image-policy=root=signed+absent:usr=signed+absent"
"""As the units' ExtensionImagePolicy=."""
_LONGEST = 180.0
"""Seconds of one command: a takeover of many connections, an emulated machine."""
_IDENTITY = re.compile(r"^([A-Z_]+)=[\"']?([^\"'\n]*)", re.MULTILINE)
_RELEASE = "usr/lib/extension-release.d/extension-release.edgenode"


def begin_trial(part: Part, file: Path) -> None:
    """What is started or reloaded from now on runs that release. Raises SoftwareError."""
    try:
        place = _RUN / f"{UNITS[part].name}.d"
        place.mkdir(parents=True, exist_ok=True)
        # The empty one first: else both would be mounted, one over the other.
        text = f"[Service]\nExtensionImages=\nExtensionImages={file}\n"
        (place / _DROP_IN).write_text(text)
    except OSError as error:
        raise SoftwareError(f"{_RUN} cannot be written: {error.strerror}") from None
    run("systemctl", "daemon-reload")


def end_trial(part: Part) -> None:
    """Raises SoftwareError."""
    (_RUN / f"{UNITS[part].name}.d" / _DROP_IN).unlink(missing_ok=True)
    run("systemctl", "daemon-reload")


def on_trial(part: Part) -> Path | None:
    """The file of the release that it is on trial with."""
    with contextlib.suppress(OSError):
        text = (_RUN / f"{UNITS[part].name}.d" / _DROP_IN).read_text()
        return Path(text.splitlines()[-1].partition("=")[2])
    return None


def change_over(part: Part) -> None:
    """Have a part that runs take up its release. Raises SoftwareError."""
    unit = UNITS[part]
    run("systemctl", unit.verb, unit.name)


def is_active(part: Part) -> bool:
    """Raises SoftwareError: systemd does not say."""
    shown = run("systemctl", "show", "-p", "ActiveState", "--value", UNITS[part].name)
    return shown.strip() in ("active", "reloading", "activating")


def running(part: Part) -> str | None:
    """The release that its main process sees as /usr. None: it does not run, or cannot be seen."""
    if part is Part.TOOLS:
        root = Path("/run/edgenode-command")
    else:
        try:
            shown = run("systemctl", "show", "-p", "MainPID", "--value", UNITS[part].name)
        except SoftwareError:
            return None
        if (pid := shown.strip()) in ("", "0"):
            return None
        root = Path(f"/proc/{pid}/root")
    with contextlib.suppress(OSError):
        return _identity((root / _RELEASE).read_text()).get("SYSEXT_VERSION_ID")
    return None


def undo_after(seconds: float) -> None:
    """A trial whose judge dies is ended all the same. Raises SoftwareError."""
    no_undo()
    run(
        *("systemd-run", "--quiet", "--collect", f"--unit={_UNDO}", f"--on-active={seconds:.0f}s"),
        *("--timer-property=AccuracySec=1s", "/usr/bin/edgenode", "software", "undo"),
    )


def no_undo() -> None:
    """The judge has done its work."""
    with contextlib.suppress(SoftwareError):
        run("systemctl", "stop", f"{_UNDO}.timer")


def examined(file: Path) -> str:
    """The version in an extension, which is signed by a key that this node trusts, and fits it.

    Raises SoftwareError.
    """
    with mounted(file) as tree:
        try:
            told = _identity((tree / _RELEASE).read_text())
            own = _identity(Path("/etc/os-release").read_text())
        except OSError as error:
            raise SoftwareError(f"it is no extension of edgenode: {error.strerror}") from None
    for key in ("ID", "VERSION_ID"):
        if told.get(key) not in ("_any", own.get(key)):
            raise SoftwareError(
                f"it is for another system: {key} is {told.get(key)}, here {own.get(key)}; update "
                "the system first"
            )
    if not (version := told.get("SYSEXT_VERSION_ID")):
        raise SoftwareError("it does not say which version it is")
    return version


@contextmanager
def mounted(file: Path) -> Iterator[Path]:
    """By the policy that the units mount it by. Raises SoftwareError."""
    with tempfile.TemporaryDirectory(prefix="edgenode-software-", dir="/run") as directory:
        # systemd-dissect asks for a pass phrase where it knows no key: this is one, and wrong.
        credentials, tree = Path(directory) / "credentials", Path(directory) / "tree"
        credentials.mkdir(mode=0o700)
        (credentials / "dissect.passphrase").write_text("none")
        tree.mkdir()
        try:
            run(
                *("systemd-dissect", "--mount", "--read-only", _POLICY, str(file), str(tree)),
                environment={"CREDENTIALS_DIRECTORY": str(credentials)},
            )
        except SoftwareError as error:
            raise SoftwareError(
                f"it is not signed by a key whose certificate is in /usr/lib/verity.d, or damaged "
                f"({error})"
            ) from None
        try:
            yield tree
        finally:
            run("systemd-dissect", "--umount", str(tree))


def run(*command: str, environment: dict[str, str] | None = None) -> str:
    """What it prints. Raises SoftwareError."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_LONGEST,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SoftwareError(f"{' '.join(command[:3])}: {error}") from None
    if done.returncode != 0:
        raise SoftwareError(f"{' '.join(command[:3])}: {_last(done.stderr.splitlines())}")
    return done.stdout


def _last(lines: Sequence[str]) -> str:
    return next((line.strip() for line in reversed(lines) if line.strip()), "it failed")


def _identity(text: str) -> dict[str, str]:
    return dict(_IDENTITY.findall(text))
