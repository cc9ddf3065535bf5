"""A lab is gone when its owner is, however that came; and only that lab."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgenode.lab import Lab, LabError, Layout, cleanup, names, netns, plan, tunnels, wait_until
from edgenode.lab.delays import built_in
from edgenode.lab.names import RUN_ROOT
from edgenode.lab.python import environment

OWNER = """
import sys, time
from edgenode.lab import Lab, Layout, plan
from edgenode.lab.delays import built_in
layout = Layout(("lon",), (), ("lon",), ("fra",), 1, ("par",))
with Lab(sys.argv[1], plan(built_in(), layout)) as lab:
    lab.up(edges=False)
    if sys.argv[2] == "keep":
        lab.keep()
        sys.exit()
    print("up", flush=True)
    if sys.argv[2] == "crash":
        raise RuntimeError
    time.sleep(60)
"""

SMALL = plan(built_in(), Layout(("lon",), (), ("lon",), ("fra",), 1, ("par",)))


@contextmanager
def owner(name: str, how: str = "stay") -> Iterator[subprocess.Popen[str]]:
    """A process with a lab of four nodes."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, name, how],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environment()},
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        wait_until(lambda: gone(name) or how == "keep", 20, f"lab {name} is gone")


def gone(name: str) -> bool:
    left = cleanup.leftovers(name) or (RUN_ROOT / f"{name}.lock").exists()
    return not left and not processes_of(name)


def processes_of(name: str) -> list[int]:
    """Processes that name the lab in their command line, wherever they run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if f"/{name}/".encode() in line or f"{name}-fra".encode() in line:
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_it_goes_with_its_owner(lab_name: str, sign: signal.Signals) -> None:
    with owner(lab_name) as process:
        assert set(names.namespaces(lab_name)) == {"lon", "lon1", "fra", "par", "wire"}
        assert processes_of(lab_name)
        process.send_signal(sign)
        process.wait(20)
        wait_until(lambda: gone(lab_name), 20, "everything is gone")


def test_it_goes_when_its_owner_crashes(lab_name: str) -> None:
    with owner(lab_name, "crash") as process:
        assert process.wait(20) == 1
        assert gone(lab_name)


def test_another_lab_that_begins_alike_is_left_alone(lab_name: str) -> None:
    other = f"{lab_name}x"
    with owner(other) as bystander:
        before = processes_of(other)
        with owner(lab_name):
            pass
        wait_until(lambda: gone(lab_name), 20, "everything is gone")
        assert bystander.poll() is None
        assert set(processes_of(other)) >= set(before)  # its nginx may only just have started
        assert len(names.namespaces(other)) == 5


def test_a_name_in_use_is_refused(lab_name: str) -> None:
    with owner(lab_name) as process:
        with pytest.raises(LabError, match=f"in use by process {process.pid}"):
            Lab(lab_name).up()
        with pytest.raises(LabError, match=f"in use by process {process.pid}"):
            Lab(lab_name).down()
        assert len(names.namespaces(lab_name)) == 5


def test_left_overs_are_cleaned_at_the_next_start(lab_name: str) -> None:
    namespace = names.namespace(lab_name, "old")
    netns.create(namespace)
    with netns.inside(namespace):
        stray = subprocess.Popen(["sleep", "60"])
    (RUN_ROOT / lab_name).mkdir(parents=True)
    with owner(lab_name):
        assert stray.wait(5) == -signal.SIGKILL
        assert "old" not in names.namespaces(lab_name)
    assert gone(lab_name)


def test_a_kept_lab_stays_is_taken_over_and_goes(lab_name: str) -> None:
    try:
        with owner(lab_name, "keep") as process:
            assert process.wait(20) == 0
        assert len(names.namespaces(lab_name)) == 5
        with Lab.attach(lab_name) as lab:
            assert "Established" not in lab.birdc("lon", "show protocols")
            assert len(lab.pids("fra", "fra-1")) == 2
            lab.kill("fra", "fra-1")
            assert lab.pids("fra", "fra-1") == []
            lab.start("fra", "fra-1")
        assert len(names.namespaces(lab_name)) == 5
        with Lab.attach(lab_name) as lab:
            # A master and its worker.
            wait_until(lambda: len(lab.pids("fra", "fra-1")) == 2, 5, "nginx runs again")
    finally:
        Lab(lab_name).down()
    assert gone(lab_name)
    with pytest.raises(LabError, match="there is no lab"):
        Lab.attach(lab_name)
    assert gone(lab_name)


def test_an_operators_device_of_such_a_name_is_left_alone(lab_name: str) -> None:
    """wireguard-go's sockets lie in one directory for the whole machine."""
    tunnels.SOCKETS.mkdir(mode=0o755, parents=True, exist_ok=True)
    paths = [tunnels.control_socket(f"{lab_name}-{node}") for node in ("office", "fra")]
    try:
        with socket.socket(socket.AF_UNIX) as dead, socket.socket(socket.AF_UNIX) as living:
            for path, listener in zip(paths, (dead, living), strict=True):
                listener.bind(str(path))
            living.listen()
            assert not cleanup.leftovers(lab_name)
            refused = pytest.raises(LabError, match=f"{lab_name}-fra that is not the lab's")
            with Lab(lab_name, SMALL) as lab, refused:
                lab.up(edges=False)
            assert all(path.exists() for path in paths)
            paths[1].unlink()
        with owner(lab_name):
            pass
        assert gone(lab_name)
        assert paths[0].exists()
        assert not paths[1].exists(), "the lab's own"
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def test_who_cleans_up_from_inside_lives(lab_name: str) -> None:
    """Ctrl-C may come anywhere: a thread that it leaves in a namespace must not kill us."""
    netns.create(names.namespace(lab_name, "old"))
    code = (
        "import os, sys\n"
        "from edgenode.lab import cleanup, names, netns\n"
        "where = names.NETNS_ROOT / names.namespace(sys.argv[1], 'old')\n"
        "netns.setns(os.open(where, os.O_RDONLY))\n"
        "cleanup.clean(sys.argv[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, lab_name], timeout=30)
    assert done.returncode == 0
    assert gone(lab_name)


def test_an_interrupt_on_the_way_into_a_namespace_leads_back(
    lab_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    setns, calls = netns.setns, []

    def interrupted(descriptor: int) -> None:
        setns(descriptor)
        calls.append(descriptor)
        if len(calls) == 1:
            raise KeyboardInterrupt

    home = os.readlink("/proc/thread-self/ns/net")
    netns.create(names.namespace(lab_name, "old"))
    try:
        monkeypatch.setattr(netns, "setns", interrupted)
        with pytest.raises(KeyboardInterrupt), netns.inside(names.namespace(lab_name, "old")):
            pytest.fail("it was entered")
        assert os.readlink("/proc/thread-self/ns/net") == home
    finally:
        cleanup.clean(lab_name)
