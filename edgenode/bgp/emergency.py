"""Withdraw everything straight at BIRD's socket, with no control process needed."""

from __future__ import annotations

import socket
from pathlib import Path

from edgenode.bgp.client import BirdUnavailable, check, parse_version
from edgenode.bgp.levels import STANDING, Level
from edgenode.bgp.names import is_static_name
from edgenode.bgp.protocols import agrees, parse_protocols
from edgenode.bgp.replies import Notice, ProtocolError, Reply, ReplyParser
from edgenode.config import Config

_NO_SUCH_PROTOCOL = 8003


def withdraw_all(socket_path: Path, config: Config, *, timeout: float = 5.0) -> tuple[str, ...]:
    """Disable all static protocols that are called like ours; gives those that were enabled.

    Also those of an older configuration that BIRD may still run with; `config` says which must
    be down afterwards. A control that is alive is not told, and enables a group again when it
    next decides so. Raises BirdUnavailable (a sentence) or BirdError; `timeout`: seconds for each
    read from BIRD.
    """
    disable = [f'disable "*_v?_{level}"' for level in STANDING]
    commands = ["show protocols", *disable, "show protocols"]
    try:
        greeting, before, *disabled, after = _converse(socket_path, commands, timeout)
    except (OSError, ProtocolError) as error:
        raise BirdUnavailable(
            f"BIRD could not be told on {socket_path} ({error}): "
            "if it still runs and must be silent at once, stop BIRD itself"
        ) from error
    parse_version(greeting)
    for command, reply in zip(disable, disabled, strict=True):
        if reply.code != _NO_SUCH_PROTOCOL:
            check(command, reply, socket_path)
    rows = parse_protocols(after)
    left = [g.name for g in config.groups if not agrees(g, Level.WITHDRAWN, rows)]
    if left:
        raise BirdUnavailable(f"BIRD still announces {', '.join(left)}: stop BIRD itself")
    return tuple(
        row.name
        for row in parse_protocols(before).values()
        if row.kind == "Static" and row.state != "down" and is_static_name(row.name)
    )


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
