from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgenode.steering.dial import DEFAULT_LIMITS, Limits
from tests.unit.steering.process import Address, Steering
from tests.unit.steering.running import RunningRelay, Worker, echo


@pytest.fixture
def make_relay(tmp_path: Path) -> Iterator[Callable[..., RunningRelay]]:
    made: list[RunningRelay] = []

    def make(limit: int = 1000, limits: Limits = DEFAULT_LIMITS) -> RunningRelay:
        made.append(RunningRelay(tmp_path / f"access-{len(made)}.log", limit, limits))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def relay(make_relay: Callable[..., RunningRelay]) -> RunningRelay:
    return make_relay()


@pytest.fixture
def make_steering(tmp_path: Path) -> Iterator[Callable[..., Steering]]:
    made: list[Steering] = []

    def make(**options: float) -> Steering:
        directory = tmp_path / f"node-{len(made)}"
        directory.mkdir()
        made.append(Steering(directory, **options))  # type: ignore[arg-type]
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def steering(make_steering: Callable[..., Steering]) -> Steering:
    return make_steering()


@pytest.fixture
def address() -> Iterator[Address]:
    made = Address()
    yield made
    made.close()


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker(echo)
    yield made
    made.close()
