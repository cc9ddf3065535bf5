"""Real servers and proxies on loopback, that end with the test."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from tests.unit.steering.process import Address
from tests.unit.steering.running import PATIENCE, eventually

Start = Callable[[Sequence[str]], None]


@contextmanager
def running(command: Sequence[str], *ready: Address, user: str | None = None) -> Iterator[None]:
    """A process in the foreground; it is waited for until it listens there."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, user=user, group=user
        )
        try:
            for address in ready:
                eventually(partial(_settled, process, address))
            if process.poll() is not None:
                said.seek(0)
                raise RuntimeError(f"{command[0]}: {said.read().decode()}")
            yield
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(PATIENCE)


def _settled(process: subprocess.Popen[bytes], address: Address) -> bool:
    return process.poll() is not None or listens(address)


def listens(address: Address) -> bool:
    with contextlib.suppress(OSError), address.connect():
        return True
    return False


def haproxy(directory: Path, sections: str, *ready: Address) -> AbstractContextManager[None]:
    """With these sections, in which each address is bound with SO_REUSEPORT."""
    file = directory / "haproxy.cfg"
    file.write_text(
        f"global\n  nbthread 1\ndefaults\n  timeout connect 5s\n  timeout client 10s\n"
        f"  timeout server 10s\n{sections}\n"
    )
    return running(["haproxy", "-db", "-f", str(file)], *ready)


def nginx(directory: Path, sections: str, *ready: Address) -> AbstractContextManager[None]:
    """With these `http` and `stream` sections."""
    file = directory / "nginx.conf"
    module = next(Path("/usr/lib/nginx/modules").glob("ngx_stream_module.so"))
    file.write_text(
        f"load_module {module};\ndaemon off;\nmaster_process off;\npid {directory}/nginx.pid;\n"
        f"error_log {directory}/nginx.log;\nevents {{}}\n{sections}\n"
    )
    return running(["nginx", "-p", str(directory), "-c", str(file)], *ready)


def redis(directory: Path, address: Address) -> AbstractContextManager[None]:
    """Without a file of its own."""
    options = ["--bind", address.host, "--port", str(address.port), "--save", "", "--dir"]
    return running(["redis-server", *options, str(directory)], address)


@contextmanager
def sshd(directory: Path, address: Address) -> Iterator[list[str]]:
    """With keys of its own; the options by which ssh(1) is let in as this user."""
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)]
        subprocess.run(command, check=True)
    file = directory / "sshd_config"
    file.write_text(
        f"ListenAddress {address}\nHostKey {directory}/host\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {directory}/user.pub\nStrictModes no\nPasswordAuthentication no\n"
    )
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # as its unit would; it wants it there
    options = {
        "IdentityFile": f"{directory}/user",
        "UserKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "no",
        "BatchMode": "yes",
        "LogLevel": "ERROR",
        "RekeyLimit": "1M",
    }
    with running(["/usr/sbin/sshd", "-D", "-e", "-f", str(file)], address):
        yield ["-F", "none", *(f"-o{key}={value}" for key, value in options.items())]


def certificate(directory: Path) -> Path:
    """Certificate and key of nobody in particular, in one file."""
    file = directory / "pair.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    out = ["-subj", "/CN=anybody.example", "-keyout", str(file), "-out", f"{file}.cert"]
    subprocess.run([*request, *out], check=True, capture_output=True)
    file.write_text(file.read_text() + Path(f"{file}.cert").read_text())
    return file


@contextmanager
def postgresql(address: Address) -> Iterator[Path]:
    """A cluster of its own, with TLS, that trusts everybody; the directory of its programs."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: int(one.parent.name))
    owner = pwd.getpwnam("postgres")
    directory = Path(tempfile.mkdtemp(prefix="edgenode-postgresql-"))
    try:
        os.chown(directory, owner.pw_uid, owner.pw_gid)
        data = directory / "data"

        def run(*command: str) -> None:
            subprocess.run(
                command, check=True, capture_output=True, cwd=directory, user=owner.pw_uid,
                group=owner.pw_gid, timeout=60,
            )  # fmt: skip

        run(f"{programs}/initdb", "-D", str(data), "-A", "trust", "--no-sync", "-U", "postgres")
        request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        pair = ["-subj", "/CN=db.example", "-keyout", f"{data}/key", "-out", f"{data}/cert"]
        run(*request, *pair)
        settings = {
            "listen_addresses": address.host,
            "port": address.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "ssl": "on",
            "ssl_cert_file": "cert",
            "ssl_key_file": "key",
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        command = [f"{programs}/postgres", "-D", str(data), *options]
        with running(command, address, user="postgres"):
            yield programs
    finally:
        shutil.rmtree(directory)
