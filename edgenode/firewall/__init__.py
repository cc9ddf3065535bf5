"""The node's packet filter: rendered from the configuration, loaded on trial, confirmed."""

from edgenode.firewall.render import render

__all__ = ["render"]
