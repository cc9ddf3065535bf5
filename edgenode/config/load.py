"""Load the configuration: syntax, schema, rules across sections, files; all problems at once."""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from edgenode import regularfile
from edgenode.config import includes, prune, rules, secrets
from edgenode.config.errors import ConfigError, KeyPath, Problem
from edgenode.config.locate import index, line_of
from edgenode.config.schema import Config

_BYTE_ORDER_MARK = "\ufeff"
_AT = re.compile(r"at line (\d+)")
_CHECK_TYPES = {"tcp", "tls", "http", "dns", "exec"}


def load(path: Path, *, check_secrets: bool = True) -> Config:
    """Read and check a configuration file.

    ``check_secrets=False`` leaves out the look at the files that it names (secrets, what BIRD
    includes), for a machine on which they do not lie. Raises ConfigError with everything that is
    wrong.
    """
    return loads(read(path), path, check_secrets=check_secrets)


def read(path: Path) -> str:
    """The text of a configuration file. Raises ConfigError."""
    try:
        text = regularfile.read(path).decode()
    except OSError as error:
        raise ConfigError(path, [Problem((), f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        raise ConfigError(path, [Problem((), f"is no UTF-8 text: {error}")]) from None
    if text.startswith(_BYTE_ORDER_MARK):
        what = "begins with a byte order mark (U+FEFF), as some editors write it: save it without"
        raise ConfigError(path, [Problem((), what, line=1)])
    return text


def loads(text: str, source: Path = Path("-"), *, check_secrets: bool = True) -> Config:
    """Like `load`, from text; `source` is the name that errors carry."""
    raw = parsed(text, source)

    def fail(problems: list[Problem]) -> ConfigError:
        return ConfigError(source, located(problems, text))

    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        refused = list(schema_problems(error))
        raise fail([*refused, *_rules_for_the_rest(raw, refused)]) from None
    problems = [*rules.check(config)]
    if check_secrets:
        problems += secrets.check(config)
        problems += includes.check(config)
    if problems:
        raise fail(problems)
    return config


def parsed(text: str, source: Path) -> dict[str, Any]:
    """The tables of a text. Raises ConfigError where it is no TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = _AT.search(str(error))
        line = int(at[1]) if at else None
        raise ConfigError(source, [Problem((), f"is no TOML: {error}", line=line)]) from None
    except ValueError:  # not of TOML's: Python's bound on the digits that it takes
        raise ConfigError(source, [Problem((), "has a number of too many digits")]) from None
    except RecursionError:
        raise ConfigError(source, [Problem((), "is no TOML for us: nested too deeply")]) from None


def located(problems: Iterable[Problem], text: str) -> list[Problem]:
    """With the lines of the text at which they stand."""
    lines = index(text)
    return [dataclasses.replace(p, line=line_of(p.key, lines)) for p in problems]


def _rules_for_the_rest(raw: dict[str, Any], problems: list[Problem]) -> list[Problem]:
    refused: set[KeyPath] = set()
    keys = [problem.key for problem in problems]
    while True:
        removable = {path for key in keys if (path := prune.widen(raw, key, refused))}
        if not removable - refused:
            return []  # a value that must be there was refused: nothing can be said
        refused |= removable
        try:
            config = Config.model_validate(prune.without(raw, refused))
        except ValidationError as error:
            keys = [prune.original(raw, p.key, refused) for p in schema_problems(error)]
            continue
        found = (
            dataclasses.replace(p, key=prune.original(raw, p.key, refused))
            for p in rules.check(config)
        )
        # An unknown key that was left out damages nothing.
        damage = [
            path for path in refused if isinstance(path[-1], int) or path[-1] in _known_keys(path)
        ]
        return [problem for problem in found if prune.believable(problem, damage)]


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
        case "extra_forbidden" if key[-1] in _known_keys(key, root):
            # Of a check, whose kinds have keys of their own.
            return "is no key of this type; see docs/configuration.md"
        case "extra_forbidden":
            near = difflib.get_close_matches(str(key[-1]), _known_keys(key, root), 1, 0.6)
            known = f'did you mean "{near[0]}"?' if near else _known_sentence(key, root)
            return f"unknown key; {known}"
        case "missing":
            return "is missing"
        case "tuple_type":
            return f"{_shown(value)} is not right: write a list, with [ and ] around it"
        case "model_type":
            keys = ", ".join(_known_keys((*key, ""), root))
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


def _shown(value: object) -> str:
    shown = _without_password(value if isinstance(value, str) else repr(value))
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
    known = _known_keys(key, root)
    return f"known here: {', '.join(known)}" if known else "no key is known here"


def _known_keys(key: KeyPath, root: type[BaseModel] = Config) -> list[str]:
    """The keys that the schema knows beside the one at `key`."""
    models: set[type[BaseModel]] = {root}
    for part in key[:-1]:
        if isinstance(part, str):
            found: set[type[BaseModel]] = set()
            for model in models:
                if field := model.model_fields.get(part):
                    found |= _models_in(field.annotation)
            models = found
    return sorted({name for model in models for name in model.model_fields})


def _models_in(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {model for inner in get_args(annotation) for model in _models_in(inner)}
