"""The few settings of the lifeline, read with the standard library alone."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgenode import regularfile
from edgenode.places import lifeline_socket

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DEVICE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
_RESERVED = {"lo", "all", "default"}


class SettingsError(Exception):
    """The configuration cannot be used; the text is a sentence for the operator."""


@dataclass(frozen=True)
class Settings:
    """Defaults as in `edgenode.config.schema`, which checks the same file with more care."""

    socket: Path = Path("/run/edgenode/lifeline/lifeline.sock")
    device: str = "edgenode0"
    grace: float = 3.0
    """Seconds."""
    heartbeat_timeout: float = 10.0
    """Seconds."""


def read(path: Path) -> Settings:
    """From the node's configuration file. Raises SettingsError."""
    try:
        raw = tomllib.loads(regularfile.read(path, seconds=None).decode())
        node = raw.get("node", {})
        own = raw.get("lifeline", {})
        run_dir = Path(node.get("run_dir", "/run/edgenode"))
        settings = Settings(
            socket=lifeline_socket(run_dir),
            device=str(own.get("device", Settings.device)),
            grace=seconds(own.get("grace", Settings.grace)),
            heartbeat_timeout=seconds(own.get("heartbeat_timeout", Settings.heartbeat_timeout)),
        )
    except (
        OSError,
        ValueError,
        TypeError,
        AttributeError,
        OverflowError,  # a number of hundreds of digits
        RecursionError,  # brackets in brackets
    ) as error:
        raise SettingsError(f"{path} cannot be used: {error}") from None
    if not _DEVICE.fullmatch(settings.device) or settings.device in _RESERVED:
        raise SettingsError(f"{path}: lifeline.device {settings.device!r} is no device name")
    if not (settings.grace <= 60 and 1 <= settings.heartbeat_timeout <= 60):
        raise SettingsError(
            f"{path}: lifeline.grace is at most 60 s, lifeline.heartbeat_timeout between 1 and 60 s"
        )
    return settings


def seconds(value: Any) -> float:
    """A number of seconds, or ``"250ms"``, ``"3s"``, ``"1m30s"``. Raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        total = float(value)
    else:
        text = str(value).strip()
        parts = _DURATION.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise ValueError(f"{value!r} is no duration such as 3s or 250ms")
        total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 0 <= total <= 365 * 86400:
        raise ValueError(f"{value!r} is not between 0 and a year")
    return total
