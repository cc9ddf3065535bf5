from __future__ import annotations

import itertools

import pytest

from edgenode.bgp.levels import STANDING, Level, steps

PAIRS = list(itertools.product(Level, Level))


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_the_way_ends_at_the_level(before: Level, after: Level) -> None:
    on = {before} & set(STANDING)
    for verb, level in steps(after):
        on = on | {level} if verb == "enable" else on - {level}
    assert on == {after} & set(STANDING)


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_no_gap_and_no_detour_on_the_way(before: Level, after: Level) -> None:
    """As the neighbor sees it: the best of the enabled protocols, and it changes once at most."""

    def best(on: set[Level]) -> Level:
        return max(on, key=STANDING.__getitem__, default=Level.WITHDRAWN)

    on = {before} & set(STANDING)
    seen = [best(on)]
    for verb, level in steps(after):
        on = on | {level} if verb == "enable" else on - {level}
        seen.append(best(on))
    assert [level for level, _ in itertools.groupby(seen)] == (
        [before] if before is after else [before, after]
    )
