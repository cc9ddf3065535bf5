"""The command's end of the admin API."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import aiohttp

BEGIN_BY = "X-Edgenode-Begin-By"
"""Header: by when, on the kernel's monotonic clock, control may still begin with a request."""


class ApiError(Exception):
    """Control answered that it will not, or cannot; the text is its reason."""

    def __init__(self, reason: str, status: int = 0) -> None:
        """`status`: that of HTTP."""
        super().__init__(reason)
        self.status = status


class ControlAway(Exception):
    """Nobody answers on the admin socket; the text says where and what to do."""


def call(
    path: Path,
    method: str,
    route: str,
    body: Any = None,
    timeout: float = 5.0,
    even_late: bool = False,
) -> Any:
    """One request; the decoded JSON of the answer.

    `path` is the socket, `timeout` in seconds. A control that hangs and goes on later does what was
    asked only if `even_late`: else a release that its operator saw fail would undo what was
    withdrawn since. Raises ControlAway, ApiError.
    """
    headers = {} if even_late else {BEGIN_BY: f"{time.monotonic() + timeout / 2:.3f}"}
    return asyncio.run(_call(path, method, route, body, timeout, headers))


async def _call(
    path: Path, method: str, route: str, body: Any, timeout: float, headers: dict[str, str]
) -> Any:
    async with aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(path=str(path)),
        timeout=aiohttp.ClientTimeout(total=timeout),
        headers=headers,
    ) as session:
        try:
            async with session.request(method, f"http://control{route}", json=body) as response:
                answer = await response.json()
        except TimeoutError:
            raise ControlAway(
                f"edgenode control does not answer on {path} within {timeout:g} s: "
                "it hangs, see its log"
            ) from None
        except aiohttp.ClientConnectorError as error:
            denied = isinstance(error.os_error, PermissionError)
            raise ControlAway(
                f"edgenode control cannot be reached on {path} ({error.os_error.strerror}): "
                f"{'are you root?' if denied else 'start it, or see its log'}"
            ) from None
        except (aiohttp.ClientError, ValueError) as error:
            raise ControlAway(f"edgenode control broke off on {path}: {error}") from None
    if response.status != 200:
        reason = answer.get("error", f"status {response.status}")
        raise ApiError(reason, response.status)
    return answer
