"""The node's one configuration file: schema, loading, and errors that name file, key and line."""

from edgenode.config.checks import (
    Check,
    DnsCheck,
    ExecCheck,
    Hook,
    HttpCheck,
    Match,
    TcpCheck,
    TlsCheck,
    TlsOptions,
)
from edgenode.config.errors import ConfigError, Problem
from edgenode.config.essentials import Essentials, read_essentials
from edgenode.config.load import load, loads
from edgenode.config.schema import (
    Bgp,
    Config,
    Group,
    Lifeline,
    Mesh,
    MeshPeer,
    Metrics,
    Neighbor,
    Node,
    Region,
    RegionProbe,
    Worker,
)
from edgenode.config.steering import Service, Steering
from edgenode.config.values import Address, Endpoint, Network, ProbeUrl

__all__ = [
    "Address",
    "Bgp",
    "Check",
    "Config",
    "ConfigError",
    "DnsCheck",
    "Endpoint",
    "Essentials",
    "ExecCheck",
    "Group",
    "Hook",
    "HttpCheck",
    "Lifeline",
    "Match",
    "Mesh",
    "MeshPeer",
    "Metrics",
    "Neighbor",
    "Network",
    "Node",
    "ProbeUrl",
    "Problem",
    "Region",
    "RegionProbe",
    "Service",
    "Steering",
    "TcpCheck",
    "TlsCheck",
    "TlsOptions",
    "Worker",
    "load",
    "loads",
    "read_essentials",
]
