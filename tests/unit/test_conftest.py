"""What holds for all tests: an end from outside leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TESTS = """
import subprocess, time
from pathlib import Path
import pytest

HERE = Path(__file__).parent

@pytest.fixture(scope="session")
def daemon():
    with subprocess.Popen(["sleep", "60"]) as process:
        (HERE / "draft").write_text(str(process.pid))
        yield process
        time.sleep(0.2)
        process.terminate()
    (HERE / "torn-down").touch()

def test_long(daemon):
    (HERE / "draft").rename(HERE / "pid")
    time.sleep(60)
"""


# With a worker of pytest-xdist it takes long, and on a busy machine longer than can be waited for.
@pytest.mark.parametrize("workers", ["0", pytest.param("1", marks=pytest.mark.slow)])
def test_a_run_that_is_terminated_tears_its_fixtures_down(tmp_path: Path, workers: str) -> None:
    """Also where the signal comes twice, as it does from those who lose patience."""
    (tmp_path / "test_it.py").write_text(TESTS)
    options = ["-c", os.devnull, f"--rootdir={tmp_path}", "-p", "no:cacheprovider", "-n", workers]
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", *options, tmp_path / "test_it.py"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
    )
    pid = tmp_path / "pid"
    until = time.monotonic() + 30
    while not pid.exists():
        assert time.monotonic() < until
        assert run.poll() is None
        time.sleep(0.02)
    run.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    run.send_signal(signal.SIGTERM)
    said, _ = run.communicate(timeout=30)
    assert run.returncode == pytest.ExitCode.INTERRUPTED, said
    assert (tmp_path / "torn-down").exists(), said
    assert not Path(f"/proc/{pid.read_text()}").exists()
