"""What is said of a change, and what is not: secrets."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.config import Config
from edgenode.config.difference import (
    FIXED,
    HIDDEN,
    _shown,
    difference,
    elsewhere,
    needs_restart,
)

RAW: dict[str, Any] = {
    "node": {"name": "lon1"},
    "bgp": {
        "asn": 64700,
        "router_id": "198.51.100.161",
        "neighbors": [{"name": "transit", "address": "198.51.100.2", "asn": 64601}],
    },
    "lifeline": {},
    "groups": [
        {"name": "web", "prefixes": ["203.0.113.0/24"], "checks": ["nginx"]},
        {"name": "dns", "prefixes": ["192.0.2.0/24"]},
    ],
    "checks": [{"name": "nginx", "type": "http", "url": "http://192.0.2.1/"}],
    "mesh": {"addresses": ["198.51.100.193"]},
    "steering": {"workers": 2},
}


def changed(path: str, value: object) -> Config:
    """The configuration with one value another one; None removes it."""
    raw = copy.deepcopy(RAW)
    *way, last = path.split("/")
    place: Any = raw
    for part in way:
        place = place[int(part)] if part.isdigit() else place[part]
    key = int(last) if last.isdigit() else last
    if value is None:
        del place[key]
    else:
        place[key] = value
    return Config.model_validate(raw)


BASE = Config.model_validate(RAW)


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("bgp/hold_time", "30s", "+ bgp.hold_time: 30.0"),
        ("groups/0/checks", [], '~ groups[web].checks: ["nginx"] → []'),
        ("groups/1", None, '- groups[dns].prefixes: ["192.0.2.0/24"]'),
        ("steering/workers", 3, "~ steering.workers: 2 → 3"),
        (
            "checks/0/url",
            "http://192.0.2.1/x",
            '~ checks[nginx].url: "http://192.0.2.1:80/" → "http://192.0.2.1:80/x"',
        ),
    ],
)
def test_a_line_for_each_change(path: str, value: object, line: str) -> None:
    assert difference(BASE, changed(path, value)) == [line]


def test_nothing_changes() -> None:
    raw = copy.deepcopy(RAW)
    raw["groups"].reverse()
    assert difference(BASE, Config.model_validate(raw)) == []


@given(st.text(min_size=8))
def test_secrets_are_hidden(secret: str) -> None:
    for key in ("x.password", "checks[a].headers.X-Any", "a.secret", "b.api_token"):
        assert _shown(key, secret) == HIDDEN
        assert _shown(key, [secret]) == f"[{HIDDEN}]" or _shown(key, [secret]) == HIDDEN
    assert _shown("bgp.neighbors[a].password_file", "/etc/x") == '"/etc/x"'
    assert _shown("checks[a].url", "http://me:word@h/") == f'"http://{HIDDEN}@h/"'


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["/bin/x", "--password", "word", "y"], '"/bin/x", "--password", (hidden), "y"'),
        (["/bin/x", "--api-token=word"], '"/bin/x", "--api-token=(hidden)"'),
        (["/bin/x", "PGPASSWORD=word x"], '"/bin/x", "PGPASSWORD=(hidden)"'),
        (["/bin/x", "-H", "X-Any: word"], '"/bin/x", "-H", (hidden)'),
        (["/bin/x", "Authorization: Bearer word"], '"/bin/x", "Authorization: (hidden)"'),
        (
            ["/bin/x", "https://h/?a=word&b=word#c"],
            '"/bin/x", "https://h/?a=(hidden)&b=(hidden)#c"',
        ),
        (["/bin/x", "https://me:word@h/"], '"/bin/x", "https://(hidden)@h/"'),
        (["/bin/x", "-w", "5", "--retries=3"], '"/bin/x", "-w", "5", "--retries=3"'),
    ],
)
def test_secrets_in_arguments_are_hidden(command: list[str], shown: str) -> None:
    assert _shown("checks[a].command", command) == f"[{shown}]"


def test_the_values_of_a_query_are_hidden() -> None:
    old, new = (changed("checks/0/url", f"http://192.0.2.1/x?key={v}") for v in ("word", "sesame"))
    (line,) = difference(old, new)
    assert line.startswith('~ checks[nginx].url: "http://192.0.2.1:80/x?key=(hidden)"')
    assert "word" not in line
    assert "sesame" not in line


@pytest.mark.parametrize(
    ("path", "value", "unit"),
    [
        ("node/name", "ams1", "edgenode.target"),
        ("node/state_dir", "/srv", "edgenode.target"),
        ("lifeline/grace", "1s", "edgenode-lifeline edgenode-control"),
        ("bgp/socket", "/run/other.ctl", "edgenode-control"),
        ("mesh/device", "wg7", "edgenode-mesh edgenode-control"),
        ("mesh", None, "edgenode-mesh edgenode-control"),
    ],
)
def test_what_needs_a_restart_names_the_units(path: str, value: object, unit: str) -> None:
    (sentence,) = needs_restart(BASE, changed(path, value))
    assert sentence.startswith(path.replace("/", "."))
    assert sentence.endswith(f"systemctl restart {unit}")


def test_what_does_not_need_one() -> None:
    assert needs_restart(BASE, changed("bgp/asn", 64799)) == []
    (sentence,) = elsewhere(BASE, changed("steering/workers", 4))
    assert sentence.startswith("steering.workers takes effect when edgenode-steering is restarted")
    assert elsewhere(BASE, changed("steering/outliers", {"failures": 3})) == []
    assert elsewhere(BASE, changed("bgp/asn", 64799)) == []


def test_each_fixed_key_exists() -> None:
    for key in FIXED:
        section, name = key.split(".")
        field: Any = Config.model_fields[section].annotation
        models = [m for m in (field, *getattr(field, "__args__", ())) if hasattr(m, "model_fields")]
        assert any(name in model.model_fields for model in models), key
