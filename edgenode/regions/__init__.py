"""The worker regions: where they are, how far, how healthy, and which first."""

from edgenode.regions.regions import Regions
from edgenode.regions.registry import TargetKey

__all__ = ["Regions", "TargetKey"]
