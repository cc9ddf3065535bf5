"""The command's end of the admin API."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp


class ApiError(Exception):
    """Control answered that it will not, or cannot; the text is its reason."""


class ControlAway(Exception):
    """Nobody answers on the admin socket; the text says where and what to do."""


def call(path: Path, method: str, route: str, body: Any = None, timeout: float = 5.0) -> Any:
    """One request; the decoded JSON of the answer.

    `path` is the socket, `timeout` in seconds. Raises ControlAway, ApiError.
    """
    return asyncio.run(_call(path, method, route, body, timeout))


async def _call(path: Path, method: str, route: str, body: Any, timeout: float) -> Any:
    async with aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(path=str(path)),
        timeout=aiohttp.ClientTimeout(total=timeout),
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
            raise ControlAway(
                f"edgenode control cannot be reached on {path} ({error.os_error.strerror}): "
                "does it run, and are you root?"
            ) from None
        except (aiohttp.ClientError, ValueError) as error:
            raise ControlAway(f"edgenode control broke off on {path}: {error}") from None
    if response.status != 200:
        raise ApiError(answer.get("error", f"status {response.status}"))
    return answer
