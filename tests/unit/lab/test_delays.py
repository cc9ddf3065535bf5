"""The table of delays: what it says, and how it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.lab import delays
from edgenode.lab.errors import LabError

CITIES = st.from_regex(r"[a-z][a-z0-9]{1,5}", fullmatch=True)


def test_the_built_in_table_covers_what_the_plan_asks_for() -> None:
    table = delays.built_in()
    assert table.rtt("lon", "nyc") == 70
    assert table.rtt("nyc", "lon") == 70
    assert table.rtt("lon", "lon") == 0
    assert table.nearest("par", ["nyc", "sin", "lon"]) == "lon"


@given(st.dictionaries(st.tuples(CITIES, CITIES), st.floats(0.001, 2000), min_size=1))
def test_a_table_is_symmetric(rows: dict[tuple[str, str], float]) -> None:
    rows = {pair: rtt for pair, rtt in rows.items() if pair[0] < pair[1]}
    if not rows:
        return
    text = "[rtt]\n" + "".join(f'"{b}-{a}" = {rtt!r}\n' for (a, b), rtt in rows.items())
    table = delays.parse(text, "t")
    for (a, b), rtt in rows.items():
        assert table.rtt(a, b) == table.rtt(b, a) == rtt


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[rtt", "not a TOML file"),
        ("", r"\[rtt\] is missing"),
        ("[rtt]", r"\[rtt\] is missing"),
        ("[rtt]\nlon-nyc = 70\n[other]", "unknown key 'other'"),
        ("[rtt]\nlon = 70", '"lon" is not a pair of cities'),
        ("[rtt]\nLON-nyc = 70", '"LON-nyc" is not a pair of cities'),
        ("[rtt]\nlon-lon = 70", "no distance from itself"),
        ("[rtt]\nlon-nyc = 70\nnyc-lon = 71", '"nyc-lon" is given twice'),
        ("[rtt]\nlon-nyc = 0", "above 0"),
        ("[rtt]\nlon-nyc = -1", "above 0"),
        ("[rtt]\nlon-nyc = nan", "above 0"),
        ("[rtt]\nlon-nyc = 5000", "at most 2000"),
        ("[rtt]\nlon-nyc = true", "is no delay"),
        ('[rtt]\nlon-nyc = "70"', "is no delay"),
    ],
)
def test_errors_name_the_file_and_the_pair(text: str, says: str) -> None:
    with pytest.raises(LabError, match=f"^my.toml: .*{says}"):
        delays.parse(text, "my.toml")


def test_a_missing_pair_is_named_with_the_remedy() -> None:
    table = delays.parse("[rtt]\nlon-nyc = 70", "my.toml")
    with pytest.raises(LabError, match=r'my.toml: .* lon and sin: add a line "lon-sin"'):
        table.rtt("lon", "sin")


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "d.toml"
    path.write_text(delays.built_in_text())
    assert delays.load(path).table == delays.built_in().table
    with pytest.raises(LabError, match="cannot be read: No such file"):
        delays.load(tmp_path / "absent.toml")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(LabError, match="not UTF-8"):
        delays.load(path)
