"""The records in etcd: their keys, their values, and reading what anybody may have written there.

Below the prefix, ``workers/REGION/NAME`` says where a worker is; ``load/REGION/NAME`` how busy it
was when it last said so. Both hang on the lease of that worker's host. Load has a key of its own
because it changes all the time: whoever watches the workers is not woken by it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Self, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from edgenode.config.schema import Limited, Worker
from edgenode.config.section import Section
from edgenode.config.values import AddressField, Name
from edgenode.logs import one_line

MAX_VALUE = 4096
"""Bytes of a record: a worker's has some hundred."""
MAX_ADDRESSES = 8

Identity = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/=_.:-]{8,64}$")]
"""What tells a machine from another one with its name: a UUID, or a public key."""

_NAME = TypeAdapter(Name)
_M = TypeVar("_M", bound=Section)


class RecordError(ValueError):
    """A record cannot be used; the text says why."""


class Record(Limited):
    """A worker as it registered itself: the value of ``workers/REGION/NAME``, as JSON."""

    model_config = ConfigDict(extra="ignore")  # a newer worker may say more

    identity: Identity
    addresses: Annotated[tuple[AddressField, ...], Field(min_length=1, max_length=MAX_ADDRESSES)]
    """Mesh addresses, the preferred family first."""
    weight: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1

    @model_validator(mode="after")
    def _limits(self) -> Self:
        if self.soft_limit and self.hard_limit and self.soft_limit > self.hard_limit:
            raise ValueError("soft_limit is above hard_limit")
        return self

    def render(self) -> bytes:
        """As it lies in etcd."""
        return self.model_dump_json(exclude_defaults=True).encode()


class Load(Section):
    """How busy a worker is: the value of ``load/REGION/NAME``, as JSON."""

    model_config = ConfigDict(extra="ignore")

    load: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
    """1.0: all of it is busy, as with a load average of as many as there are cores."""
    at: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Unix time of the worker's clock."""

    def render(self) -> bytes:
        """As it lies in etcd."""
        return self.model_dump_json().encode()


@dataclass(frozen=True, order=True)
class WorkerId:
    """Whose record it is."""

    region: str
    name: str

    def __str__(self) -> str:
        return f"{self.region}/{self.name}"


@dataclass(frozen=True)
class Layout:
    """Where the records lie below a prefix."""

    prefix: str

    @property
    def workers(self) -> str:
        """What the keys of all workers begin with."""
        return f"{self.prefix}/workers/"

    @property
    def loads(self) -> str:
        """What the keys of all loads begin with."""
        return f"{self.prefix}/load/"

    def worker(self, who: WorkerId) -> str:
        """The key of one worker's record."""
        return f"{self.workers}{who}"

    def load(self, who: WorkerId) -> str:
        """The key of one worker's load."""
        return f"{self.loads}{who}"

    def who(self, key: str) -> WorkerId:
        """Whose record a key is of. Raises RecordError."""
        below = self.loads if key.startswith(self.loads) else self.workers
        parts = key.removeprefix(below).split("/")
        if len(parts) != 2:
            raise RecordError("its key is not of the form workers/REGION/NAME")
        for part in parts:
            try:
                _NAME.validate_python(part)
            except ValidationError:
                raise RecordError(f"{_shown(part)} in its key is no name (a-z, 0-9, -)") from None
        return WorkerId(*parts)


def parse(value: bytes) -> Record:
    """A worker's record. Raises RecordError, with a short sentence that is safe to print."""
    found = _parsed(value)
    if isinstance(found, str):
        raise RecordError(found)
    return found


@lru_cache(maxsize=32768)
def _parsed(value: bytes) -> Record | str:
    """Remembered, too, is what is wrong with one: there may be thousands of those."""
    try:
        return _parse(Record, value)
    except RecordError as error:
        return str(error)


def parse_load(value: bytes) -> Load:
    """A worker's load. Raises RecordError."""
    return _parse(Load, value)


@lru_cache(maxsize=32768)
def as_worker(who: WorkerId, record: Record) -> Worker:
    """As the configuration would have it."""
    return Worker(name=who.name, **record.model_dump(exclude={"identity"}, exclude_unset=True))


def _parse(model: type[_M], value: bytes) -> _M:
    if len(value) > MAX_VALUE:
        raise RecordError(f"it has {len(value)} bytes, more than {MAX_VALUE}")
    try:
        return model.model_validate_json(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        if first["type"] == "json_invalid":
            raise RecordError(f"it is no JSON ({_shown(value)})") from None
        where = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        raise RecordError(_one_line(f"{where}: {what}" if where else what)) from None


def _shown(value: bytes | str) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return f'"{_one_line(text[:41] if len(text) <= 40 else text[:40] + "…")}"'


def _one_line(text: str) -> str:
    """What a terminal would obey is spelled out."""
    plain = re.sub(r"\s+", " ", text)[:200]
    return one_line(plain)
