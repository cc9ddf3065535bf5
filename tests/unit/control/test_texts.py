"""Which text a start runs, whatever ended the control before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgenode.config import ConfigError
from edgenode.control.texts import Texts, choose

MINIMAL = """
[node]
name = "lon1"
state_dir = "{state}"
[bgp]
asn = 64700
router_id = "198.51.100.161"
[[bgp.neighbors]]
name = "transit"
address = "198.51.100.2"
asn = 64601
[[groups]]
name = "{group}"
prefixes = ["203.0.113.0/24"]
checks = ["nginx"]
[[checks]]
name = "nginx"
type = "tcp"
target = "192.0.2.1:80"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "edgenode.toml"


@pytest.fixture
def texts(tmp_path: Path) -> Texts:
    return Texts(tmp_path / "control")


def text(file: Path, group: str) -> str:
    return MINIMAL.format(state=file.parent, group=group)


def running(file: Path) -> str:
    """The group of the text that is chosen."""
    return choose(file).config.groups[0].name


def test_the_first_start_ever_runs_the_file(file: Path, texts: Texts) -> None:
    file.write_text(text(file, "new"))
    assert (running(file), choose(file).problem) == ("new", "")
    texts.suspect(text(file, "new"), "it crashed")
    assert running(file) == "new", "there is nothing else"


def test_a_doubted_text_is_not_run_until_the_file_changes(file: Path, texts: Texts) -> None:
    texts.trust(text(file, "old"))
    file.write_text(text(file, "new"))
    assert running(file) == "new"
    texts.suspect(text(file, "new"), "it was undone")
    for _ in range(2):
        chosen = choose(file)
        assert chosen.config.groups[0].name == "old"
        assert chosen.text == text(file, "old")
        assert f"{file} is not in force: it was undone." in chosen.problem
        assert "edgenode apply" in chosen.problem
    file.write_text(text(file, "newer"))
    assert running(file) == "newer"


def test_what_was_confirmed_is_doubted_no_more(file: Path, texts: Texts) -> None:
    texts.trust(text(file, "old"))
    file.write_text(text(file, "new"))
    texts.suspect(text(file, "new"), "x")
    texts.trust(text(file, "new"))
    assert running(file) == "new"
    assert texts.doubt() is None


def test_a_text_keeps_its_ends_of_lines(file: Path, texts: Texts) -> None:
    windows = text(file, "new").replace("\n", "\r\n")
    texts.suspect(windows, "unproven")
    texts.trust(windows)
    assert texts.confirmed() == windows
    file.write_bytes(windows.encode())
    assert choose(file).text == windows


def test_to_trust_one_text_leaves_the_doubt_about_another(file: Path, texts: Texts) -> None:
    file.write_text(text(file, "new"))
    texts.suspect(text(file, "new"), "it was undone")
    texts.trust(text(file, "old"))
    assert running(file) == "old"


def test_killed_between_the_two_writes_of_a_confirmation(file: Path, texts: Texts) -> None:
    file.write_text(text(file, "new"))
    texts.suspect(text(file, "new"), "x")
    (file.parent / "control" / "confirmed.toml").write_text(text(file, "new"))
    assert (running(file), choose(file).problem) == ("new", "")


@pytest.mark.parametrize("damage", ["", "[node", "[node]\nname = 3\n"])
def test_a_damaged_file_leaves_the_confirmed_one(file: Path, texts: Texts, damage: str) -> None:
    if damage:
        # The state directory has to be found in what is left of the file.
        file.write_text(f'node.state_dir = "{file.parent}"\n{damage.replace("node", "bgp")}')
    with pytest.raises(ConfigError):
        choose(file)
    if damage:
        texts.trust(text(file, "old"))
        assert running(file) == "old"
        assert str(file) in choose(file).problem


@pytest.mark.parametrize("junk", ["", "{", "[]", '{"digest": "x"}', "\x00"])
def test_a_damaged_note_is_no_doubt(file: Path, texts: Texts, junk: str) -> None:
    texts.trust(text(file, "old"))
    file.write_text(text(file, "new"))
    (file.parent / "control" / "doubt.json").write_text(junk)
    assert running(file) == "new"


def test_a_damaged_confirmed_text_is_none(file: Path, texts: Texts) -> None:
    file.write_text(text(file, "new"))
    texts.suspect(text(file, "new"), "x")
    (file.parent / "control" / "confirmed.toml").write_text("[node")
    assert running(file) == "new"


def test_a_file_that_has_gone_gives_no_confirmed_text_up(file: Path, texts: Texts) -> None:
    check = f'type = "tls"\nca_file = "{file.parent}/ca.pem"'
    file.write_text(text(file, "old").replace('type = "tcp"', check))
    with pytest.raises(ConfigError, match=r"ca\.pem"):
        choose(file)  # never confirmed: it is not begun with
    texts.trust(file.read_text())
    assert running(file) == "old"
    assert "ca.pem cannot be read" in choose(file).problem
    file.write_text(file.read_text().replace('"old"', '"new"'))
    assert running(file) == "old", "a new text that is wrong is not run"


def test_nobody_else_may_read_what_may_name_secrets(file: Path, texts: Texts) -> None:
    texts.trust(text(file, "old"))
    texts.suspect(text(file, "new"), "x")
    for each in ("confirmed.toml", "doubt.json"):
        assert (file.parent / "control" / each).stat().st_mode & 0o777 == 0o600
