"""Rules on [registry], and on regions whose workers may come from it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from edgenode.config.errors import KeyPath, Problem
from edgenode.config.registry import Access
from edgenode.config.schema import Config


def check(config: Config) -> Iterator[Problem]:
    """What is wrong with [registry], and which region has no worker from anywhere."""
    if config.registry is None:
        for r, region in enumerate(config.regions):
            if not region.workers:
                yield Problem(
                    ("regions", r, "workers"),
                    f'region "{region.name}" has no worker: name one, or have them register '
                    "themselves ([registry])",
                    depends=("registry",),
                )
        return
    yield from access(config.registry, ("registry",))
    linger, hold = config.registry.linger, config.registry.hold
    if hold < linger:
        yield Problem(
            ("registry", "hold"),
            f"{hold:g} s is shorter than linger ({linger:g} s): where most workers' records go at "
            "once, they are to stay for longer than one does",
        )
    if not config.regions:
        what = "workers register for regions: name them in [[regions]]"
        yield Problem(("registry",), what, depends=("regions",))
    for position, url in enumerate(config.registry.endpoints):
        address = url.address
        for g, group in enumerate(config.groups):
            for p, prefix in enumerate(group.prefixes):
                if address and address.version == prefix.version and address in prefix:
                    yield Problem(
                        ("registry", "endpoints", position),
                        f"{address} is in a prefix that is announced here ({prefix}): its "
                        "blackhole would cut it off",
                        depends=("groups", g, "prefixes", p),
                    )


def access(settings: Access, at: KeyPath) -> Iterator[Problem]:
    """What does not go together in how etcd is reached."""
    if (settings.user is None) != (settings.password_file is None):
        missing = "password_file" if settings.password_file is None else "user"
        yield Problem((*at, missing), "is missing: user and password_file go together")
    if (settings.cert_file is None) != (settings.key_file is None):
        missing = "key_file" if settings.key_file is None else "cert_file"
        yield Problem((*at, missing), "is missing: cert_file and key_file go together")
    plain = [p for p, url in enumerate(settings.endpoints) if not url.tls]
    named = [
        name for name in ("ca_file", "cert_file", "key_file") if getattr(settings, name) is not None
    ]
    if plain and named:
        yield Problem(
            (*at, "endpoints", plain[0]),
            f"{settings.endpoints[plain[0]]} is no https, for which {named[0]} is meant",
        )
    for p in plain:
        address = settings.endpoints[p].address
        if settings.user is not None and not (address and address.is_loopback):
            yield Problem(
                (*at, "endpoints", p),
                f"{settings.endpoints[p]} would carry the password in the clear: write https",
            )
    for p, url in enumerate(settings.endpoints):
        if url in settings.endpoints[:p]:
            yield Problem((*at, "endpoints", p), f"{url} stands here twice")
