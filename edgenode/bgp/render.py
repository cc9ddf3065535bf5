"""BIRD's configuration as text: pure, and the same text for the same input.

It is the whole configuration of the node's BIRD (2.0.12 up to 3.x). Each group has, per family,
a static protocol for each level that can stand (`levels.STANDING`); a level is brought in force by
enabling and disabling them over the control socket. What is announced is never in the kernel's
routing table: there is no kernel protocol but for a default route that is asked for.

**Graceful restart is off, both kinds.** With it a neighbor keeps the routes of a BIRD that has
died, for two minutes and more, and goes on sending users to a node that serves nobody; an anycast
node has siblings, so its routes must go as soon as the session does (measured: `kill -9` of BIRD
and a neighbor without it drops them within a millisecond).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edgenode.bgp import filters
from edgenode.bgp.client import Version
from edgenode.bgp.filters import Towards
from edgenode.bgp.levels import STANDING, Level
from edgenode.bgp.names import (
    export_name,
    import_name,
    password_name,
    session_name,
    static_name,
)
from edgenode.bgp.protocols import families
from edgenode.config import Config, Group, Neighbor
from edgenode.config.secrets import password
from edgenode.config.values import PLAIN_FILE_NAME

FINGERPRINT = "edgenode_fingerprint"
"""A constant of the configuration, so that BIRD can be asked which text it runs with."""

OURS = "# Written by edgenode"
"""How each file that we write begins."""

_BFD = (
    "\nprotocol bfd edgenode_bfd {\n"
    '  interface "*" { interval 300 ms; idle tx interval 1 s; multiplier 3; };\n'
    "  multihop { interval 300 ms; idle tx interval 1 s; multiplier 3; };\n"
    "}\n"
)
"""Three packets of 300 ms lost: what both ends of a session can keep up on a busy machine."""

_DEVICE = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_FINGERPRINT = re.compile(r"[0-9a-f]*")


def secrets_file(config_file: Path) -> Path:
    """Where the passwords are, beside the configuration that includes them."""
    return config_file.with_name(f"{config_file.stem}-secrets{config_file.suffix}")


def include_file(config_file: Path, position: int) -> Path:
    """Our copy of one of `bgp.include`, beside the configuration that includes it."""
    stem = f"{config_file.stem}-include-{position + 1}"
    return config_file.with_name(f"{stem}{config_file.suffix}")


def render(
    config: Config,
    levels: Mapping[str, Level],
    fingerprint: str = "",
    *,
    towards: Towards = frozenset(),
    version: Version | None = None,
    path: Path | None = None,
) -> str:
    """The configuration with the groups at `levels`; a group that is not there is withdrawn.

    `fingerprint` is what `configuration_fingerprint` gives; `towards` are the pairs of group and
    neighbor that are degraded there alone; `version` is BIRD's, where it is known; `path` is where
    the text will lie, if not at `bgp.config`. Raises ValueError for text that BIRD's parser would
    not take as one token.
    """
    path = path or config.bgp.config
    return _head(config, fingerprint, path) + "".join(_body(config, levels, towards, version, path))


def render_secrets(config: Config, passwords: Mapping[str, str]) -> str:
    """The file with the passwords (by neighbor). Raises ValueError, KeyError if one is missing."""
    lines = [f"{OURS}: TCP MD5 passwords.\n"]
    for neighbor in config.bgp.neighbors:
        if neighbor.password_file:
            try:
                text = password(passwords[neighbor.name])
            except ValueError as error:
                raise ValueError(f"{neighbor.password_file}: {error}") from None
            lines.append(f'define {password_name(neighbor.name)} = "{text}";\n')
    return "".join(lines)


def configuration_fingerprint(
    config: Config,
    passwords: Mapping[str, str],
    *,
    towards: Towards = frozenset(),
    includes: Sequence[str] = (),
) -> str:
    """Tells two configurations apart, whatever the present levels and BIRD's version.

    `includes`: the texts of `bgp.include`. They and the passwords go through PBKDF2: whoever may
    ask BIRD for the fingerprint must not be able to try passwords quickly.
    """
    text = render(config, {}, towards=towards)
    if passwords or includes:
        secrets = "\0".join((render_secrets(config, passwords), *includes)).encode()
        text += hashlib.pbkdf2_hmac("sha256", secrets, text.encode(), 50_000).hex()
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _head(config: Config, fingerprint: str, path: Path) -> str:
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise ValueError(f"{fingerprint!r} is no fingerprint")
    text = (
        f"{OURS}: changes made here are lost.\n"
        "# As a file everything is disabled: after a start nothing is announced until\n"
        "# edgenode has looked and enables it over the control socket.\n"
        "log stderr all;\n"
        f"router id {config.bgp.router_id};\n"
        'timeformat protocol "%Y-%m-%dT%H:%M:%S";\n'
        f'define {FINGERPRINT} = "{fingerprint}";\n'
    )
    if any(neighbor.password_file for neighbor in config.bgp.neighbors):
        text += f'include "{_file(secrets_file(path).name)}";\n'
    return text


def _body(
    config: Config,
    levels: Mapping[str, Level],
    towards: Towards,
    version: Version | None,
    path: Path,
) -> Iterator[str]:
    # Link events come by netlink at once; the scan is for one that was lost.
    yield "\nprotocol device { scan time 5; }\n"
    if any(neighbor.bfd for neighbor in config.bgp.neighbors):
        yield _BFD
    for group in config.groups:
        yield "\n"
        for family in families(group):
            yield from _statics(config, group, family, levels.get(group.name, Level.WITHDRAWN))
    yield "\n"
    for family in (4, 6):
        yield filters.prefix_set(config, family)
        if any(n.default_route and n.address.version == family for n in config.bgp.neighbors):
            yield filters.kernel_protocol(family)
    for neighbor in config.bgp.neighbors:
        yield "\n" + filters.export_filter(config, neighbor, towards)
        yield filters.import_filter(config, neighbor)
        yield _session(config, neighbor, version)
    for position in range(len(config.bgp.include)):
        # At the end: nothing of ours can be taken for the rest of what it began.
        yield f'include "{_file(include_file(path, position).name)}";\n'


def _statics(config: Config, group: Group, version: int, level: Level) -> Iterator[str]:
    via = "blackhole" if group.on_control_loss == "keep" else f'via "{_device(config)}"'
    routes = "".join(
        f"  route {prefix} {via};\n" for prefix in group.prefixes if prefix.version == version
    )
    for each, preference in STANDING.items():
        disabled = "" if each is level else "  disabled;\n"
        yield (
            f"protocol static {static_name(group.name, version, each)} {{\n"
            f"{disabled}"
            f"  ipv{version} {{ preference {preference}; }};\n"
            f"{routes}"
            "}\n"
        )


def _session(config: Config, neighbor: Neighbor, version: Version | None) -> str:
    bgp = config.bgp
    hold = max(3, round(neighbor.hold_time or bgp.hold_time))
    options = [
        f"local {neighbor.source} as {bgp.asn}" if neighbor.source else f"local as {bgp.asn}",
        f"neighbor {neighbor.address} as {neighbor.asn}",
        f"multihop {neighbor.multihop}" if neighbor.multihop else "direct",
        f"hold time {hold}",
        f"keepalive time {max(1, hold // 3)}",
        # What the filter makes of a route goes out as it is: MED too (see `filters`).
        "rs client",
        "connect delay time 1",
        "connect retry time 5",
        "error wait time 1, 30",
        # A neighbor must drop the routes of a BIRD that has died, not keep them for its return.
        "graceful restart off",
        "long lived graceful restart off",
    ]
    if neighbor.ttl_security:
        options.append("ttl security on")
    if neighbor.bfd:
        options.append("bfd on")
    if neighbor.last_site_view:
        # Our other sites have our AS number in their paths: to look at, they have to come in.
        options.append("allow local as")
    if neighbor.password_file:
        options.append(f"password {password_name(neighbor.name)}")
        if version and _says_how_it_authenticates(version):
            options.append("authentication md5")
    lines = "".join(f"  {option};\n" for option in options)
    imports = "    import none;\n"
    if limit := filters.import_limit(config, neighbor):
        # Blocked, and not restarted or disabled: the session carries our announcements.
        imports = (
            f"    import filter {import_name(neighbor.name)};\n"
            f"    import limit {limit} action block;\n"
        )
    if neighbor.last_site_view:
        imports += "    add paths rx;\n"
    return (
        f"protocol bgp {session_name(neighbor.name)} {{\n"
        f"{lines}"
        f"  ipv{neighbor.address.version} {{\n"
        f"{imports}"
        f"    export filter {export_name(neighbor.name)};\n"
        # What was sent can be seen then, and not only what the filter would give.
        "    export table on;\n"
        "    next hop self;\n"
        "  };\n"
        "}\n"
    )


def _says_how_it_authenticates(version: Version) -> bool:
    """BIRD 2.17 and 3.1 warn where it is not said; older ones do not know the words."""
    return version >= (3, 1) or (2, 17) <= version < (3,)


def _device(config: Config) -> str:
    if not _DEVICE.fullmatch(config.lifeline.device):
        raise ValueError(f"{config.lifeline.device!r} is no device name")
    return config.lifeline.device


def _file(name: str) -> str:
    if not PLAIN_FILE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} (bgp.config) is no plain file name")
    return name
