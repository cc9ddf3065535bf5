"""BIRD's program, asked about text that it does not run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgenode.bgp import offline
from edgenode.bgp.birdfiles import BirdFiles, standing
from edgenode.bgp.levels import Level
from edgenode.config import Config

MakeConfig = Callable[..., Config]
BIRD = offline.program()
needs_bird = pytest.mark.skipif(BIRD is None, reason="needs BIRD's parser")
OWN = "protocol static mine { ipv4; route 198.18.0.0/15 blackhole; }\n# naïve\n"


def with_include(make_config: MakeConfig, directory: Path, *paths: str) -> Config:
    bgp = {
        "asn": 64701,
        "router_id": "198.51.100.1",
        "config": str(directory / "edgenode.conf"),
        "include": paths,
        "neighbors": [
            {"name": "t", "address": "198.51.100.3", "asn": 64601, "password_file": "/none"},
            {"name": "t6", "address": "2001:db8:ffff::3", "asn": 64601},
        ],
    }
    return make_config(bgp=bgp)


@needs_bird
def test_what_bird_takes(make_config: MakeConfig, tmp_path: Path) -> None:
    assert BIRD
    config = with_include(make_config, tmp_path, "/etc/own.conf", "/etc/more.conf")
    assert offline.refusal(config, {}, [OWN, "# nothing\n"], BIRD) is None
    assert list(tmp_path.iterdir()) == []
    assert (offline.installed_version(BIRD) or (0,)) >= (2,)


@needs_bird
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\nprotocol static { oops }\n", 2),
        ("filter t_export { accept; }\n", 1),
        ("\n\ndefine t_password = 1;\n", 3),
        ("protocol bgp t_bgp { }\n", 1),
    ],
)
def test_what_it_refuses_is_told_by_the_operators_file(
    make_config: MakeConfig, tmp_path: Path, text: str, line: int
) -> None:
    assert BIRD
    config = with_include(make_config, tmp_path, "/etc/own.conf", "/etc/more.conf")
    why = offline.refusal(config, {"t": "secret"}, [OWN, text], BIRD)
    assert why
    assert why.startswith(f"BIRD refuses it: /etc/more.conf:{line}:"), why
    assert "secret" not in why


def test_a_program_that_cannot_be_asked_refuses_nothing(config: Config, tmp_path: Path) -> None:
    assert offline.refusal(config, {}, [], tmp_path / "none") is None
    broken = tmp_path / "bird"
    broken.write_text("#!/bin/sh\necho killed >&2\nexit 3\n")
    broken.chmod(0o755)
    assert offline.refusal(config, {}, [], broken) is None
    assert offline.installed_version(broken) is None


@pytest.mark.parametrize(
    ("version", "said"),
    [(None, False), ((2, 0, 12), False), ((2, 17, 0), True), ((3, 0, 2), False), ((3, 1, 0), True)],
)
def test_how_it_authenticates_is_said_to_those_who_ask(
    make_config: MakeConfig,
    tmp_path: Path,
    version: tuple[int, int, int] | None,
    said: bool,
) -> None:
    files = BirdFiles(with_include(make_config, tmp_path), {"t": "x"})
    files.write({}, version)
    assert ("authentication md5;" in files.path.read_text()) == said
    assert files.fingerprint in files.path.read_text(), "the same for every version"


def test_the_files_of_a_configuration(make_config: MakeConfig, tmp_path: Path) -> None:
    config = with_include(make_config, tmp_path, "/etc/own.conf", "/etc/more.conf")
    files = BirdFiles(config, {"t": "secret"}, [OWN, "# more\n"])
    assert "secret" not in repr(files)
    files.write({"web": Level.NORMAL}, None, files.candidate)
    files.write({}, None)
    candidates = {path.name for path in tmp_path.glob("edgenode-candidate*")}
    assert len(candidates) == 4
    assert 'include "edgenode-candidate-include-2.conf"' in files.candidate.read_text()
    files.remove_candidate()
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {
        "edgenode.conf": 0o644,
        "edgenode-secrets.conf": 0o640,
        "edgenode-include-1.conf": 0o640,
        "edgenode-include-2.conf": 0o640,
    }
    copy = tmp_path / "edgenode-include-1.conf"
    assert copy.read_text().splitlines()[0].endswith(OWN.splitlines()[0])
    assert copy.read_text().count("\n") == OWN.count("\n"), "BIRD counts the same lines"
    BirdFiles(with_include(make_config, tmp_path), {"t": "secret"}, []).write({}, None)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"edgenode.conf", "edgenode-secrets.conf"}


def test_what_bird_was_given_outlasts_its_sources(make_config: MakeConfig, tmp_path: Path) -> None:
    config = with_include(make_config, tmp_path, "/etc/own.conf")
    assert standing(config, frozenset()) is None
    files = BirdFiles(config, {"t": "secret"}, (OWN,))
    files.write({}, None)
    assert standing(config, frozenset()) == files
    other = with_include(make_config, tmp_path, "/etc/own.conf", "/etc/more.conf")
    assert standing(other, frozenset()) is None
    assert standing(config, frozenset({("web", "t")})) is None, "of another configuration"


def test_the_fingerprint_follows_includes_and_pairs(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = with_include(make_config, tmp_path, "/etc/own.conf")
    first = BirdFiles(config, {"t": "x"}, [OWN])
    assert BirdFiles(config, {"t": "x"}, [OWN + " "]).fingerprint != first.fingerprint
    there = first.degraded(frozenset({("web", "t")}))
    assert there.fingerprint != first.fingerprint
    assert there.degraded(frozenset()).fingerprint == first.fingerprint
