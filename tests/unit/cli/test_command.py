"""The command itself: help that is there for everything, exit statuses, one sentence an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgenode.cli import lifeline_arguments
from tests.unit.config.test_config import GOOD

SUBCOMMANDS = [
    *(["control"], ["steering"], ["lifeline"], ["check-config"], ["render"], ["status"]),
    *(["history"], ["why"], ["drain"], ["undrain"], ["withdraw"], ["degrade"], ["maintenance"]),
    *(["release"], ["pause"], ["resume"], ["lab"], ["apply"], ["confirm"], ["undo"]),
    *(["mesh"], ["mesh", "up"], ["mesh", "key"], ["regions"], ["trace"], ["top"]),
    *(["lab", "up"], ["lab", "down"], ["lab", "run"], ["lab", "list"], ["lab", "delays"]),
]


def edgenode(*arguments: str, columns: str = "100") -> subprocess.CompletedProcess[str]:
    """`columns`: how wide the output is said to be; empty: nothing is said."""
    return subprocess.run(
        [sys.executable, "-m", "edgenode.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "COLUMNS": columns, "NO_COLOR": "1"},
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "edgenode.toml"
    path.write_text(
        GOOD.replace(
            'name = "lon1"',
            f'name = "lon1"\nrun_dir = "{tmp_path}/run"\nstate_dir = "{tmp_path}/state"',
            1,
        ).replace(
            "asn = 64700",
            f'asn = 64700\nsocket = "{tmp_path}/bird.ctl"\nconfig = "{tmp_path}/absent/bird.conf"',
            1,
        )
    )
    return path


@pytest.mark.parametrize("subcommand", [[], *SUBCOMMANDS], ids=" ".join)
def test_everything_explains_itself(subcommand: list[str]) -> None:
    shown = edgenode(*subcommand, "--help")
    assert shown.returncode == 0, shown.stderr
    assert "Usage" in shown.stdout
    assert len(shown.stdout.splitlines()) > 8


def test_a_right_configuration_is_said_to_be_right(config: Path) -> None:
    shown = edgenode("check-config", "--config", str(config))
    assert shown.returncode == 0, shown.stderr
    assert "2 groups with 3 prefixes" in shown.stdout
    # The option may stand before the subcommand, too.
    assert edgenode("--config", str(config), "check-config").returncode == 0


def test_a_wrong_one_has_all_its_problems_in_json(config: Path) -> None:
    config.write_text(config.read_text().replace("target", "tarket"))
    shown = edgenode("check-config", "--json", "--config", str(config))
    assert shown.returncode == 2
    problems = json.loads(shown.stdout)["problems"]
    assert {"checks[0].tarket", "checks[0].target"} == {problem["key"] for problem in problems}
    assert all(problem["line"] for problem in problems)


def test_a_program_that_is_not_there_is_a_warning(config: Path) -> None:
    hook = '\n[[hooks]]\nname = "{}"\ncommand = ["{}", "x"]\n'
    config.write_text(config.read_text() + hook.format("a", "sh") + hook.format("b", "/no/program"))
    shown = edgenode("check-config", "--config", str(config))
    assert shown.returncode == 0, shown.stderr
    assert "warning: hooks[b].command: /no/program cannot be run" in shown.stderr
    assert "hooks[a]" not in shown.stderr
    shown = edgenode("check-config", "--json", "--no-secrets", "--config", str(config))
    assert json.loads(shown.stdout)["warnings"] == []


def test_an_access_log_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    for path, said in {
        "/no/such/directory/access.log": "/no/such/directory is no directory that is there",
        str(tmp_path): f"{tmp_path} is a directory: name a file in it",
        f"{tmp_path}/access.log": "",
    }.items():
        file = tmp_path / "edgenode.toml"
        file.write_text(f'{GOOD}\n[steering]\naccess_log = "{path}"\n')
        shown = edgenode("check-config", "--config", str(file))
        assert shown.returncode == 0, shown.stderr
        assert (said in shown.stderr) if said else not shown.stderr


def test_an_address_is_said_as_it_was_written(config: Path) -> None:
    config.write_text(config.read_text().replace("2001:db8:1::3", "2001:db8:a:b::/4"))
    shown = edgenode("check-config", "--config", str(config))
    assert '"2001:db8:a:b::/4" is not right' in shown.stderr, "no emoji, no markup"


def test_render_prints_what_bird_is_given(config: Path) -> None:
    shown = edgenode("render", "bird", "--config", str(config))
    assert shown.returncode == 0, shown.stderr
    assert "protocol static web_v4_normal" in shown.stdout
    assert edgenode("render", "cisco", "--config", str(config)).returncode == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["drain", "web"],
        ["undrain", "--all"],
        ["withdraw", "--all"],
        ["render", "bird", "--write"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_is_one_sentence(config: Path, arguments: list[str]) -> None:
    shown = edgenode(*arguments, "--config", str(config))
    assert shown.returncode == 1
    assert "Traceback" not in shown.stderr
    assert all(line.startswith("edgenode: ") for line in shown.stderr.splitlines())


@pytest.mark.parametrize("daemon", ["steering", "exec-runner"])
def test_who_needs_no_secret_does_not_look_at_them(
    config: Path, tmp_path: Path, daemon: str
) -> None:
    """As users of their own they could not: one that control would complain of is no matter."""
    key = tmp_path / "state" / "control" / "wireguard.key"
    key.parent.mkdir(parents=True)
    key.write_text("damaged")
    key.chmod(0o644)
    room = daemon.partition("-")[0]
    with subprocess.Popen(
        [sys.executable, "-m", "edgenode.cli", daemon, "--config", str(config)],
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            for _ in range(200):
                if (tmp_path / "run" / room / f"{room}.sock").is_socket():
                    break
                assert process.poll() is None, "it ended"
                time.sleep(0.05)
            else:
                raise AssertionError("no socket")
        finally:
            process.terminate()
            process.wait(15)


@pytest.mark.parametrize(
    ("given", "passed_on"),
    [
        (["lifeline", "--config", "f"], ["--config", "f"]),
        (["--config", "f", "lifeline"], ["--config", "f"]),
        (["--config=f", "lifeline"], ["--config=f"]),
        (["lifeline"], []),
        (["lifeline", "--help"], None),
        (["status", "--config", "lifeline"], None),
        (["--config", "lifeline", "status"], None),
        ([], None),
    ],
)
def test_only_the_lifeline_goes_its_own_way(given: list[str], passed_on: list[str] | None) -> None:
    assert lifeline_arguments(given) == passed_on


def test_the_lifeline_loads_no_library_but_the_standard_one(config: Path) -> None:
    program = (
        "import sys; before = set(sys.modules); sys.argv = ['edgenode', 'lifeline', '--config', "
        f"'{config}.absent']\n"
        "from edgenode.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 2\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(loaded - set(sys.stdlib_module_names) - before))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30
    )
    assert shown.stdout.strip() == "['edgenode']", shown.stderr
