"""Metrics are served where the present configuration says."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgenode.api.server import AddressInUse
from edgenode.config import Config, Endpoint
from edgenode.control.process import _Metrics


def config(at: str) -> Config:
    listen = Endpoint.parse(at)
    return cast(Config, SimpleNamespace(metrics=SimpleNamespace(listen=listen)))


async def reached(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def test_they_move_from_one_address_to_all_on_the_same_port() -> None:
    with socket.socket() as free, socket.socket() as other:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        metrics: Any = _Metrics()
        await metrics.serve(config(f"127.0.0.1:{port}"))
        await metrics.serve(config(f"0.0.0.0:{port}"))
        assert await reached("127.0.0.2", port)
        await metrics.serve(config(f"127.0.0.1:{port}"))
        assert not await reached("127.0.0.2", port)
        other.bind(("127.0.0.3", port))
        other.listen()
        with pytest.raises(AddressInUse):
            await metrics.serve(config(f"0.0.0.0:{port}"))
        assert await reached("127.0.0.1", port), "where they were"
        await metrics.stop()
