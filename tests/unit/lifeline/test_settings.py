from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.config import Config
from edgenode.config.values import parse_duration
from edgenode.lifeline.settings import Settings, SettingsError, read, seconds


def test_defaults_are_those_of_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text("")
    own = read(path)
    assert own == Settings()
    schema = Config.model_fields["lifeline"].default
    assert (own.device, own.grace, own.heartbeat_timeout) == (
        schema.device,
        schema.grace,
        schema.heartbeat_timeout,
    )


def test_values(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(
        '[node]\nrun_dir = "/x"\n[lifeline]\ndevice = "e1"\ngrace = "500ms"\nheartbeat_timeout = 2'
    )
    assert read(path) == Settings(Path("/x/lifeline/lifeline.sock"), "e1", 0.5, 2.0)


@pytest.mark.parametrize(
    "text",
    [
        "[lifeline]\ndevice = 'lo'",
        "[lifeline]\ngrace = '2m'",
        "[lifeline]\nheartbeat_timeout = '500ms'",
        "[lifeline]\nheartbeat_timeout = '1h'",
        "[",
        "[lifeline]\ndevice = 'a/b'",
        "[lifeline]\ngrace = 'soon'",
        "lifeline = 3",
        "node = []",
    ],
)
def test_what_cannot_be_used_names_the_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"node\.toml"):
        read(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read(tmp_path / "none.toml")


durations = st.one_of(
    st.from_regex(r"(\d{1,4}(\.\d{1,3})?(ms|s|m|h|d)){1,3}", fullmatch=True),
    st.text(max_size=6),
    st.integers(-5, 10**9),
    st.booleans(),
)


@given(durations)
def test_durations_mean_what_they_mean_in_the_schema(value: object) -> None:
    try:
        expected = parse_duration(value)
    except ValueError:
        with pytest.raises(ValueError, match="is"):
            seconds(value)
    else:
        assert seconds(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("250ms", 0.25),
        ("3s", 3.0),
        ("1m30s", 90.0),
        ("1.5s", 1.5),
        (" 2s ", 2.0),
        ("2h", 7200.0),
        (2, 2.0),
        (0.5, 0.5),
        (0, 0.0),
        ("365d", 31536000.0),
        ("366d", None),
        ("", None),
        ("3", None),
        ("s", None),
        ("-1s", None),
        ("1 s", None),
        ("1s2", None),
        ("1e3s", None),
        (True, None),
        (-1, None),
        (float("nan"), None),
        (float("inf"), None),
        (None, None),
        ([], None),
    ],
)
def test_both_parsers_of_durations_agree(value: object, expected: float | None) -> None:
    for parse in (seconds, parse_duration):
        if expected is None:
            with pytest.raises(ValueError, match=r"duration|year"):
                parse(value)
        else:
            assert parse(value) == expected


def test_the_process_imports_the_standard_library_alone() -> None:
    code = (
        "import sys; import edgenode.lifeline.hold; "
        "top = {name.split('.')[0] for name in sys.modules}; "
        "print(sorted(top - set(sys.stdlib_module_names)), 'asyncio' in top)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.strip() == "['__main__', 'edgenode'] False"
