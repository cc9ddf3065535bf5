"""The admin API's routes for another configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from edgenode.api import configuration
from edgenode.api.client import ApiError, call
from edgenode.api.configuration import ApplyError
from edgenode.api.server import serve_unix


class Fake:
    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.refuses = False

    async def apply(
        self, expected: str | None, confirm: float | None, dry_run: bool
    ) -> Mapping[str, Any]:
        self.calls.append(("apply", expected, confirm, dry_run))
        if self.refuses:
            raise ApplyError("BIRD is away")
        return {"difference": ["+ x"]}

    async def confirm(self) -> None:
        self.calls.append(("confirm",))

    async def undo(self, why: str) -> None:
        self.calls.append(("undo", why))


async def ask(tmp_path: Path, fake: Fake, route: str, body: Any) -> Any:
    app = web.Application()
    configuration.add_to(app, fake)
    path = tmp_path / "control.sock"
    stop = await serve_unix(app, path)
    try:
        return await asyncio.to_thread(call, path, "POST", f"/v1/{route}", body)
    finally:
        await stop()


async def test_what_is_asked_goes_through(tmp_path: Path) -> None:
    fake = Fake()
    body = {"digest": "abc", "confirm": 60, "dry_run": False}
    assert await ask(tmp_path, fake, "apply", body) == {"difference": ["+ x"]}
    assert await ask(tmp_path, fake, "confirm", {}) == {}
    assert await ask(tmp_path, fake, "undo", {}) == {}
    assert fake.calls == [
        ("apply", "abc", 60.0, False),
        ("confirm",),
        ("undo", "an operator said so"),
    ]


async def test_a_refusal_is_its_sentence(tmp_path: Path) -> None:
    fake = Fake()
    fake.refuses = True
    with pytest.raises(ApiError, match="BIRD is away"):
        await ask(tmp_path, fake, "apply", {"digest": "a", "confirm": None, "dry_run": True})


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"digest": "a"},
        {"digest": "a", "confirm": "soon", "dry_run": False},
        {"digest": "a", "confirm": -1, "dry_run": False},
        {"digest": "a", "confirm": 1e9, "dry_run": False},
        {"digest": "a", "confirm": float("nan"), "dry_run": False},
    ],
)
async def test_what_is_no_request_is_refused_and_touches_nothing(tmp_path: Path, body: Any) -> None:
    fake = Fake()
    with pytest.raises(ApiError, match="the request is not right"):
        await ask(tmp_path, fake, "apply", body)
    assert fake.calls == []
