"""Real ports that run out, in a network namespace that has four of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import contextlib, json, socket, sys
from itertools import count
from pathlib import Path
from edgenode.steering.table import Bind, RegionTargets, Service, Table
from tests.unit.steering import running
from tests.unit.steering.process import Steering

Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40003")
own = count(20000)

def greet(connection, header):
    connection.sendall(b"hello")
    running.read_exactly(connection, 1)

def ask():
    # A user that was served, or None.
    with contextlib.suppress(ConnectionResetError):
        user = socket.create_connection(("127.0.0.1", 8001), 10, ("127.0.0.2", next(own)))
        if user.recv(5) == b"hello":
            return user

ports = iter((7001, 7002))
running.listen = lambda host: socket.create_server((host, next(ports)))
targets = tuple(running.Worker(greet).target(name) for name in ("fra-1", "fra-2"))
service = Service("web", ("127.0.0.1:8001",), "v2", 1.0, 60.0, (RegionTargets("fra", targets),))
steering = Steering(Path(sys.argv[1]))
steering.start()
with contextlib.ExitStack() as stack, steering.control() as control:
    stack.callback(steering.close)
    control.publish(Table(1, "lon1", Bind(), (service,)))
    served = [user for user in (ask() for _ in range(12)) if user]
    running.eventually(lambda: control.report()["shortages"].get("ports", 0) >= 4)
    before = control.report()
    served[0].close()
    running.eventually(ask, "a port that is free again serves nobody")
    for _ in range(3):  # it is said with a report that is not asked for
        control.receive()
    steering.terminate()
    print(json.dumps({
        "served": len(served),
        "shortages": before["shortages"],
        "endings": before["figures"]["web"]["endings"],
        "ejections": before["ejections"],
        "failures": before["services"]["web"]["regions"]["fra"]["failures"],
        "log": steering.process.stderr.read(),
    }))
"""


def test_each_worker_has_ports_of_its_own_and_the_last_users_are_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"),
            *(sys.executable, "-c", PROGRAM, str(tmp_path)),
        ],
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    found = json.loads(done.stdout)
    assert found["served"] == 8
    assert found["endings"] == {"no-ports": 4}
    assert found["shortages"]["ports"] >= 8  # both workers were asked for each of the four
    assert (found["ejections"], found["failures"]) == ([], 0)  # nobody is to blame
    assert found["log"].count("no local port was free") == 1
