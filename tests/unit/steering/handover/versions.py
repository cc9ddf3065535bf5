"""`edgenode steering` as a process that stops, dies or speaks strangely at a step of a handover."""

from __future__ import annotations

import subprocess
import sys

from tests.unit.steering.process import Steering

MAIN = """
import os, signal, sys, time
from pathlib import Path
from edgenode.steering import supervisor
from edgenode.steering.handover import record
from edgenode.steering.handover.background import detach
from edgenode.steering.slot import Slot
run, state, workers, log, drain, what, where = sys.argv[1:]

def on_step(name):
    if what == "TERM" and name == "old-CLAIM":
        time.sleep(0.3)  # the new one is sooner
    if name == where:
        if what in ("KILL", "STOP", "TERM"):
            os.kill(os.getpid(), getattr(signal, "SIG" + what))
        elif what == "RELAY":
            os.kill(supervisors[0].slots[0].process.pid, signal.SIGKILL)
            time.sleep(0.05)
        elif what == "rotate":
            time.sleep(0.3)  # the new one serves, and has opened the log
            os.rename(log, log + ".1")
            os.kill(os.getpid(), signal.SIGHUP)
        elif what == "fail":
            raise OSError("it is not well")

on_taken = detach() if what == "replace" else None
if what == "format":
    record.FORMAT = 99
supervisors = []
init = supervisor.Supervisor.__init__
def remembered(self, *arguments):
    supervisors.append(self)
    init(self, *arguments)
supervisor.Supervisor.__init__ = remembered
sys.exit(supervisor.main(
    Path(run), Path(state), int(workers), 1000, Path(log), float(drain), on_step=on_step,
    on_taken=on_taken,
))
"""


class Versions(Steering):
    """Steering in one place, of which several processes are started, each like the one before but
    for what it does to itself."""

    workers = 2

    def begin(self, what: str = "", where: str = "", files: int = 0) -> subprocess.Popen[str]:
        arguments = [str(self.run_dir), str(self.state_dir), str(self.workers), str(self.log)]
        limit = ["prlimit", f"--nofile={files}"] if files else []
        process = subprocess.Popen(
            [*limit, sys.executable, "-c", MAIN, *arguments, "0", what, where],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process
