"""Names: whole identities, never prefixes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.lab import names
from edgenode.lab.errors import LabError

LABS = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True)
NODES = st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True)


@given(LABS, NODES)
def test_a_namespace_tells_whose_it_is(lab: str, node: str) -> None:
    assert names.identify(names.namespace(lab, node)) == (lab, node)
    assert len(names.tunnel_device(lab, node)) < 16
    assert len(names.interface(node)) < 16


@pytest.mark.parametrize("name", ["edgenode", "edgenode-a", "edgenode-a-b-c", "x-edgenode-a-b", ""])
def test_others_are_nobodys(name: str) -> None:
    assert names.identify(name) is None


def test_a_lab_is_not_taken_for_another_that_begins_alike(tmp_path: Path) -> None:
    for name in ("edgenode-a-lon1", "edgenode-ab-lon1", "edgenode-b-a", "edgenode-a-b-c", "a-lon1"):
        (tmp_path / name).touch()
    assert names.namespaces("a", tmp_path) == {"lon1": "edgenode-a-lon1"}
    assert names.namespaces("a", tmp_path / "absent") == {}


@pytest.mark.parametrize("name", ["", "A", "a-b", "1a", "sevench", "a_b", "../x"])
def test_bad_lab_names_are_refused(name: str) -> None:
    with pytest.raises(LabError, match="1 to 6 lower-case"):
        names.check_lab(name)


@pytest.mark.parametrize("name", ["", "A", "a-b", "eightcha", "wire"])
def test_bad_node_names_are_refused(name: str) -> None:
    with pytest.raises(LabError, match="1 to 7 lower-case"):
        names.check_node(name)
