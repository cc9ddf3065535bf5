"""A directory of files as the list that the roles copy: path on the node, content, mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: edgenode_tree
short_description: files below directories, as they must be on a node
description:
  - Returns a list of mappings with C(path), C(content), C(owner), C(group) and C(mode).
options:
  _terms:
    description: Directories of the control machine; C(usr/lib/x) below one is C(/usr/lib/x).
    required: true
"""


class LookupModule(LookupBase):
    """Ansible calls `run`."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[dict[str, str]]:
        """All files of the directories, in the order of their paths."""
        return [
            {
                "path": f"/{file.relative_to(term)}",
                "content": file.read_text(),
                "owner": "root",
                "group": "root",
                "mode": "0755" if file.stat().st_mode & 0o100 else "0644",
            }
            for term in terms
            for file in sorted(Path(term).rglob("*"))
            if file.is_file()
        ]
