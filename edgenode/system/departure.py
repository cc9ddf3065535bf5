"""Off the air, and into a reboot: drain, stop, forget the drain, start anew.

The drain is an intent, and is forgotten once control has stopped, before the reboot, so that the
version that comes up announces as soon as it can. Where the power is cut in between, `leaving` is
there still, and edgenode-returned.service forgets it; and it ends by itself, whatever happens.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgenode import durable, places
from edgenode.state import NODE, Intents, StateError
from edgenode.state.intents import IntentKind
from edgenode.system.errors import UpdateError

AUTHOR = "edgenode system"
_KEY = (NODE, IntentKind.MAINTENANCE.value)
_GRACE = 120.0
"""Seconds after the drain's own time, at which the intent ends by itself."""
_PAUSE = 0.5
_LEAVING = "leaving"
"""A file: a drain of ours may be among the intents."""

Ask = Callable[[str, str, Any], Any]
"""One request to control: method, route, body. Raises ApiError, ControlAway."""


def drain(ask: Ask, reason: str, within: float, force: bool) -> None:
    """Until nothing is announced. Raises UpdateError, and then the node announces again.

    One answer that does not come says nothing: it is asked again until the time is over.
    """
    from edgenode.api.client import ApiError, ControlAway

    deadline = time.monotonic() + within
    body = {
        "groups": [NODE],
        "kind": IntentKind.MAINTENANCE.value,
        "reason": reason,
        "author": AUTHOR,
        "until": time.time() + within + _GRACE,
        "force": force,
    }
    told = False
    trouble = "control did not answer"
    while time.monotonic() < deadline:
        try:
            status = ask("GET", "/v1/status", None)
            if not told and not _kept_away(status):
                ask("POST", "/v1/intent", body)
                status = ask("GET", "/v1/status", None)
            told = True
            left = announced(status)
            if not left:
                return
            trouble = f"still announced: {', '.join(left)}"
        except ApiError as error:
            if told:
                trouble = str(error)
            else:
                raise UpdateError(f"the drain was refused: {error}") from None
        except ControlAway as error:
            trouble = str(error)
        time.sleep(_PAUSE)
    announce_again(ask)
    raise UpdateError(
        f"the node was not drained within {within:g} s, and is not rebooted ({trouble}): "
        "see edgenode status; --no-drain goes on without"
    )


def announce_again(ask: Ask) -> None:
    """Forget our drain; where that cannot be told, it ends by itself."""
    from edgenode.api.client import ApiError, ControlAway

    try:
        if any(_ours(intent) for intent in ask("GET", "/v1/status", None)["intents"]):
            body = {"groups": [NODE], "kind": None, "only": IntentKind.MAINTENANCE.value}
            ask("POST", "/v1/intent", body)
    except (ApiError, ControlAway):
        pass


def announced(status: Mapping[str, Any]) -> list[str]:
    """The groups of which BIRD, as far as is known, still announces something. Pure."""
    return [
        group["name"]
        for group in status["groups"]
        if group["level"] != "withdrawn" or not group["in_force"]
    ]


def _kept_away(status: Mapping[str, Any]) -> bool:
    """The node is in maintenance already: the operator's intent is not ours to replace."""
    return any((i["group"], i["kind"]) == _KEY for i in status.get("intents", ()))


def _ours(intent: Mapping[str, Any]) -> bool:
    return (intent["group"], intent["kind"]) == _KEY and intent["author"] == AUTHOR


def begin(directory: Path) -> None:
    """A drain is to come. Raises UpdateError."""
    try:
        durable.replace(directory / _LEAVING, "", 0o600)
    except OSError as error:
        raise UpdateError(f"{directory} cannot be written: {error.strerror}") from None


def leave() -> None:
    """Have systemd do the rest: it ends with nobody's SSH connection. Raises UpdateError."""
    _systemd("systemd-run", "-q", "--collect", "--unit=edgenode-departure", *_DEPART)


_DEPART = ("/usr/bin/edgenode", "system", "depart")


def depart(state_dir: Path, directory: Path) -> None:
    """Stop edgenode, forget the drain, reboot. Raises UpdateError, and then edgenode runs again."""
    try:
        # Control by name, too: the target's stop does not wait for what is a part of it.
        _systemd("systemctl", "stop", "edgenode.target", "edgenode-control.service")
        forget(state_dir, directory)
        _systemd("systemctl", "reboot")
    except UpdateError:
        _systemd("systemctl", "start", "--no-block", "edgenode.target")
        raise


def forget(state_dir: Path, directory: Path) -> None:
    """Our drain is no intent any more. Where that cannot be stored, it ends by itself."""
    try:
        intents = Intents(places.control_state(state_dir))
        intent = intents.all().get(_KEY)
        if intent is not None and intent.author == AUTHOR:
            intents.clear(_KEY)
    except StateError:
        pass
    with contextlib.suppress(OSError):
        (directory / _LEAVING).unlink(missing_ok=True)


def _systemd(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        raise UpdateError(f"{' '.join(command)}: {error}") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"status {done.returncode}"
        raise UpdateError(f"{' '.join(command)}: {said}")
