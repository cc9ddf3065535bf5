"""A part of control at work in a thread of a namespace, as control's own loop would have it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from edgenode.lab import netns

T = TypeVar("T")


@contextmanager
def at_work(
    namespace: str, begin: Callable[[], tuple[T, Coroutine[Any, Any, None]]]
) -> Iterator[T]:
    """`begin` is called in the loop there; what it made is given, and its coroutine runs meanwhile.

    A fault of the coroutine is one of the test.
    """
    ready = threading.Event()
    shared: dict[str, Any] = {}

    async def run() -> None:
        shared["made"], work = begin()
        shared["loop"] = asyncio.get_running_loop()
        task = shared["task"] = asyncio.create_task(work)
        ready.set()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    def inside() -> None:
        with netns.inside(namespace):
            try:
                asyncio.run(run())
            except BaseException as error:
                shared["error"] = error
                raise

    thread = threading.Thread(target=inside)
    thread.start()
    assert ready.wait(5)
    try:
        yield shared["made"]
    finally:
        with suppress(RuntimeError):  # its loop is over, by a fault that is told below
            shared["loop"].call_soon_threadsafe(shared["task"].cancel)
        thread.join(15)
    assert "error" not in shared, shared["error"]
