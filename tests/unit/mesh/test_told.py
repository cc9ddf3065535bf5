"""What history says of a change: the peers by their names, and who moved to another key."""

from dataclasses import replace

from edgenode.config import MeshPeer
from edgenode.mesh.plan import Known, desired, plan
from edgenode.mesh.told import MOST, told
from tests.unit.mesh.test_plan import mesh, reached
from tests.unit.mesh.worlds import EMPTY, public_key

OWN = public_key(9)


def test_who_moved_to_another_key_is_named() -> None:
    config = mesh()
    fra = config.peers[0].model_copy(update={"next_public_key": public_key(7)})
    config = config.model_copy(update={"peers": (fra, config.peers[1])})
    before = desired(config, OWN)
    after = desired(config, OWN, Known(next=frozenset({"fra"})))
    there = plan(after, reached(before, EMPTY), {}).changes
    assert told(there, config.peers) == "1 change made: fra moved to its next_public_key"
    back = plan(before, reached(after, EMPTY), {}).changes
    assert told(back, config.peers) == "1 change made: fra moved back to its public_key"


def test_who_is_set_or_removed_is_named() -> None:
    config = mesh()
    first = plan(want := desired(config, OWN), EMPTY, {}).changes
    assert told(first, config.peers) == f"{len(first)} changes made: fra, iad"
    fewer = replace(want, peers=want.peers[:1], routes=frozenset())
    last = plan(fewer, reached(want, EMPTY), {}).changes
    assert told(last, config.peers).endswith(f"changes made: {public_key(2)} removed")


def test_a_line_stays_a_line() -> None:
    peers = [
        MeshPeer.model_validate(
            {"name": f"p{n}", "public_key": public_key(n), "allowed": [f"198.51.100.{n}/32"]}
        )
        for n in range(1, 200)
    ]
    config = mesh().model_copy(update={"peers": tuple(peers)})
    config = config.model_copy(update={"addresses": config.addresses[1:]})
    line = told(plan(desired(config, public_key(250)), EMPTY, {}).changes, peers)
    assert line.endswith(f"p{MOST}, and {199 - MOST} more peers")
