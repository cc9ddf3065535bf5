"""What a run would change, what starts anew for it, and when a node is as it was."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgenode.inventory import (
    LOOK,
    REASON,
    File,
    answered,
    applies,
    expected,
    left_behind,
    left_drained,
    pending,
    renewals,
    tables_changed,
    unmet,
    waiting,
)
from edgenode.inventory.changes import UNITS

STEERING = "edgenode-steering.service"
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
    more = OLD.replace("workers = 2", "workers = 3")
    assert tables_changed(OLD, more) == ["steering", "steering.workers"]
    slower = OLD.replace("workers = 2", "workers = 2\nmax_connections = 9")
    assert tables_changed(OLD, slower) == ["steering"]
    assert tables_changed(OLD, OLD + "[lifeline]") == []


@pytest.mark.parametrize(
    "written",
    [
        '[lifeline]\ngrace = "3s"\nheartbeat_timeout = 10',
        "[steering]\nworkers = 0",
        '[steering]\naccess_log = { sample = 1.0 }\n[siblings]\ninterval = "1000ms"',
    ],
)
def test_a_default_that_is_written_out_is_no_change(written: str) -> None:
    short = '[node]\nname = "lon1"\n'
    assert tables_changed(short, short + written) == []
    assert tables_changed(short + written, short) == []


def test_what_is_no_default_is_a_change_also_of_a_table_that_was_not_there() -> None:
    short = '[node]\nname = "lon1"\n'
    assert tables_changed(short, short + "[lifeline]\ngrace = 4") == ["lifeline"]
    assert tables_changed(short + "[lifeline]\ngrace = 4", short) == ["lifeline"]
    assert tables_changed(short, short + "[steering]\nworkers = 1") == [
        "steering",
        "steering.workers",
    ]
    # Of another release, which knows other keys.
    later = short + "[steering]\nworkers = 0\nlater = 1\n[much.later]\nx = 1\n"
    assert tables_changed(later, short) == ["steering", "much"]


@pytest.mark.parametrize("old", ["", "broken [", "steering = 3", '[steering]\nworkers = "two"'])
def test_a_steering_that_runs_by_nobody_knows_what_is_restarted_and_why(old: str) -> None:
    changed = tables_changed(old, '[node]\nname = "lon1"\n')
    assert "node" in changed
    found = renewals([], [table for table in changed if table != "node"], False)
    assert found.restart == [STEERING]
    assert found.reload == []
    (why,) = found.cuts
    assert why.endswith("the change of steering.workers, which is not known of what runs")


def test_a_first_install_cuts_nobody() -> None:
    tables = tables_changed("", OLD)
    found = renewals([UNIT_FILE], tables, True, [], False, takes_over=False, first=True)
    assert STEERING in found.restart
    assert found.cuts == found.reload == []


@pytest.mark.parametrize(
    ("paths", "tables", "release", "unfinished", "units"),
    [
        ([], [], False, [], []),
        (["/etc/edgenode/edgenode.toml"], ["steering"], False, [], []),
        ([], ["steering", "steering.workers"], False, [], ["edgenode-steering.service"]),
        (
            ["/usr/lib/systemd/system/bird.service.d/edgenode.conf"],
            [],
            False,
            [],
            ["bird.service"],
        ),
        (["/usr/lib/systemd/system/edgenode-firewall.service"], [], False, [], []),
        (["/etc/edgenode/secrets/x"], [], False, [], ["edgenode-control.service"]),
        # Control takes these up while it runs.
        ([], ["checks", "groups"], False, [], []),
        ([], ["checks", "bgp"], False, [], ["edgenode-control.service"]),
        ([], [], True, [], [unit for unit in UNITS if unit not in ("bird.service", STEERING)]),
        ([], [], False, ["edgenode-exec.service"], ["edgenode-exec.service"]),
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
    assert renewals(paths, tables, release, unfinished).restart == units


UNIT_FILE = "/usr/lib/systemd/system/edgenode-steering.service"
NOTE = "reload edgenode-steering.service"


@pytest.mark.parametrize(
    ("paths", "tables", "release", "unfinished", "takes_over", "cuts"),
    [
        ([], [], True, [], True, None),
        ([], ["steering"], False, [], True, None),
        ([], [], False, [NOTE], True, None),
        ([UNIT_FILE], [], True, [], True, "its unit changes"),
        ([UNIT_FILE + ".d/x.conf"], [], False, [], True, "its unit changes"),
        ([], [], False, [UNIT_FILE, NOTE], True, "its unit changes"),
        ([], ["steering", "steering.workers"], False, [], True, "change of steering.workers"),
        ([], ["node"], False, [], True, "change of node"),
        ([], [], True, [], False, "does not know how to be replaced"),
        ([], [], False, [STEERING], True, "a run before this one was to restart it"),
    ],
)
def test_steering_is_reloaded_unless_that_cannot_take_the_change_up(
    paths: list[str],
    tables: list[str],
    release: bool,
    unfinished: list[str],
    takes_over: bool,
    cuts: str | None,
) -> None:
    found = renewals([*paths, *unfinished], tables, release, unfinished, True, takes_over)
    assert (STEERING in found.restart) is (cuts is not None)
    assert found.reload == ([] if cuts else [STEERING])
    assert cuts is None or [cuts in sentence for sentence in found.cuts] == [True]


def test_what_does_not_concern_steering_leaves_it_alone() -> None:
    found = renewals(["/etc/edgenode/secrets/x"], ["checks", "bgp"], False, [], False, False)
    assert found.reload == []
    assert found.cuts == []
    assert STEERING not in found.restart


@pytest.mark.parametrize(
    ("tables", "unfinished", "units", "taken_up"),
    [
        (["checks"], [], [], True),
        (["checks", "bgp"], [], ["edgenode-control.service"], False),
        (["steering"], [], [], True),
        (["steering", "steering.workers"], [], ["edgenode-steering.service"], True),
        (["firewall"], [], [], False),
        (["groups", "node"], [], [unit for unit in UNITS if unit != "bird.service"], False),
        # A run before this one wrote the file, and did not come to tell control.
        ([], ["/etc/edgenode/edgenode.toml"], [], True),
        ([], ["/etc/edgenode/secrets/x"], [], False),
    ],
)
def test_what_control_takes_up_while_it_runs(
    tables: list[str], unfinished: list[str], units: list[str], taken_up: bool
) -> None:
    assert renewals([], tables, False, unfinished).restart == units
    assert applies(tables, units, unfinished) is taken_up
    if taken_up:
        silent = renewals([], tables, False, unfinished, control_answers=False).restart
        assert silent == [*units, "edgenode-control.service"]
        assert not applies(tables, silent, unfinished)


def test_files_that_left_the_inventory_and_no_others_are_left_behind() -> None:
    placed = "/etc/edgenode/secrets/old.md5\n/etc/systemd/network/10-uplink.network\n"
    want = ["/etc/systemd/network/10-uplink.network", "/etc/systemd/network/20-new.network"]
    assert left_behind(want, placed) == ["/etc/edgenode/secrets/old.md5"]
    assert left_behind(want, "") == []


TOML = """
[[bgp.neighbors]]
name = "transit"
[[groups]]
name = "web"
"""


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
    text = TOML + '[[groups]]\nname = "cut-off"\n'
    want = expected(
        status(
            group("web"),
            group("gone"),
            group("late", in_force=False),
            group("cut-off", "withdrawn", intent=OURS),
            group("operators", "withdrawn", intent=THEIRS),
        ),
        text,
    )
    assert want.announced == ("web", "gone", "cut-off")
    assert want.again == ("web", "cut-off")
    assert want.left_drained == ("cut-off",)
    assert want.sessions == ("transit",)
    assert not want.settled


def test_what_a_run_left_drained_is_found_once_control_answers_again() -> None:
    """Control was dead before the change: nobody knew of the drain then."""
    assert expected(None, TOML).again == ()
    assert left_drained(None) == ()
    assert left_drained(status(group("web", "withdrawn", intent=OURS), group("b"))) == ("web",)


@pytest.mark.parametrize("text", ["", '{"error": "control does not answer: start it"}\n'])
def test_an_error_instead_of_a_status_is_a_control_that_does_not_answer(text: str) -> None:
    assert answered(text) is None
    assert answered(json.dumps(status())) == status()


def test_a_drained_group_is_waited_for_until_bird_has_withdrawn_it() -> None:
    want = expected(status(group("web")), TOML)
    assert unmet("drained", want, status(group("web", "drained"))) != []
    assert unmet("drained", want, status(group("web", "withdrawn", in_force=False))) != []
    assert unmet("drained", want, status(group("web", "withdrawn"))) == []
    assert unmet("drained", want, None) == ["control does not answer"]


DOWN = status(group("web"), session="Active")


@pytest.mark.parametrize(
    ("before", "known_down", "cut_off", "needed"),
    [
        (status(group("web")), (), False, True),
        # Down before, on a node that nothing of a run was left on: it is no fault of this one.
        (DOWN, (), False, False),
        # It is down since a run broke it, and stopped: the next one must not pass over that.
        (DOWN, (), True, True),
        (status(group("web", "withdrawn", intent=OURS), session="Active"), (), False, True),
        # A new node, or one whose control is dead.
        (None, (), False, True),
        # A neighbor that is new.
        ({**status(group("web")), "neighbors": []}, (), False, True),
        (None, ("transit",), False, False),
        (DOWN, ("transit",), True, False),
    ],
)
def test_which_session_must_be_up(
    before: Any, known_down: tuple[str, ...], cut_off: bool, needed: bool
) -> None:
    want = expected(before, TOML, known_down, cut_off)
    assert unmet("changed", want, DOWN) == (["the session with transit is Active"] * needed)
    assert unmet("changed", want, status(group("web"))) == []


def test_a_session_of_a_neighbor_that_goes_is_not_waited_for() -> None:
    before = status(group("web"))
    before["neighbors"].append({"name": "old", "state": "Established", "info": ""})
    assert expected(before, TOML).sessions == ("transit",)


def test_a_group_that_only_waits_is_released_and_says_for_how_long() -> None:
    want = expected(status(group("web"), group("static")), TOML + '[[groups]]\nname = "static"\n')
    reasons = ["waits 660 s before it is normal again: upstreams", "all is up"]
    late = group("web", "withdrawn") | {"waits": {"for": "normal", "s": 660.2}, "reasons": reasons}
    now = status(late, group("static") | {"waits": None})
    assert unmet("released", want, now) == []
    assert len(unmet("announced", want, now)) == 1
    assert waiting(want, now).seconds == 660.2
    assert waiting(want, now).why == ("group web waits 660 s before it is normal again: upstreams",)
    assert waiting(want, status(group("web"))).seconds == 0
    for broken in (status(late, group("static", "withdrawn")), status(late)):
        assert "group static" in unmet("released", want, broken)[0], "time alone mends nothing"
    assert unmet("released", want, {**now, "lifeline": {"connected": False}}) != []


def test_a_node_that_does_not_run_with_its_file_is_not_done() -> None:
    want = expected(status(group("web")), TOML)
    fallen_back = {"configuration": {"problem": "the file is not in force"}}
    assert unmet("changed", want, status(group("web")) | fallen_back) == [
        "configuration: the file is not in force"
    ]
    assert unmet("changed", want, status(group("web")) | {"configuration": {"problem": ""}}) == []


def test_what_was_announced_must_be_announced() -> None:
    want = expected(status(group("web"), group("gone")), TOML)
    now = status(group("web", "withdrawn"))
    assert unmet("announced", want, now) == [
        "group web was announced, and is withdrawn now (because)"
    ]
    assert unmet("announced", want, status(group("web"))) == []
    assert unmet("announced", want, status()) == ["group web is unknown to control"]


def test_a_steering_of_another_release_is_told() -> None:
    want = expected(status(group("web")), TOML, release="0.1.0-new")
    steering = {"connected": True, "refusal": ""}
    for report, told in (
        (None, ["not 0.1.0-new (has not told its release)"]),
        ({}, ["not 0.1.0-new (has not told its release)"]),
        ({"release": "0.1.0-old"}, ["not 0.1.0-new (0.1.0-old)"]),
        ({"release": "0.1.0-new"}, []),
    ):
        now = status(group("web")) | {"services": [{}], "steering": steering | {"report": report}}
        lacks = unmet("changed", want, now)
        assert [one.removeprefix("the steering that serves users is ") for one in lacks] == told
