"""The configuration of a node that only steers: the benches add services and regions to it."""

from __future__ import annotations

from pathlib import Path

_TOML = """\
[node]
name = "bench"
run_dir = "{place}/run"
state_dir = "{place}/state"

[bgp]
asn = 64701
router_id = "198.51.100.1"

[[bgp.neighbors]]
name = "t"
address = "198.51.100.3"
asn = 64601

[[groups]]
name = "web"
prefixes = ["198.18.0.0/24"]
checks = ["c"]

[[checks]]
name = "c"
type = "tcp"
target = "127.0.0.1:1"

[steering]
workers = {workers}
access_log = "{place}/access.log"
"""


def configuration(place: Path, workers: int) -> str:
    """With `run`, `state` and the access log in that place, and so many relay workers."""
    return _TOML.format(place=place, workers=workers)
