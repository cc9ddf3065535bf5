from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgenode.steering.why import Why

OPERATING = Path(__file__).parents[3] / "docs" / "operating.md"


@pytest.mark.parametrize("why", Why)
def test_operators_are_told_what_it_says(why: Why) -> None:
    assert re.search(rf"^\| `{why}` \| \S", OPERATING.read_text(), re.MULTILINE)
