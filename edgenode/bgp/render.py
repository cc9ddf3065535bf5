"""BIRD's configuration as text: pure, and the same text for the same input.

It is the whole configuration of the node's BIRD (2.0.12 up to 3.x). Each group has, per family,
a static protocol for each level that can stand (`levels.STANDING`); a level is brought in force by
enabling and disabling them over the control socket. There is no kernel protocol: what is
announced is never in the kernel's routing table.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgenode.bgp.levels import STANDING, Level
from edgenode.bgp.names import password_name, session_name, static_name
from edgenode.bgp.protocols import families
from edgenode.config import Config, Group, Neighbor
from edgenode.config.secrets import password
from edgenode.config.values import PLAIN_FILE_NAME

FINGERPRINT = "edgenode_fingerprint"
"""A constant of the configuration, so that BIRD can be asked which text it runs with."""

OURS = "# Written by edgenode"
"""How each file that we write begins."""

_DEVICE = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_FINGERPRINT = re.compile(r"[0-9a-f]*")


def secrets_file(config_file: Path) -> Path:
    """Where the passwords are, beside the configuration that includes them."""
    return config_file.with_name(f"{config_file.stem}-secrets{config_file.suffix}")


def render(config: Config, levels: Mapping[str, Level], fingerprint: str = "") -> str:
    """The configuration with the groups at `levels`; a group that is not there is withdrawn.

    `fingerprint` is what `configuration_fingerprint` gives. Raises ValueError for text that
    BIRD's parser would not take as one token.
    """
    return _head(config, fingerprint) + "".join(_body(config, levels))


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


def configuration_fingerprint(config: Config, passwords: Mapping[str, str]) -> str:
    """Tells two configurations apart, whatever the present levels.

    Passwords go through PBKDF2: whoever may ask BIRD for the fingerprint must not be able to
    try passwords quickly.
    """
    text = render(config, {})
    if passwords:
        secrets = render_secrets(config, passwords).encode()
        text += hashlib.pbkdf2_hmac("sha256", secrets, text.encode(), 50_000).hex()
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _head(config: Config, fingerprint: str) -> str:
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
        text += f'include "{_file(secrets_file(config.bgp.config).name)}";\n'
    return text


def _body(config: Config, levels: Mapping[str, Level]) -> Iterator[str]:
    # Link events come by netlink at once; the scan is for one that was lost.
    yield "\nprotocol device { scan time 5; }\n"
    for group in config.groups:
        yield "\n"
        for version in families(group):
            yield from _statics(config, group, version, levels.get(group.name, Level.WITHDRAWN))
    for version in (4, 6):
        if any(neighbor.address.version == version for neighbor in config.bgp.neighbors):
            yield "\n" + _export_filter(config, version)
    for neighbor in config.bgp.neighbors:
        yield "\n" + _session(config, neighbor)


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


def _export_filter(config: Config, version: int) -> str:
    """Only our own prefixes, only from our own protocols (RFC 8212: nothing by default)."""
    prefixes = ", ".join(
        str(prefix)
        for group in config.groups
        for prefix in group.prefixes
        if prefix.version == version
    )
    head = f"filter edgenode_export_v{version}\n{{\n"
    if not prefixes:  # BIRD has no empty set
        return f"{head}  reject;\n}}\n"
    prepend = f"    bgp_path.prepend({config.bgp.asn});\n"
    return (
        f"{head}"
        "  if source != RTS_STATIC then reject;\n"
        f"  if !(net ~ [ {prefixes} ]) then reject;\n"
        "  bgp_community.delete((65535, 666)); # BLACKHOLE, RFC 7999\n"
        f'  if proto ~ "*_v{version}_{Level.NORMAL}" then accept;\n'
        f'  if proto ~ "*_v{version}_{Level.DEGRADED}" then {{\n'
        f"    bgp_med = {config.degraded.med};\n"
        f"{prepend * config.degraded.prepend}"
        "    accept;\n"
        "  }\n"
        f'  if proto ~ "*_v{version}_{Level.DRAINED}" then {{\n'
        "    bgp_community.add((65535, 0)); # GRACEFUL_SHUTDOWN, RFC 8326\n"
        f"{prepend * config.bgp.drain_prepend}"
        "    accept;\n"
        "  }\n"
        "  reject;\n"
        "}\n"
    )


def _session(config: Config, neighbor: Neighbor) -> str:
    bgp = config.bgp
    hold = max(3, round(bgp.hold_time))
    version = neighbor.address.version
    options = [
        f"local {neighbor.source} as {bgp.asn}" if neighbor.source else f"local as {bgp.asn}",
        f"neighbor {neighbor.address} as {neighbor.asn}",
        f"multihop {neighbor.multihop}" if neighbor.multihop else "direct",
        f"hold time {hold}",
        f"keepalive time {max(1, hold // 3)}",
        "connect delay time 1",
        "connect retry time 5",
        "error wait time 1, 30",
        # A neighbor must drop the routes of a BIRD that has died, not keep them for its return.
        "graceful restart off",
        "long lived graceful restart off",
    ]
    if neighbor.ttl_security:
        options.append("ttl security on")
    if neighbor.password_file:
        options.append(f"password {password_name(neighbor.name)}")
    lines = "".join(f"  {option};\n" for option in options)
    return (
        f"protocol bgp {session_name(neighbor.name)} {{\n"
        f"{lines}"
        f"  ipv{version} {{\n"
        "    import none;\n"
        f"    export filter edgenode_export_v{version};\n"
        "    next hop self;\n"
        "  };\n"
        "}\n"
    )


def _device(config: Config) -> str:
    if not _DEVICE.fullmatch(config.lifeline.device):
        raise ValueError(f"{config.lifeline.device!r} is no device name")
    return config.lifeline.device


def _file(name: str) -> str:
    if not PLAIN_FILE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} (bgp.config) is no plain file name")
    return name
