"""What the schema refuses, in sentences: what stands there, and what would be right. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, BeforeValidator, ValidationError
from pydantic.fields import FieldInfo

from edgenode.config.errors import KeyPath, Problem
from edgenode.config.schema import Config

_CHECK_TYPES = {"tcp", "tls", "http", "dns", "exec"}


def schema_problems(error: ValidationError, root: type[BaseModel] = Config) -> Iterator[Problem]:
    """What the schema says, in sentences. `root`: of the file."""
    for item in error.errors(include_url=False):
        key = _key(item["loc"])
        if item["type"] == "too_short" and item["input"]:
            continue  # it counts the items that are right, and those that are not speak themselves
        yield Problem(
            key, _sentence(key, item["type"], item["msg"], item.get("ctx"), item["input"], root)
        )


def _key(loc: tuple[int | str, ...]) -> KeyPath:
    """pydantic puts the tag of a union into the path; the operator never wrote it there."""
    return tuple(
        part
        for position, part in enumerate(loc)
        if not (part in _CHECK_TYPES and position == 2 and loc[0] == "checks")
    )


def _sentence(
    key: KeyPath, kind: str, message: str, context: Any, value: object, root: type[BaseModel]
) -> str:
    match kind:
        case "extra_forbidden" if key[-1] in known_keys(key, root):
            # Of a check, whose kinds have keys of their own.
            return "is no key of this type; see docs/configuration.md"
        case "extra_forbidden":
            near = difflib.get_close_matches(str(key[-1]), known_keys(key, root), 1, 0.6)
            known = f'did you mean "{near[0]}"?' if near else _known_sentence(key, root)
            return f"unknown key; {known}"
        case "missing":
            return "is missing"
        case "tuple_type":
            return f"{_shown(value)} is not right: write a list, with [ and ] around it"
        case "bool_type":
            return f"{_shown(value)} is not right: write true or false, without quotes"
        case "string_type":
            return f"{_shown(value)} is not right: write a text, with quotes around it"
        case "path_type":
            return f'{_shown(value)} is not right: write a path from /, as "/etc/edgenode/…"'
        case "literal_error":
            return f"{_shown(value)} is not right: write {_choices(context['expected'])}"
        case kind if kind.startswith(("int_", "float_", "greater_than", "less_than")):
            return f"{_shown(value)} is not right: write {_number(key, kind, root)}"
        case "model_type":
            keys = ", ".join(known_keys((*key, ""), root))
            return (
                f"{_shown(value)} is not right: write a table, {{ KEY = … }}, with keys of {keys}"
            )
        case "too_short":
            return "is empty: write at least one"
        case "value_error":
            reason = str(context["error"]) if context else message
            return f"{_shown(value)} is not right: {reason}"
        case "string_pattern_mismatch" if key[-1] in {"name", "group"} or len(key) > 1:
            return f"{_shown(value)} is not right: it must match {context['pattern']}"
        case "union_tag_invalid" | "union_tag_not_found":
            return f"type must be one of {', '.join(sorted(_CHECK_TYPES))}"
        case _:
            return f"{_shown(value)} is not right: {message[0].lower()}{message[1:]}"


def _choices(expected: str) -> str:
    """As the file has them: pydantic puts ' around."""
    return expected.replace("'", '"')


def _number(key: KeyPath, kind: str, root: type[BaseModel]) -> str:
    """What number would be right, as `a whole number from 1 to 100, without quotes or unit`."""
    name = next(part for part in reversed(key) if isinstance(part, str))
    fields = [model.model_fields.get(name) for model in _models_at(key, root)]
    said = [each for field in fields if field for each in stated(field)]
    duration = any(isinstance(each, BeforeValidator) for each in said)
    what = "a duration" if duration else "a whole number" if int in said else "a number"
    unit = " s" if duration else ""
    above, least, most = (
        [f"{getattr(each, bound)}{unit}" for each in said if hasattr(each, bound)]
        for bound in ("gt", "ge", "le")
    )
    if least and most:
        what += f" from {least[-1]} to {most[-1]}"
    elif above or least or most:
        named = ("above", above), ("at least", least), ("at most", most)
        what += ", " + " and ".join(f"{word} {found[-1]}" for word, found in named if found)
    return f"{what}, without quotes or unit" if kind.startswith(("int_", "float_")) else what


def stated(field: FieldInfo) -> Iterator[object]:
    """The types and bounds of a key, those inside of its type (`Rate | None`) too."""
    yield from field.metadata
    found = [field.annotation]
    while found:
        one = found.pop()
        yield from one.metadata if isinstance(one, FieldInfo) else [one]
        found += get_args(one)


def _shown(value: object) -> str:
    plain = value if isinstance(value, str) else repr(value)
    shown = _without_password(plain.lower() if isinstance(value, bool) else plain)
    text = f'"{shown}"' if isinstance(value, str) else shown
    text = text if len(text) <= 60 else f"{text[:57]}…"
    # What a terminal would obey is spelled out.
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _without_password(text: str) -> str:
    """What is refused is shown; of a URL, or a piece of one, not who would log in."""
    before, _, after = text.rpartition("@")
    if ":" not in before:
        return text
    scheme, _, _ = before.partition("//")
    return f"{scheme}//…@{after}" if scheme.endswith(("http:", "https:")) else f"…@{after}"


def _known_sentence(key: KeyPath, root: type[BaseModel]) -> str:
    known = known_keys(key, root)
    return f"known here: {', '.join(known)}" if known else "no key is known here"


def known_keys(key: KeyPath, root: type[BaseModel] = Config) -> list[str]:
    """The keys that the schema knows beside the one at `key`."""
    return sorted({name for model in _models_at(key, root) for name in model.model_fields})


def _models_at(key: KeyPath, root: type[BaseModel]) -> set[type[BaseModel]]:
    """The tables, of one kind or several, in which `key` may stand."""
    models: set[type[BaseModel]] = {root}
    for part in [part for part in key if isinstance(part, str)][:-1]:
        found: set[type[BaseModel]] = set()
        for model in models:
            if field := model.model_fields.get(part):
                found |= _models_in(field.annotation)
        models = found
    return models


def _models_in(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {model for inner in get_args(annotation) for model in _models_in(inner)}
