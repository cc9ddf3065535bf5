"""The node's one configuration file: schema, loading, and errors that name file, key and line."""

from edgenode.config.errors import ConfigError, Problem
from edgenode.config.essentials import Essentials, read_essentials
from edgenode.config.load import load, loads
from edgenode.config.schema import (
    Bgp,
    Check,
    Config,
    ExecCheck,
    Group,
    HttpCheck,
    Lifeline,
    Mesh,
    MeshPeer,
    Metrics,
    Neighbor,
    Node,
    Region,
    RegionProbe,
    Service,
    Steering,
    TcpCheck,
    Worker,
)
from edgenode.config.values import Address, Endpoint, Network, ProbeUrl

__all__ = [
    "Address",
    "Bgp",
    "Check",
    "Config",
    "ConfigError",
    "Endpoint",
    "Essentials",
    "ExecCheck",
    "Group",
    "HttpCheck",
    "Lifeline",
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
    "Worker",
    "load",
    "loads",
    "read_essentials",
]
