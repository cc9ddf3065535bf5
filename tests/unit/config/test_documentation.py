"""The documented configuration is a right one, and its defaults are the schema's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from edgenode.config import Config, loads
from edgenode.config.refusals import stated
from edgenode.config.steering import (
    AccessLog,
    Dialing,
    Outliers,
    Service,
    ServiceLimits,
    Steering,
)

DOCUMENT = Path(__file__).parents[3] / "docs" / "configuration.md"
EXAMPLE = re.search(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.S)

ILLUSTRATIONS = {
    "maintenance_file",
    *("source", "multihop", "password_file", "file"),
    *("pin", "soft_limit", "hard_limit"),
    *("half_closed_timeout", "lifetime", "allow", "deny"),
    *("connections", "per_source", "rate", "burst", "source_rate", "source_burst"),
    *("user", "cert_file", "key_file"),
    *("fast_interval", "unix_socket", "host", "ca_file", "client_certificate", "client_key"),
    *("next_public_key", "preshared_key_file"),
}
"""What has no default, and is shown with an example value."""


def example() -> str:
    assert EXAMPLE
    return EXAMPLE[1]


def test_the_example_loads() -> None:
    assert loads(example()).node.name == "lon1"


def test_what_is_commented_out_are_the_defaults() -> None:
    plain = loads(example())
    lines = [
        re.sub(r"^# (?=\w+ = )", "", line)
        if (key := re.match(r"# (\w+) = ", line)) and key[1] not in ILLUSTRATIONS
        else line
        for line in example().splitlines()
    ]
    assert lines != example().splitlines()
    spelled = loads("\n".join(lines))
    update = {"private_key_file": plain.private_key_file}
    assert plain.mesh
    mesh = plain.mesh.model_copy(update=update)
    assert spelled == plain.model_copy(update={"mesh": mesh})


@pytest.mark.parametrize("section", [*Config.model_fields])
def test_every_key_of_the_schema_is_documented(section: str) -> None:
    def keys(model: object) -> set[str]:
        fields = getattr(model, "model_fields", {})
        found = set(fields)
        for field in fields.values():
            for inner in _models(field.annotation):
                found |= keys(inner)
        return found

    for inner in _models(Config.model_fields[section].annotation):
        for key in keys(inner):
            assert re.search(rf"\b{key}\b", example()), f"{section}: {key}"


SECTIONS: dict[str, type[BaseModel]] = {
    "": Service,
    "limits": ServiceLimits,
    "steering": Steering,
    "access_log": AccessLog,
    "outliers": Outliers,
    "dialing": Dialing,
}


@pytest.mark.parametrize("section", SECTIONS)
def test_the_bounds_of_what_is_steered_are_those_of_the_schema(section: str) -> None:
    text = DOCUMENT.read_text().partition("## Bounds of what is steered")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| (`[^|]*`) \| ([^|]*)", text, re.M))
    prefix = "" if section in ("", "limits", "steering") else f"{section}."
    for name, field in SECTIONS[section].model_fields.items():
        bounds = [
            str(value)
            for said in stated(field)
            for each in ("gt", "ge", "le")
            if (value := getattr(said, each, None)) is not None
        ]
        for bound in bounds[-2:] if name != "port" else []:
            (row,) = (row for keys, row in rows.items() if f"`{prefix}{name}`" in keys)
            assert re.search(rf"(?<![\d.]){re.escape(bound)}(?!\d)", row), (name, bound)


def _models(annotation: object) -> list[type]:
    if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
        return [annotation]
    return [m for inner in getattr(annotation, "__args__", ()) for m in _models(inner)]
