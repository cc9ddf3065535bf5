"""A [firewall] that would lock somebody out, or let everybody in, is refused with the remedy."""

from __future__ import annotations

import pytest

from edgenode.config import Config
from edgenode.config.rules import check
from tests.unit.firewall.test_render import RAW

MESH = {
    "addresses": ["198.51.100.193"],
    "peers": [
        {
            "name": "fra",
            "public_key": "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
            "allowed": ["198.51.100.200/29"],
        }
    ],
}


def problems(**change: object) -> list[str]:
    config = Config.model_validate({**RAW, "mesh": MESH, **change})
    return [str(problem) for problem in check(config)]


def test_the_right_one() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"management": ["0.0.0.0/0"]}, "is everybody: name the networks"),
        ({"management": ["192.0.2.0/24", "::/0"]}, "::/0 is everybody"),
        ({"management": ["203.0.113.8/29"]}, "is anycast"),
        ({"management": ["198.51.100.200/30"]}, "is behind the mesh"),
    ],
)
def test_wrong_sections(section: dict[str, list[str]], said: str) -> None:
    (found,) = problems(firewall=section)
    assert said in found


def test_nobody_to_manage_it() -> None:
    with pytest.raises(ValueError, match="management"):
        problems(firewall={"management": []})


def test_a_group_that_is_announced_and_closed() -> None:
    """No check would ever see it: they come from the node itself."""
    static = {
        "name": "static",
        "prefixes": ["192.0.2.0/24"],
        "addresses": ["192.0.2.1"],
        "checks": ["proxy"],
    }
    checks = [{"name": "proxy", "type": "tcp", "target": "192.0.2.1:80"}]
    closed = [*RAW["groups"], static]  # type: ignore[misc]
    open_ = [*RAW["groups"], static | {"ports": ["udp/53"]}]  # type: ignore[misc]
    rules = {"management": ["198.51.100.0/29"]}
    (found,) = problems(checks=checks, groups=closed, firewall=rules)
    assert "let nobody in to group static" in found
    assert problems(checks=checks, groups=open_, firewall=rules) == []
    own = rules | {"include": ["/etc/edgenode/own.nft"]}
    assert problems(checks=checks, groups=closed, firewall=own) == []
    assert problems(checks=checks, groups=closed, firewall=None) == []


@pytest.mark.parametrize(
    ("ports", "said"),
    [
        ("tcp/1-1024", ["SSH (22)", "BGP (179)"]),
        ("tcp/9000-9600", ["metrics (9500)"]),
        ("tcp/22", []),  # one that is named is meant
        ("udp/1-1024", []),
    ],
)
def test_ranges_that_open_more_than_was_thought_of(ports: str, said: list[str]) -> None:
    groups = [{**RAW["groups"][0], "ports": [ports]}]  # type: ignore[index]
    found = problems(groups=groups, metrics={"listen": "198.51.100.2:9500"})
    assert len(found) == len(said)
    assert all(what in one for what, one in zip(said, found, strict=True))
