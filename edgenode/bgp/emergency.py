"""Withdraw everything straight at BIRD's socket, with no control process needed."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path

from edgenode.bgp.client import BirdUnavailable, check, parse_version
from edgenode.bgp.levels import STANDING
from edgenode.bgp.names import group_of
from edgenode.bgp.protocols import Protocol, is_enabled, parse_protocols
from edgenode.bgp.replies import Notice, ProtocolError, Reply, ReplyParser

_NO_SUCH_PROTOCOL = 8003


def withdraw_all(socket_path: Path, *, timeout: float = 5.0) -> tuple[str, ...]:
    """Disable all static protocols that are called like ours; gives the groups that BIRD has.

    Their names are enough: no configuration has to be right for that, and those of an older one,
    with which BIRD may still run, are withdrawn too. A control that is alive is not told, and
    enables a group again when it next decides so. Raises BirdUnavailable (a sentence) or
    BirdError; `timeout`: seconds for each read from BIRD.
    """
    disable = [f'disable "*_v?_{level}"' for level in STANDING]
    commands = [*disable, "show protocols"]
    try:
        greeting, *disabled, after = _converse(socket_path, commands, timeout)
    except (OSError, ProtocolError) as error:
        if isinstance(error, PermissionError):
            raise BirdUnavailable(
                f"BIRD could not be told on {socket_path} ({error.strerror}): are you root?"
            ) from error
        why = (isinstance(error, OSError) and error.strerror) or error
        raise BirdUnavailable(
            f"BIRD could not be told on {socket_path} ({why}): "
            "if it still runs and must be silent at once, stop BIRD itself"
        ) from error
    parse_version(greeting)
    for command, reply in zip(disable, disabled, strict=True):
        if reply.code != _NO_SUCH_PROTOCOL:
            check(command, reply, socket_path)
    rows = parse_protocols(after).values()
    if left := _groups(row for row in rows if is_enabled(row)):
        raise BirdUnavailable(f"BIRD still announces {', '.join(left)}: stop BIRD itself")
    return _groups(rows)


def _groups(rows: Iterable[Protocol]) -> tuple[str, ...]:
    names = (group_of(row.name) for row in rows if row.kind == "Static")
    return tuple(dict.fromkeys(name for name in names if name))


def _converse(path: Path, commands: list[str], timeout: float) -> list[Reply]:
    """The greeting and the replies. Raises OSError, ProtocolError."""
    parser = ReplyParser()
    replies: list[Reply] = []
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(str(path))
        connection.sendall("".join(f"{command}\n" for command in commands).encode())
        while len(replies) <= len(commands):
            event = parser.next()
            if event is None:
                data = connection.recv(65536)
                if not data:
                    raise ProtocolError("it closed the connection in the middle")
                parser.feed(data)
            elif not isinstance(event, Notice):
                replies.append(event)
    return replies
