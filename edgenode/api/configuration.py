"""The admin API's routes for another configuration, on trial or not."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

from aiohttp import web

LONGEST_TRIAL = 3600.0


class ApplyError(Exception):
    """It was not done, and all is as before; the text says why and what to do."""


class Configurable(Protocol):
    """What the API needs of control. Each may raise ApplyError."""

    async def apply(
        self, expected: str | None, confirm: float | None, dry_run: bool
    ) -> Mapping[str, Any]:
        """Run with what the file says now."""

    async def confirm(self) -> None:
        """Keep what is on trial."""

    async def undo(self, why: str) -> None:
        """Back to what was before the trial."""


def add_to(app: web.Application, node: Configurable) -> None:
    """Routes: ``POST /v1/apply`` (digest of the file's text, confirm: seconds of a trial or null,
    dry_run), ``/v1/confirm``, ``/v1/undo``.
    """

    async def apply(request: web.Request) -> web.Response:
        try:
            body = await request.json()
            digest = str(body["digest"])
            confirm = None if body["confirm"] is None else float(body["confirm"])
            if confirm is not None and not 0 < confirm <= LONGEST_TRIAL:
                raise ValueError(f"no trial of {confirm} s")
            dry_run = body["dry_run"] is True
        except (ValueError, KeyError, TypeError) as error:
            return _error(400, f"the request is not right: {error!r}")
        return await _done(node.apply(digest, confirm, dry_run))

    async def confirm(_: web.Request) -> web.Response:
        return await _done(node.confirm())

    async def undo(_: web.Request) -> web.Response:
        return await _done(node.undo("an operator said so"))

    app.add_routes(
        [
            web.post("/v1/apply", apply),
            web.post("/v1/confirm", confirm),
            web.post("/v1/undo", undo),
        ]
    )


async def _done(what: Awaitable[Mapping[str, Any] | None]) -> web.Response:
    try:
        return web.json_response(await what or {})
    except ApplyError as error:
        return _error(409, str(error))


def _error(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=status)
