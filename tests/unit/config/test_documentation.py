"""The documented configuration is a right one, and its defaults are the schema's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgenode.config import Config, loads

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


def _models(annotation: object) -> list[type]:
    if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
        return [annotation]
    return [m for inner in getattr(annotation, "__args__", ()) for m in _models(inner)]
