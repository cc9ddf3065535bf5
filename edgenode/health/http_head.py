"""The head of an HTTP/1.1 response, as far as a probe needs it. Pure; RFC 9112."""

from __future__ import annotations

import re

LIMIT = 16 * 1024
"""Bytes of heads that are read at most."""

# A bare LF may end a line (RFC 9112, 2.2); servers leave out the reason phrase with its space (4).
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")
_END = re.compile(rb"\r?\n\r?\n")


def parse_status(data: bytes) -> int | None:
    """The final response's status, or None while bytes of its head are missing.

    Interim responses (1xx but 101; RFC 9110, 15.2) are skipped.
    Raises ValueError with a clause that says what is wrong.
    """
    start = 0
    while True:
        if not b"HTTP/1.".startswith(data[start : start + 7]):
            raise ValueError("the answer is no HTTP/1")
        end = _END.search(data, start)
        if end is None:
            if len(data) >= LIMIT:
                raise ValueError(f"the head of the answer has more than {LIMIT // 1024} KiB")
            return None
        line = _STATUS_LINE.match(data, start)
        if line is None:
            raise ValueError("the status line of the answer is malformed")
        status = int(line[1])
        if status >= 200 or status == 101:
            return status
        start = end.end()
