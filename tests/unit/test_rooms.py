"""docs/code.md leads to what there is: each room, and each module that it names."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = (ROOT / "docs" / "code.md").read_text()
PACKAGE = ROOT / "edgenode"


def test_each_room_has_its_line_and_each_line_its_room() -> None:
    lines = re.findall(r"^\| `(\w+)/` \|", CODE, re.MULTILINE)
    rooms = [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
    assert sorted(lines) == sorted(rooms)


def test_the_modules_of_decisions_are_there() -> None:
    for room, modules in re.findall(r"^\| `(\w+)/` \|.*\|(.*)\|$", CODE, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", modules):
            assert (PACKAGE / room / f"{name}.py").is_file(), f"{room}/{name}"


def test_the_ways_through_the_code_are_there() -> None:
    rooms = "|".join(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
    named = re.findall(rf"`((?:{rooms})/\w+)`", CODE)
    assert named
    for name in named:
        assert (PACKAGE / f"{name}.py").is_file() or name == "images/node", name


def test_what_is_named_of_steering_is_there() -> None:
    section = CODE.partition("## Steering\n")[2].partition("\n## ")[0]
    rows = [row for row in section.splitlines() if row.startswith("| ")]
    named = [
        name for row in rows[1:] for name in re.findall(r"`(\w+)`", row.partition("handover")[0])
    ]
    assert len(named) > 40
    for name in named:
        assert (PACKAGE / "steering" / f"{name}.py").is_file(), name
