"""Who may log in: keys and networks, before they replace those that let the operator in. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence

from edgenode.config.firewall import lets_in
from edgenode.config.values import parse_network

_KEY = re.compile(
    r"(?:^|\s)((?:sk-)?(?:ssh|ecdsa)-[a-z0-9-]+(?:@openssh\.com)?)\s+([A-Za-z0-9+/]+={0,2})(?:\s|$)"
)
"""Type and key; options may stand before them, a comment after them."""


def not_keys(text: str) -> list[str]:
    """The lines that sshd would pass over; a text without any key is one of them."""
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    return [line for line in lines if not _is_key(line)] if lines else [text]


def _is_key(line: str) -> bool:
    found = _KEY.search(line)
    if found is None:
        return False
    try:
        blob = base64.b64decode(found[2], validate=True)
    except binascii.Error:
        return False
    # Fields, each behind its length: one that was cut off in the middle does not come out even.
    fields = []
    while len(blob) >= 4:
        length = 4 + int.from_bytes(blob[:4], "big")
        fields.append(blob[4:length])
        blob = blob[length:] if length <= len(blob) else b"cut"
    return not blob and len(fields) > 1 and fields[0] == found[1].encode()


def locked_out(
    login: str, management: Sequence[str] | None, keys: Sequence[str] | None
) -> Iterator[str]:
    """Why not, in sentences.

    `login` is what sshd says of the connection: SSH_CONNECTION, and in the next lines the file
    SSH_USER_AUTH; what it does not say is not judged. None: no such list is put in place.
    """
    connection, *methods = login.splitlines() or [""]
    client = connection.split(" ")[0].split("%")[0]
    if client and management is not None and not lets_in(map(parse_network, management), client):
        yield (
            f"edgenode_firewall.management has no network with {client}, where this connection "
            "comes from: add it"
        )
    if keys is None:
        return
    entries = [key.split() for key in keys]
    for method in methods:
        match method.split():
            case ["publickey", kind, _] if "-cert-" in kind:
                if not any("cert-authority" in option for entry in entries for option in entry):
                    yield "edgenode_authorized_keys has no cert-authority: add that of your key"
            case ["publickey", kind, blob]:
                if not any(blob in entry for entry in entries):
                    yield (
                        "edgenode_authorized_keys has not the key of this connection "
                        f"({kind} …{blob[-12:]}): add it"
                    )
