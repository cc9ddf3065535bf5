"""The configuration: what is accepted, and what an operator is told about what is not."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.config import Config, ConfigError, Endpoint, load, loads, read_essentials
from edgenode.config.locate import index
from edgenode.config.values import parse_duration

GOOD = """
[node]
name = "lon1"

[bgp]
asn = 64700
router_id = "198.51.100.1"
[[bgp.neighbors]]
name = "transit-v4"
address = "198.51.100.3"
asn = 64601
[[bgp.neighbors]]
name = "transit-v6"
address = "2001:db8:1::3"
asn = 64601

[[groups]]
name = "web"
prefixes = ["203.0.113.0/24", "2001:db8:113::/48"]
addresses = ["203.0.113.1", "2001:db8:113::1"]
checks = ["steering"]

[[groups]]
name = "static"
prefixes = ["192.0.2.0/24"]
addresses = ["192.0.2.1"]
checks = ["nginx"]

[[checks]]
name = "steering"
type = "tcp"
target = "203.0.113.1:80"

[[checks]]
name = "nginx"
type = "http"
url = "http://192.0.2.1/health"

[[services]]
name = "web"
group = "web"
listen = ["203.0.113.1:80", "[2001:db8:113::1]:80"]
regions = ["fra"]
port = 8080

[[regions]]
name = "fra"
[[regions.workers]]
name = "fra-1"
addresses = ["198.51.100.201"]

[mesh]
addresses = ["198.51.100.193"]
[[mesh.peers]]
name = "fra"
public_key = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
endpoint = "198.51.100.41:51820"
allowed = ["198.51.100.200/29"]
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loads(text, Path("edge.toml"))
    return caught.value.lines()


def change(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


def test_a_good_configuration_loads_with_its_types() -> None:
    config = loads(GOOD)
    assert config.services[0].listen[1] == Endpoint.parse("[2001:db8:113::1]:80")
    assert config.checks[0].interval == 1.0
    assert [str(p) for p in config.groups[0].prefixes] == ["203.0.113.0/24", "2001:db8:113::/48"]


@pytest.mark.parametrize(
    ("old", "new", "key", "what"),
    [
        ("192.0.2.0/24", "203.0.113.128/25", "groups[1].prefixes[0]", "overlaps"),
        ("192.0.2.0/24", "192.0.2.7/24", "groups[1].prefixes[0]", 'write "192.0.2.0/24"'),
        ("192.0.2.0/24", "0.0.0.0/0", "groups[1].prefixes[0]", "default route"),
        ('["nginx"]', '["ngnix"]', "groups[1].checks[0]", 'did you mean "nginx"'),
        ('regions = ["fra"]', 'regions = ["fra", "iad"]', "services[0].regions[1]", '"iad"'),
        ('"192.0.2.1"]', '"198.51.100.77"]', "groups[1].addresses[0]", "not inside"),
        ('"[2001:db8:113::1]:80"]', '"203.0.113.1:80"]', "services[0].listen[1]", "already"),
        ("port = 8080", "prot = 8080\nport = 8080", "services[0].prot", 'did you mean "port"'),
        ('type = "tcp"', 'type = "tpc"', "checks[0]", "dns, exec, http, tcp, tls"),
        ("asn = 64700", 'asn = "x"', "bgp.asn", "whole number"),
        ("asn = 64700", "asn = 0", "bgp.asn", "RFC 7607"),
        ("asn = 64700", "asn = 65535", "bgp.asn", "RFC 7300"),
        ("asn = 64601", "asn = 23456", "bgp.neighbors[0].asn", "RFC 6793"),
        ("asn = 64601", "asn = 4294967295", "bgp.neighbors[0].asn", "RFC 7300"),
        ("asn = 64601", "asn = 4294967296", "bgp.neighbors[0].asn", "from 0 to 4294967295"),
        ("[node]", '[node]\nrun_dir = "run"', "node.run_dir", "write it from /"),
        ("[[checks]]", '[[checks]]\ninterval = "9ms"', "checks[0].interval", "0.01"),
        (
            'name = "fra"',
            'name = "fra"\nprobe = {interval = 0.001}',
            "regions[0].probe.interval",
            "0.01",
        ),
        ('"http://192.0.2.1/health"', '"http://example.net/"', "checks[1].url", "an address"),
        ("AgI=", "AA", "mesh.peers[0].public_key", "WireGuard key"),
        ('"198.51.100.200/29"', '"0.0.0.0/0"', "mesh.peers[0].allowed[0]", "default route"),
        (
            '"198.51.100.201"',
            '"198.51.100.9"',
            "regions[0].workers[0].addresses[0]",
            "no mesh peer",
        ),
        ('name = "static"', 'name = "web"', "groups[1].name", "already defined"),
        ('"2001:db8:1::3"', '"198.51.100.4"', "groups[0].prefixes[1]", "no neighbor has an IPv6"),
        ('"203.0.113.1:80"\n', '"203.0.113.1:x"\n', "checks[0].target", "192.0.2.1:80"),
    ],
)
def test_bad_values_are_named_with_key_and_remedy(old: str, new: str, key: str, what: str) -> None:
    lines = problems(change(old, new))
    assert any(f": {key}: " in line and what in line for line in lines), lines
    assert all(line.startswith("edge.toml:") for line in lines)


def test_the_line_of_the_error_is_the_files() -> None:
    (line,) = problems(change("192.0.2.0/24", "192.0.2.7/24"))
    number = int(line.split(":")[1])
    assert "192.0.2.0/24" in GOOD.splitlines()[number - 1]


def test_all_errors_come_at_once_schema_and_rules_alike() -> None:
    text = (
        GOOD.replace("port = 8080", "prot = 1\nport = 8080")
        .replace("192.0.2.0/24", "203.0.113.0/25")
        .replace("asn = 64601", "asn = 0", 1)
        .replace('regions = ["fra"]', 'regions = ["frq"]')
    )
    lines = problems(text)
    for key in ("services[0].prot", "groups[1].prefixes[0]", "neighbors[0].asn", "regions[0]"):
        assert any(key in line for line in lines), (key, lines)


def test_a_refused_value_does_not_echo_through_the_rules() -> None:
    lines = problems(change('"203.0.113.1", "2001', '"203.0.113.999", "2001'))
    assert len(lines) == 1, lines


def test_no_toml_and_no_file_are_one_sentence(tmp_path: Path) -> None:
    assert "is no TOML" in problems("node = [")[0]
    assert ":2: is no TOML" in problems("a = 1\nb = 2 3")[0]
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "absent.toml")


def test_deep_nesting_is_one_sentence() -> None:
    assert "nested too deeply" in problems(f"a = {'[' * 9000}{']' * 9000}")[0]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    secret = tmp_path / "md5"
    secret.write_text("correct horse\n")
    secret.chmod(mode)
    text = change("asn = 64601", f'asn = 64601\npassword_file = "{secret}"')
    (line,) = problems(text)
    assert "password_file" in line
    assert "chmod 600" in line
    secret.chmod(0o600)
    config = loads(text)
    assert "correct horse" not in repr(config)


def test_a_group_that_nothing_would_withdraw_is_refused() -> None:
    assert any("ever withdraw" in line for line in problems(change('checks = ["nginx"]', "")))


@given(st.integers(0, 10**6), st.sampled_from(["ms", "s", "m", "h"]))
def test_durations_mean_what_they_say(number: int, unit: str) -> None:
    factor = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]
    if number * factor <= 365 * 86400:
        assert parse_duration(f"{number}{unit}") == pytest.approx(number * factor)


@pytest.mark.parametrize("value", ["", "3", "s", "-1s", "1 s", "1s2", True, -1, float("nan")])
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="write a duration"):
        parse_duration(value)


@given(st.text(max_size=300))
def test_no_text_crashes_the_loader(text: str) -> None:
    with pytest.raises(ConfigError):
        loads(text)


def _leaves(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in _leaves(item, (*path, key))]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [leaf for n, item in enumerate(value) for leaf in _leaves(item, (*path, n))]
    return [path]


def test_every_key_of_a_file_has_its_line() -> None:
    lines = index(GOOD)
    for path in _leaves(tomllib.loads(GOOD)):
        assert path in lines, path
        assert str(path[-1]) in GOOD.splitlines()[lines[path] - 1]


def test_root_reads_no_foreign_exception(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "md5"
    secret.write_text("two\nlines\n")
    secret.chmod(0o600)
    check: Callable[[str], list[str]] = problems
    (line,) = check(change("asn = 64601", f'asn = 64601\npassword_file = "{secret}"'))
    assert "one line" in line
    assert "two" not in line.replace(os.fspath(secret), "")


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_number_of_many_digits_is_one_sentence(digits: int) -> None:
    text = f"{GOOD}\n[[hooks]]\nname = 'h'\ncommand = ['true']\ntimeout = {'9' * digits}\n"
    (line,) = problems(text)
    assert "between 0 and a year" in line or "too many digits" in line
    assert len(line) < 200


def test_what_a_terminal_would_obey_is_spelled_out() -> None:
    (line,) = [
        p for p in problems(GOOD + '\n[lifeline]\ngrace = "\\u001b[2J\\n"\n') if "grace" in p
    ]
    assert line.isprintable()


@pytest.mark.parametrize("damage", ["n = " + "9" * 5000, "n = " + "[" * 5000])
def test_an_emergency_finds_what_it_needs_beside_whatever_damage(
    tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "edgenode.toml"
    path.write_text(f'{damage}\n[bgp]\nsocket = "/run/other.ctl"\n[[groups]]\nname = "web"\n')
    found = read_essentials(path)
    assert (str(found.bird_socket), found.groups) == ("/run/other.ctl", ("web",))
    assert found.problem


def test_the_configuration_is_frozen() -> None:
    config: Config = loads(GOOD)
    with pytest.raises(Exception, match="frozen"):
        config.node.name = "x"  # type: ignore[misc]
