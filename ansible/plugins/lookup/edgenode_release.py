"""The name of the edgenode that this checkout would install."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.lookup import LookupBase
from edgenode.inventory import release

DOCUMENTATION = """
name: edgenode_release
short_description: version of edgenode in this checkout
description:
  - The version, and a digest of the code and of its libraries' lock, so that two states of one
    version are never taken for the same.
options:
  _terms:
    description: The checkout's directory.
    required: true
"""


class LookupModule(LookupBase):
    """Ansible calls `run`."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[str]:
        """``VERSION-DIGEST`` of each checkout."""
        return [release(Path(term)) for term in terms]
