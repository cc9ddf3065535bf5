"""What a run would change, what starts anew for it, and when a node is as it was."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgenode.inventory import (
    LOOK,
    REASON,
    File,
    expected,
    pending,
    restarts,
    tables_changed,
    unmet,
)
from edgenode.inventory.changes import UNITS

OLD = """
[node]
name = "lon1"
[steering]
workers = 2
[[checks]]
name = "nginx"
"""


def test_pending_files_are_those_that_differ(tmp_path: Path) -> None:
    import grp
    import os
    import pwd

    owner = pwd.getpwuid(os.getuid()).pw_name
    group = grp.getgrgid(os.getgid()).gr_name
    files = []
    for name, content, mode in (("a", "x\n", 0o644), ("b c", "x\n", 0o644), ("d", "x\n", 0o600)):
        path = tmp_path / name
        path.write_text(content)
        path.chmod(mode)
        files.append(File(str(path), "x\n", owner, group))
    files[1] = File(files[1].path, "y\n", owner, group)
    files.append(File(str(tmp_path / "missing"), "", owner, group))
    paths = " ".join(f"'{file.path}'" for file in files)
    answer = subprocess.run(["sh", "-c", LOOK.format(paths)], capture_output=True, text=True).stdout
    assert pending(files, answer) == [file.path for file in files[1:]]


def test_a_comment_is_no_change_of_a_table() -> None:
    assert tables_changed(OLD, "# a comment\n" + OLD) == []
    assert tables_changed(OLD, OLD.replace("workers = 2", "workers = 3")) == ["steering"]
    assert tables_changed("broken [", OLD) == ["node", "steering", "checks"]


@pytest.mark.parametrize(
    ("paths", "tables", "release", "unfinished", "units"),
    [
        ([], [], False, [], []),
        (["/etc/edgenode/edgenode.toml"], ["steering"], False, [], ["edgenode-steering.service"]),
        (
            ["/usr/lib/systemd/system/bird.service.d/edgenode.conf"],
            [],
            False,
            [],
            ["bird.service"],
        ),
        (["/usr/lib/systemd/system/edgenode-firewall.service"], [], False, [], []),
        (["/etc/edgenode/secrets/x"], [], False, [], ["edgenode-control.service"]),
        ([], [], True, [], [unit for unit in UNITS if unit != "bird.service"]),
        ([], [], False, ["edgenode-exec.service"], ["edgenode-exec.service"]),
        # It reads the checks again by itself, and the lifeline knows no groups.
        ([], ["checks", "groups"], False, [], ["edgenode-control.service"]),
        (
            [],
            ["mesh"],
            False,
            ["bird.service"],
            ["edgenode-mesh.service", "bird.service", "edgenode-control.service"],
        ),
    ],
)
def test_what_starts_anew(
    paths: list[str], tables: list[str], release: bool, unfinished: list[str], units: list[str]
) -> None:
    assert restarts(paths, tables, release, unfinished) == units


def group(
    name: str, level: str = "normal", in_force: bool = True, intent: Any = None
) -> dict[str, Any]:
    return {
        "name": name,
        "level": level,
        "in_force": in_force,
        "reasons": ["because"],
        "intent": intent,
    }


def status(*groups: dict[str, Any], session: str = "Established") -> dict[str, Any]:
    return {
        "groups": list(groups),
        "neighbors": [{"name": "transit", "state": session, "info": ""}],
        "bird": {"connected": True, "problem": ""},
        "mesh": {"problem": ""},
        "lifeline": {"connected": True},
        "services": [],
        "steering": {"connected": True, "refusal": ""},
    }


OURS = {"kind": "drained", "reason": REASON, "since": 0.0}
THEIRS = {"kind": "drained", "reason": "a disk is changed", "since": 0.0}


def test_what_was_announced_is_expected_again_and_an_operators_drain_is_not() -> None:
    want = expected(
        status(
            group("web"),
            group("late", in_force=False),
            group("cut-off", "withdrawn", intent=OURS),
            group("operators", "withdrawn", intent=THEIRS),
        )
    )
    assert want.announced == ("web", "cut-off")
    assert want.left_drained == ("cut-off",)
    assert want.sessions == ("transit",)
    assert expected(None).announced == ()


def test_a_drained_group_is_waited_for_until_bird_has_withdrawn_it() -> None:
    want = expected(status(group("web")))
    assert unmet("drained", want, status(group("web", "drained"))) != []
    assert unmet("drained", want, status(group("web", "withdrawn", in_force=False))) != []
    assert unmet("drained", want, status(group("web", "withdrawn"))) == []
    assert unmet("drained", want, None) == ["control does not answer"]


def test_a_session_that_was_up_must_be_up() -> None:
    want = expected(status(group("web")))
    down = status(group("web"), session="Active")
    assert unmet("changed", want, down) == ["the session with transit is Active"]
    assert unmet("changed", want, down, removed=("transit",)) == []
    assert unmet("changed", expected(down), down) == []


def test_what_was_announced_must_be_announced() -> None:
    want = expected(status(group("web"), group("gone")))
    now = status(group("web", "withdrawn"))
    assert unmet("announced", want, now, removed=("gone",)) == [
        "group web was announced, and is withdrawn now (because)"
    ]
    assert unmet("announced", want, status(group("web")), removed=("gone",)) == []
    assert unmet("announced", want, status(group("web"))) == ["group gone is unknown to control"]
