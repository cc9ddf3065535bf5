"""What is armed, loaded and kept, in which order, and what is left wherever it is killed.

systemd and nft are played: `Node` is told what was called. tests/system has the real ones.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgenode.firewall import trial
from edgenode.firewall.trial import FirewallError, Trial


class Killed(BaseException):
    """The process ends here: nothing catches it."""


class Node:
    """systemd's timer, the kernel's table, and the loader that a boot or the undo runs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.table: str | None = None
        self.armed = False
        self.steps = 0
        self.die_at: int | None = None
        self.refuse: str | None = None

    def call(self, *command: str) -> None:
        self._step()
        match command:
            case (trial.NFT, "-c", "-f", path) if "nonsense" in Path(path).read_text():
                raise FirewallError("nft: syntax error")
            case (trial.NFT, "-c", *_):
                pass
            case (trial.NFT, "-f", path):
                if self.refuse == "nft":
                    raise FirewallError("nft: no memory")
                self.table = Path(path).read_text()
            case ("systemd-run", *rest):
                assert rest[-3:] == ["systemctl", "restart", trial.LOADER]
                self.armed = True
            case ("systemctl", "stop", _):
                self.armed = False
            case ("systemctl", "restart", trial.LOADER):
                if self.refuse == "loader":
                    self.table = "baseline"
                    raise FirewallError("the unit failed")
                self.load()
            case _:
                raise AssertionError(command)
        self._step()

    def load(self) -> None:
        """edgenode-firewall.service."""
        confirmed = self.directory / "confirmed.nft"
        self.table = confirmed.read_text() if confirmed.exists() else "baseline"

    def time_is_over(self) -> None:
        if self.armed:
            self.armed = False
            self.load()

    def replace(self, original: Callable[..., None]) -> Callable[..., None]:
        def replace(source: Path, target: Path) -> None:
            self._step()
            original(source, target)
            self._step()

        return replace

    def _step(self) -> None:
        if self.steps == self.die_at:
            raise Killed
        self.steps += 1


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    node = Node(tmp_path)
    monkeypatch.setattr(trial, "_call", node.call)
    monkeypatch.setattr(trial, "_armed", lambda: node.armed)
    monkeypatch.setattr(trial, "_loaded", lambda: node.table not in (None, "baseline"))
    monkeypatch.setattr(trial, "SYSTEMD", tmp_path)
    monkeypatch.setattr(trial, "LOADED_AT_BOOT", tmp_path)
    monkeypatch.setattr("os.replace", node.replace(__import__("os").replace))
    return node


def settled(node: Node) -> str:
    """What the node ends with: nobody does anything more, then the machine boots."""
    node.time_is_over()
    left = node.table
    node.load()
    assert left == node.table, "a boot changes nothing"
    assert left
    return left


@pytest.mark.parametrize("confirmed", [False, True])
def test_killed_anywhere(node: Node, confirmed: bool) -> None:
    """The old rules or the new ones, and the new ones only where `confirm` was asked for."""
    outcomes = []
    for die_at in range(100):
        node.die_at = None
        node.armed = False
        (node.directory / "confirmed.nft").write_text("old")
        node.load()
        node.steps, node.die_at = 0, die_at
        try:
            Trial(node.directory).apply("new", 60)
            if confirmed:
                Trial(node.directory).confirm()
        except Killed:
            outcomes.append(settled(node))
            continue
        outcomes.append(settled(node))
        break
    else:
        pytest.fail("it never came to its end")
    assert len(outcomes) > 6
    assert set(outcomes) <= {"old", "new"}
    assert outcomes[-1] == ("new" if confirmed else "old")
    assert outcomes == sorted(outcomes, reverse=True), "never back from the new to the old"


def test_a_confirm_that_comes_late_keeps_nothing(node: Node) -> None:
    """The rules are undone already: a boot must not find them confirmed."""
    (node.directory / "confirmed.nft").write_text("old")
    Trial(node.directory).apply("new", 60)
    node.time_is_over()
    with pytest.raises(FirewallError, match="the time of the trial is over"):
        Trial(node.directory).confirm()
    assert settled(node) == "old"
    with pytest.raises(FirewallError, match="no rules are on trial"):
        Trial(node.directory).confirm()


def test_the_undo_comes_while_it_is_confirmed(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    (node.directory / "confirmed.nft").write_text("old")
    Trial(node.directory).apply("new", 60)

    def armed_then_over() -> bool:
        was = node.armed
        node.time_is_over()
        return was

    monkeypatch.setattr(trial, "_armed", armed_then_over)
    Trial(node.directory).confirm()
    assert node.table == "new"
    assert settled(node) == "new"


def test_rules_that_are_none(node: Node) -> None:
    (node.directory / "confirmed.nft").write_text("old")
    node.load()
    with pytest.raises(FirewallError, match="syntax"):
        Trial(node.directory).apply("nonsense", 60)
    assert (node.table, node.armed) == ("old", False)


def test_a_load_that_fails_leaves_no_trial(node: Node) -> None:
    (node.directory / "confirmed.nft").write_text("old")
    node.load()
    node.refuse = "nft"
    with pytest.raises(FirewallError, match="memory"):
        Trial(node.directory).apply("new", 60)
    assert (node.table, node.armed) == ("old", False)
    node.refuse = None
    assert Trial(node.directory).apply("new", 60), "the next one need not wait"


def test_rules_that_a_boot_would_not_load(node: Node) -> None:
    """Said at once, and users are not cut off by the baseline meanwhile."""
    Trial(node.directory).apply("new", 60)
    node.refuse = "loader"
    with pytest.raises(FirewallError, match="a boot would not load them"):
        Trial(node.directory).confirm()
    assert node.table == "new"


def test_a_directory_that_no_boot_reads(node: Node, tmp_path: Path) -> None:
    with pytest.raises(FirewallError, match=r"needs node\.state_dir to be"):
        Trial(tmp_path / "elsewhere").apply("new", 60)
    assert node.table is None


def test_without_systemd(node: Node, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trial, "SYSTEMD", tmp_path / "none")
    with pytest.raises(FirewallError, match="use --no-undo"):
        Trial(node.directory).apply("new", 60)
    assert Trial(node.directory).apply("new", None)
    assert settled(node) == "new"


def test_files_are_roots_alone(node: Node) -> None:
    Trial(node.directory).apply("new", None)
    assert (node.directory / "confirmed.nft").stat().st_mode & 0o777 == 0o600
    assert not (node.directory / "pending.nft").exists()


def test_confirmed_rules_are_loaded_again_over_the_baseline(node: Node) -> None:
    """As after a boot at which they did not load."""
    (node.directory / "confirmed.nft").write_text("same")
    node.table = "baseline"
    assert Trial(node.directory).apply("same", None)
    assert node.table == "same"
    assert not Trial(node.directory).apply("same", None)


def test_two_operators(node: Node) -> None:
    first, second = Trial(node.directory), Trial(node.directory)
    with first._locked(), pytest.raises(FirewallError, match="another"):
        second.apply("new", 60)
