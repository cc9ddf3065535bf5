from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.steering.process import Steering


@pytest.fixture
def steering(tmp_path: Path) -> Iterator[Steering]:
    made = Steering(tmp_path)
    made.start()
    yield made
    made.close()
