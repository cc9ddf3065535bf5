"""Whatever ends, hangs or lies around control: what the neighbor sees, and when.

Each test prints its figure; docs/failures.md has them in a table.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import edgenode
from edgenode.lab import STATIC, WEB, Group, Lab, Layout, Settings, plan, wait_until
from edgenode.lab.delays import built_in
from edgenode.lab.nodes.edge import daemon
from edgenode.lab.process import send
from edgenode.lab.python import environment
from edgenode.lab.wire import Update, updates
from tests.lab.control.test_node import announced, status, stays, with_full_grace

EDGE, TRANSIT, REGION, USER = "lon1", "lon", "fra", "par"
LAYOUT = Layout(
    transits=(TRANSIT,), neighbors=(), edges=(TRANSIT,), regions=(REGION,), users=(USER,)
)
GRACE, HEARTBEAT = 6.0, 4.0
GROUPS = (WEB, STATIC)

HOOK = """
import signal, time
eaten = []
signal.signal(signal.SIGUSR1, lambda *_: time.sleep({block}))
signal.signal(signal.SIGUSR2, lambda *_: eaten.append(b"x" * (1 << 30)))
"""
"""Runs in control's main thread, which is its event loop's."""
BLOCK = 2.0

FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
CGROUPS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    settings = Settings(grace=GRACE, heartbeat_timeout=HEARTBEAT, drain_time=1.0)
    with Lab("tfail", plan(built_in(), LAYOUT), settings) as lab:
        lab.up()
        yield lab


@pytest.fixture(autouse=True)
def whole(lab: Lab) -> Iterator[None]:
    """Each test finds everything announced, and has to leave it so."""
    yield
    for group in GROUPS:
        lab.wait_announced(EDGE, group)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    def tell(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}", end=" ")

    return tell


@contextmanager
def wire(lab: Lab, tmp_path: Path) -> Iterator[list[Update]]:
    """What the edge told its upstream; filled when the block is left."""
    seen: list[Update] = []
    with lab.captures([TRANSIT], tmp_path, "tcp port 179") as files:
        yield seen
        time.sleep(0.5)
    seen += updates(files[TRANSIT])


def gone_after(seen: list[Update], since: float, group: Group = STATIC) -> float:
    """Milliseconds until the last prefix of a group was withdrawn."""
    first: dict[str, float] = {}
    for update in seen:
        for prefix in update.withdrawn:
            if update.time >= since:
                first.setdefault(prefix, update.time)
    return max(first[str(prefix)] for prefix in group.prefixes) * 1000 - since * 1000


def changes(seen: list[Update]) -> list[str]:
    """The routes that came and went, with UNIX times, short enough to stand in a failure."""
    return [
        f"{update.time:.3f} {sign}{prefix}"
        for update in seen
        for sign, prefixes in (("-", update.withdrawn), ("+", update.announced))
        for prefix in prefixes
    ]


def run_control(
    lab: Lab, before: tuple[str, ...] = (), more: Mapping[str, str] | None = None
) -> None:
    """Start control, which must have ended, in another way than the lab does."""
    argv = (*before, *daemon(lab.directory(EDGE) / "edgenode.toml", "control"))
    lab.spawn(EDGE, "control", argv, {**environment(), **(more or {})})
    back(lab)


def back(lab: Lab) -> None:
    wait_until(lambda: lab.edgenode(EDGE, "status").returncode == 0, 20, "control is back")


@contextmanager
def other_control(
    lab: Lab, before: tuple[str, ...] = (), more: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Another way to run control for a while, taken over to and from."""
    with_full_grace(lab)
    lab.kill(EDGE, "control", signal.SIGKILL)
    run_control(lab, before, more)
    try:
        for group in GROUPS:
            lab.wait_announced(EDGE, group)
        yield
    finally:
        if lab.pids(EDGE, "control"):
            lab.kill(EDGE, "control", signal.SIGKILL)
        run_control(lab)


@pytest.fixture
def hooked(lab: Lab, tmp_path: Path) -> Iterator[None]:
    """A control that a test can have block or eat memory, by a module that Python loads first."""
    (tmp_path / "sitecustomize.py").write_text(HOOK.format(block=BLOCK))
    ours = environment()
    with other_control(lab, more={"PYTHONPATH": f"{tmp_path}:{ours['PYTHONPATH']}"}):
        yield


# -- control ends or hangs --------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGABRT, signal.SIGSTOP])
def test_control_ends_or_hangs(
    lab: Lab, tmp_path: Path, say: Callable[[str], None], how: signal.Signals
) -> None:
    with_full_grace(lab)
    pid = lab.main_pid(EDGE, "control")
    with wire(lab, tmp_path) as seen:
        since = time.time()
        os.kill(pid, how)
        for group in GROUPS:
            lab.wait_withdrawn(EDGE, group, timeout=15)
    after = gone_after(seen, since)
    # The last beat was at most a fifth of the heartbeat's timeout ago.
    least = GRACE + (HEARTBEAT * 0.7 if how is signal.SIGSTOP else 0)
    say(f"{how.name} of control: withdrawn after {after:.0f} ms, {after - least * 1000:.0f} more")
    assert least * 1000 - 100 < after < (least + HEARTBEAT * 0.4) * 1000 + 1000
    assert lab.get(USER, WEB.addresses[0], timeout=3).ok is False
    if how is signal.SIGSTOP:
        os.kill(pid, signal.SIGCONT)
    else:
        wait_until(lambda: not lab.pids(EDGE, "control"), 5, "it has ended")
        lab.start(EDGE, "control")


def test_control_runs_out_of_memory(
    lab: Lab, tmp_path: Path, say: Callable[[str], None], hooked: None
) -> None:
    with_full_grace(lab)
    pid = lab.main_pid(EDGE, "control")
    with memory_limit(pid, 300 << 20), wire(lab, tmp_path) as seen:
        since = time.time()
        os.kill(pid, signal.SIGUSR2)
        wait_until(lambda: not lab.pids(EDGE, "control"), 10, "the kernel killed it")
        ended = time.time()
        for group in GROUPS:
            lab.wait_withdrawn(EDGE, group, timeout=15)
    after = gone_after(seen, since)
    say(f"control out of memory: killed after {(ended - since) * 1000:.0f} ms, ")
    say(f"withdrawn after {after:.0f} ms")
    assert GRACE * 1000 - 100 < after < (GRACE + 3) * 1000


@contextmanager
def memory_limit(pid: int, limit: int) -> Iterator[None]:
    """A memory cgroup for one process, of version 1 or 2."""
    root = next((path for path in CGROUPS if (path / "cgroup.procs").exists()), None)
    if root is None:
        pytest.skip("no memory cgroup can be made here")
    group = root / f"edgenode-test-{os.getpid()}"
    try:
        group.mkdir()
        files = [group / "memory.limit_in_bytes", group / "memory.max"]
        file = next((each for each in files if each.exists()), None)
        if file is None:
            pytest.skip("this cgroup has no memory controller")
        file.write_text(str(limit))
        (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    try:
        yield
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text(), 10, "nobody is in it")
        group.rmdir()


def test_a_crash_loop_has_no_endless_grace(
    lab: Lab, tmp_path: Path, say: Callable[[str], None]
) -> None:
    with_full_grace(lab)
    kills: list[float] = []
    with wire(lab, tmp_path) as seen:
        for _ in range(4):
            kills.append(lab.kill(EDGE, "control", signal.SIGKILL))
            run_control(lab)
            wait_until(lambda: status(lab)["lifeline"]["connected"], 5, "it has the lifeline")
            time.sleep(1)  # its heart beats
        for group in GROUPS:
            lab.wait_announced(EDGE, group)
    withdrawn = min(u.time for u in seen if u.withdrawn)
    losses = sum(kill <= withdrawn for kill in kills)
    say(f"crash loop: withdrawn at loss {losses}, {withdrawn - kills[0]:.1f} s after the first")
    assert losses in (2, 3, 4)


def test_an_upgraded_control_takes_over_without_a_withdraw(
    lab: Lab, tmp_path: Path, say: Callable[[str], None]
) -> None:
    newer = tmp_path / "newer"
    shutil.copytree(Path(edgenode.__file__).parent, newer / "edgenode")
    init = newer / "edgenode" / "__init__.py"
    init.write_text(init.read_text().replace(f'"{edgenode.__version__}"', '"99.9"'))
    with_full_grace(lab)
    with wire(lab, tmp_path) as seen:
        since = lab.kill(EDGE, "control", signal.SIGTERM)
        wait_until(lambda: not lab.pids(EDGE, "control"), 5, "it has ended")
        run_control(lab, more={"PYTHONPATH": str(newer)})
        taken = time.time() - since
        assert status(lab)["version"] == "99.9"
        time.sleep(GRACE + 1)
    lab.kill(EDGE, "control", signal.SIGKILL)
    run_control(lab)
    assert changes(seen) == []
    say(f"upgrade of control: taken over within {taken:.1f} s, no UPDATE")


def test_a_kept_group_stays_when_control_is_lost(
    lab: Lab, tmp_path: Path, say: Callable[[str], None]
) -> None:
    file = lab.directory(EDGE) / "edgenode.toml"
    text = file.read_text()
    keeps = text.replace('name = "static"\n', 'name = "static"\non_control_loss = "keep"\n')
    file.write_text(keeps)
    assert lab.edgenode(EDGE, "apply").returncode == 0
    # A control that is killed before runs with the one that is trusted, which does not keep it.
    trusted = lab.directory(EDGE) / "state" / "control" / "confirmed.toml"
    wait_until(lambda: trusted.read_text() == keeps, 20, "the configuration is trusted")
    for group in GROUPS:
        lab.wait_announced(EDGE, group)
    with_full_grace_of_web(lab)
    told_before = last_groups(lab, "static")
    try:
        with wire(lab, tmp_path) as seen:
            since = lab.kill(EDGE, "control", signal.SIGKILL)
            lab.wait_withdrawn(EDGE, WEB)
            stays(lab, STATIC, True, 3)
        kept = {prefix for update in seen for prefix in update.withdrawn}
        assert not kept & set(map(str, STATIC.prefixes))
        say(
            f'control lost, one group "keep": the other withdrawn after '
            f"{gone_after(seen, since, WEB):.0f} ms, the kept one never"
        )
        run_control(lab)
        lab.wait_announced(EDGE, WEB)
        assert "while control was away, and normal before" in last_groups(lab, "web")
        assert last_groups(lab, "static") == told_before
        died = lab.kill(EDGE, "nginx")
        lab.wait_withdrawn(EDGE, STATIC, timeout=5)
        say(f"and its proxy dies under the next control: within {time.time() - died:.2f} s")
    finally:
        if not lab.pids(EDGE, "nginx"):
            lab.start(EDGE, "nginx")
        file.write_text(text)
        assert lab.edgenode(EDGE, "apply").returncode == 0


def last_groups(lab: Lab, group: str) -> str:
    """What the history has last of a group's levels."""
    told = lab.edgenode(EDGE, "history", "--group", group, "--kind", "group", "-n", "3")
    return str(told.stdout)


def with_full_grace_of_web(lab: Lab) -> None:
    lab.kill(EDGE, "lifeline", signal.SIGKILL)
    lab.wait_withdrawn(EDGE, WEB, timeout=5)
    lab.start(EDGE, "lifeline")
    lab.wait_announced(EDGE, WEB)


# -- the others end ---------------------------------------------------------------------------


def test_the_lifeline_is_killed(lab: Lab, tmp_path: Path, say: Callable[[str], None]) -> None:
    with wire(lab, tmp_path) as seen:
        since = lab.kill(EDGE, "lifeline", signal.SIGKILL)
        for group in GROUPS:
            lab.wait_withdrawn(EDGE, group, timeout=5)
    after = max(gone_after(seen, since, group) for group in GROUPS)
    say(f"SIGKILL of the lifeline: withdrawn after {after:.1f} ms")
    assert after < 500
    gone = "withdrawn: the lifeline's device is gone"
    wait_until(lambda: gone in last_groups(lab, "web"), 3, "it is in the history")
    lab.start(EDGE, "lifeline")


def test_bird_is_killed_and_started_with_an_empty_state(
    lab: Lab, tmp_path: Path, say: Callable[[str], None]
) -> None:
    """Its file has everything disabled: what is to be announced it learns from control."""
    lab.kill(EDGE, "nginx")
    lab.wait_withdrawn(EDGE, STATIC)
    since = lab.kill(EDGE, "bird", signal.SIGKILL)
    lab.wait_withdrawn(EDGE, WEB, timeout=5)
    gone = time.time() - since
    with wire(lab, tmp_path) as seen:
        started = lab.start(EDGE, "bird")
        lab.wait_announced(EDGE, WEB)
        returned = time.time() - started
        stays(lab, STATIC, False, 2)
    say(f"SIGKILL of BIRD: gone within {gone * 1000:.0f} ms; started empty, what is healthy is ")
    say(f"back after {returned:.1f} s, and what is not never shows")
    assert gone < 1
    told = {prefix for update in seen for prefix in update.announced}
    assert not told & set(map(str, STATIC.prefixes))
    lab.start(EDGE, "nginx")


def test_relay_workers_that_all_hang_again_and_again(
    lab: Lab, tmp_path: Path, say: Callable[[str], None]
) -> None:
    """One that hangs is replaced; here those that replace it hang as well."""
    with wire(lab, tmp_path) as seen, going_on_afterwards(lab):
        since = time.time()
        while announced(lab, WEB) and time.time() - since < 25:
            send(relay_workers(lab), signal.SIGSTOP)
            time.sleep(0.01)
        (web,) = (group for group in status(lab)["groups"] if group["name"] == "web")
        assert any("no relay worker answers" in reason for reason in web["reasons"])
        stays(lab, STATIC, True, 0.2)
    after = gone_after(seen, since, WEB)
    say(f"all relay workers hang, and those that replace them: withdrawn after {after:.0f} ms")


def relay_workers(lab: Lab) -> list[int]:
    """Those that have begun: until its exec a child holds up the supervisor, which waits in vfork
    and would hang with it."""
    found = []
    for pid in lab.pids(EDGE, "steering"):
        with suppress(OSError):
            if b"edgenode.steering.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


@contextmanager
def going_on_afterwards(lab: Lab) -> Iterator[None]:
    try:
        yield
    finally:
        send(lab.pids(EDGE, "steering"), signal.SIGCONT)


def test_a_steering_that_is_stopped_altogether(
    lab: Lab, tmp_path: Path, say: Callable[[str], None]
) -> None:
    with wire(lab, tmp_path) as seen, going_on_afterwards(lab):
        since = time.time()
        send(lab.pids(EDGE, "steering"), signal.SIGSTOP)
        lab.wait_withdrawn(EDGE, WEB, timeout=20)
        stays(lab, STATIC, True, 0.2)
    say(f"all of steering stopped: withdrawn after {gone_after(seen, since, WEB):.0f} ms")


# -- what lies, or is full ----------------------------------------------------------------------


def test_a_blocked_event_loop_withdraws_nothing(
    lab: Lab, tmp_path: Path, say: Callable[[str], None], hooked: None
) -> None:
    """Even where one failure is enough: a probe that we could not serve in time is no verdict."""
    file = lab.directory(EDGE) / "edgenode.toml"
    text = file.read_text()
    file.write_text(text.replace("fall = 4", "fall = 1"))
    assert lab.edgenode(EDGE, "apply").returncode == 0
    time.sleep(2)
    pid = lab.main_pid(EDGE, "control")
    try:
        with wire(lab, tmp_path) as seen:
            for _ in range(4):
                os.kill(pid, signal.SIGUSR1)
                blocked = time.monotonic()
                assert lab.edgenode(EDGE, "status").returncode == 0
                assert time.monotonic() - blocked > BLOCK * 0.5, "it was not blocked"
                time.sleep(1.2)
        assert changes(seen) == []
        say(f"event loop blocked 4 times for {BLOCK:g} s, fall = 1: no UPDATE")
        died = lab.kill(EDGE, "nginx")
        lab.wait_withdrawn(EDGE, STATIC, timeout=3)
        assert time.time() - died < 1
    finally:
        if not lab.pids(EDGE, "nginx"):
            lab.start(EDGE, "nginx")
        file.write_text(text)
        assert lab.edgenode(EDGE, "apply").returncode == 0


@pytest.mark.skipif(not FAKETIME, reason="needs libfaketime")
def test_a_clock_that_is_stepped_by_an_hour_withdraws_nothing(
    lab: Lab, tmp_path: Path, say: Callable[[str], None]
) -> None:
    """CLOCK_REALTIME of control alone: the monotonic clock knows no steps."""
    offset = tmp_path / "offset"
    offset.write_text("+0\n")
    clock = {
        "LD_PRELOAD": str(FAKETIME[0]),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        # Or the file is read anew, under a lock, whenever any thread asks any clock.
        "FAKETIME_CACHE_DURATION": "1",
        # Or a thread that waits for Python's lock is woken at once, again and again (the library
        # takes a monotonic deadline for one long past): on busy cores control came to a stand.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }

    def step(seconds: int) -> None:
        draft = tmp_path / "draft"
        draft.write_text(f"{seconds:+d}\n")
        draft.replace(offset)

    def clock_of_control() -> float:
        """Of the event that a change of a group leaves in the history."""
        answer = lab.edgenode(EDGE, "withdraw", "static", "--reason", "the clock")
        assert answer.returncode == 0, answer.stderr
        (static,) = (g for g in status(lab)["groups"] if g["name"] == "static")
        assert lab.edgenode(EDGE, "undrain", "static").returncode == 0
        lab.wait_announced(EDGE, STATIC)
        return float(static["intent"]["since"])

    with other_control(lab, more=clock):
        with wire(lab, tmp_path) as seen:
            for seconds in (3600, 0, -3600):
                step(seconds)
                time.sleep(3)
        assert changes(seen) == []
        assert clock_of_control() < time.time() - 3000, "control did not see the step"
        with wire(lab, tmp_path) as seen:
            since = lab.kill(EDGE, "nginx")
            lab.wait_withdrawn(EDGE, STATIC, timeout=5)
        say("clock stepped by an hour, forth and back: no UPDATE; a proxy that dies then is ")
        say(f"withdrawn after {gone_after(seen, since):.1f} ms")
        lab.start(EDGE, "nginx")
        lab.wait_announced(EDGE, STATIC)


def test_with_a_full_disk_it_starts_announces_and_withdraws(
    lab: Lab, tmp_path: Path, say: Callable[[str], None]
) -> None:
    """Control's state is on a disk of its own, without a byte left."""
    state = lab.directory(EDGE) / "state" / "control"
    kept = tmp_path / "kept"
    kept.mkdir()
    for name in ("wireguard.key", "confirmed.toml", "intents.sqlite"):
        if (state / name).exists():
            shutil.copy2(state / name, kept)
    script = (
        f"mount -t tmpfs -o size=128k,mode=700 none {state} && cp -p {kept}/* {state}/ && "
        f'{{ cat /dev/zero > {state}/fill 2>/dev/null; exec "$@"; }}'
    )
    file = lab.directory(EDGE) / "edgenode.toml"
    text = file.read_text()
    with other_control(lab, ("unshare", "-m", "sh", "-c", script, "-")):
        try:
            with wire(lab, tmp_path) as seen:
                since = lab.kill(EDGE, "nginx")
                lab.wait_withdrawn(EDGE, STATIC, timeout=5)
            after = gone_after(seen, since)
            lab.start(EDGE, "nginx")
            lab.wait_announced(EDGE, STATIC)
            drained = lab.edgenode(EDGE, "drain", "static")
            assert drained.returncode == 1
            assert "not stored" in drained.stderr
            stays(lab, STATIC, True, 1)
            told = lab.edgenode(EDGE, "withdraw", "static")
            assert "not stored" in told.stderr
            lab.wait_withdrawn(EDGE, STATIC, timeout=5)
            stays(lab, STATIC, False, 2)
            file.write_text(text.replace("drain_time = 1.0", "drain_time = 2.0"))
            applied = lab.edgenode(EDGE, "apply", "--confirm", "60s")
            assert applied.returncode == 1
            assert "cannot be written" in applied.stderr
            assert announced(lab, WEB)
            say(f"disk full: a proxy's death is withdrawn after {after:.1f} ms, an operator's ")
            say("withdraw holds, a drain and an apply are refused")
        finally:
            file.write_text(text)
