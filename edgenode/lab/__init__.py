"""The lab: a small internet in network namespaces on one machine.

Cities, transit routers, anycast edges, worker regions and users, made of real BIRD, real
WireGuard and real proxies, with the delays of one table between them.
"""

from edgenode.lab.birdview import Route
from edgenode.lab.capture import Capture
from edgenode.lab.delays import Delays
from edgenode.lab.errors import LabError, LabTimeout
from edgenode.lab.instance import Lab
from edgenode.lab.nodes.edge import Settings
from edgenode.lab.topology import STATIC, WEB, Group, Layout, Topology, crowd, plan
from edgenode.lab.users import Held, Load, Request, next_success
from edgenode.lab.waiting import wait_until

__all__ = [
    "STATIC",
    "WEB",
    "Capture",
    "Delays",
    "Group",
    "Held",
    "Lab",
    "LabError",
    "LabTimeout",
    "Layout",
    "Load",
    "Request",
    "Route",
    "Settings",
    "Topology",
    "crowd",
    "next_success",
    "plan",
    "wait_until",
]
