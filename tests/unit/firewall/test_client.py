"""From where a command was typed, also behind sudo."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from edgenode.firewall.client import ssh_client

HERE = "203.0.113.9 40000 198.51.100.2 22"
ASK = "from edgenode.firewall.client import ssh_client; print(ssh_client())"


def test_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", HERE)
    assert ssh_client() == "203.0.113.9"


def test_sudo_clears_the_variable() -> None:
    """A process above has it still."""
    said = subprocess.run(
        ["/bin/sh", "-c", 'env -u SSH_CONNECTION "$@"; :', "sh", sys.executable, "-c", ASK],
        env={**os.environ, "SSH_CONNECTION": HERE},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "203.0.113.9"
