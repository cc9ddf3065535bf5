"""SSH public keys, before they replace those that let the operator in."""

from __future__ import annotations

import base64
import binascii
import re

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
