"""How busy a worker's host is."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

PATIENCE = 5.0
"""Seconds that a command may take."""
MAX_OUTPUT = 4096


class LoadError(Exception):
    """It cannot be told; the text says why."""


async def busy(command: Sequence[str]) -> float:
    """1.0: all of it. By the command, or without one by the load average of the last minute.

    Raises LoadError.
    """
    if not command:
        return round(os.getloadavg()[0] / (os.cpu_count() or 1), 3)
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        raise LoadError(f"load_command {command[0]}: {error.strerror}") from None
    assert process.stdout
    try:
        async with asyncio.timeout(PATIENCE):
            text = await process.stdout.read(MAX_OUTPUT)
            status = await process.wait()
    except TimeoutError:
        raise LoadError(f"load_command {command[0]} took more than {PATIENCE:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if status != 0:
        raise LoadError(f"load_command {command[0]} ended with status {status}")
    try:
        load = float(text.split()[0])
    except (IndexError, ValueError):
        load = -1.0
    if not 0 <= load <= 1_000_000:  # nan is not
        raise LoadError(f"load_command {command[0]} did not print a number such as 0.75")
    return load
