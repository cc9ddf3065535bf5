"""The configuration of a worker's host (TOML): who it is, and where it registers itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from edgenode.config import registryrules, secrets
from edgenode.config.errors import ConfigError, Problem
from edgenode.config.load import located, parsed, read
from edgenode.config.refusals import schema_problems
from edgenode.config.registry import Access
from edgenode.config.schema import Limited
from edgenode.config.section import Argument
from edgenode.config.values import AddressField, Duration, FilePath, Name

DEFAULT = Path("/etc/edgenode/worker.toml")


class WorkerHost(Limited):
    """What `edgenode worker` reads."""

    region: Name
    name: Name
    """Unique among all workers of the fleet."""
    addresses: Annotated[tuple[AddressField, ...], Field(min_length=1, max_length=8)]
    """Mesh addresses of this host, the preferred family first."""
    weight: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1
    state_dir: FilePath = Path("/var/lib/edgenode-worker")
    """This machine's identity, made at the first start; and whether it is draining."""
    lease: Annotated[Duration, Field(ge=2, le=3600)] = 15.0
    """Seconds without a sign of life after which etcd removes the record."""
    report_interval: Annotated[Duration, Field(ge=1, le=3600)] = 5.0
    """Seconds between two reports of how busy it is, at least."""
    load_command: tuple[Argument, ...] = ()
    """Prints a number, 1.0 for busy; absent: load average by cores."""
    drain_time: Annotated[Duration, Field(le=86400)] = 30.0
    """Seconds between the drain and the end of its record, when it is told to stop."""
    registry: Access


def load_worker(path: Path) -> WorkerHost:
    """Read and check it, and the files that it names. Raises ConfigError."""
    text = read(path)
    raw = parsed(text, path)
    try:
        host = WorkerHost.model_validate(raw)
    except ValidationError as error:
        problems = list(schema_problems(error, WorkerHost))
    else:
        problems = list(_problems(host))
        if not problems:
            return host
    raise ConfigError(path, located(problems, text))


def _problems(host: WorkerHost) -> Iterator[Problem]:
    if host.soft_limit and host.hard_limit and host.soft_limit > host.hard_limit:
        yield Problem(("soft_limit",), f"is above hard_limit ({host.hard_limit})")
    for position, address in enumerate(host.addresses):
        if address in host.addresses[:position]:
            yield Problem(("addresses", position), f"{address} stands here twice")
    yield from registryrules.access(host.registry, ("registry",))
    yield from secrets.registry(host.registry, ("registry",))
