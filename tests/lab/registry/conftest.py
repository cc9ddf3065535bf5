"""What the registry's tests need."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.registry.etcd import EtcdServer, namespace, server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ready = os.geteuid() == 0 and shutil.which("etcd") and shutil.which("etcdctl")
    here = Path(__file__).parent
    for item in items:
        if not ready and here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="needs root, etcd-server and etcd-client"))


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    with namespace() as inside, server(inside, tmp_path) as made:
        yield made
