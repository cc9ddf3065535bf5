"""Names of the tests' labs."""

from __future__ import annotations

import itertools
import os
import string

_DIGITS = string.digits + string.ascii_lowercase
_numbers = itertools.count()


def unique_name() -> str:
    """A lab's name that no other test process uses: at most 6 characters."""
    pid, text = os.getpid(), ""
    while pid:
        pid, digit = divmod(pid, 36)
        text = _DIGITS[digit] + text
    return string.ascii_lowercase[next(_numbers) % 26] + text
