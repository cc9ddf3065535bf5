"""Load the configuration: syntax, schema, rules across sections, files; all problems at once."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgenode import regularfile
from edgenode.config import includes, prune, rules, secrets
from edgenode.config.errors import ConfigError, KeyPath, Problem
from edgenode.config.locate import index, line_of
from edgenode.config.refusals import known_keys, schema_problems
from edgenode.config.schema import Config

_BYTE_ORDER_MARK = "\ufeff"
_AT = re.compile(r"at line (\d+)")


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
        what = f"is no TOML: {error}{_twice(text, line, str(error))}"
        raise ConfigError(source, [Problem((), what, line=line)]) from None
    except ValueError:  # not of TOML's: Python's bound on the digits that it takes
        raise ConfigError(source, [Problem((), "has a number of too many digits")]) from None
    except RecursionError:
        raise ConfigError(source, [Problem((), "is no TOML for us: nested too deeply")]) from None


def _twice(text: str, line: int | None, error: str) -> str:
    """The remedy where a key or a table stands there a second time."""
    if line is None or not any(each in error for each in ("Cannot overwrite", "Cannot declare")):
        return ""
    again = text.splitlines()[line - 1].partition("#")[0].partition("=")[0].strip()
    what = f"; {again} stands above already, as a key or a table: write it once"
    if again == "[steering.access_log]":
        what += ', with the file of `access_log = "…"` as its key `file`'
    return what


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
            path for path in refused if isinstance(path[-1], int) or path[-1] in known_keys(path)
        ]
        return [problem for problem in found if prune.believable(problem, damage)]
