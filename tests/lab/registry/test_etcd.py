"""An edge beside a real etcd: what it is told, and what it does when etcd is away or damaged."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from edgenode.lab.waiting import wait_until
from tests.lab.registry.etcd import EtcdServer, namespace, server
from tests.lab.registry.gate import gate
from tests.lab.registry.keeping import configured, keeping, record
from tests.unit.health.certificates import Authority

WORKERS = "/edgenode/workers"


def test_changes_arrive_and_bad_records_disturb_nobody(etcd: EtcdServer, tmp_path: Path) -> None:
    etcd.put(f"{WORKERS}/fra/w1", record(1))
    with keeping(etcd.namespace, configured(tmp_path, [etcd.url])) as edge:
        edge.until("fra/w1")
        assert edge.status["source"] == "etcd"
        etcd.put(f"{WORKERS}/iad/w2", record(2, weight=5))
        begun = time.monotonic()
        edge.until("fra/w1", "iad/w2")
        assert time.monotonic() - begun < 1, "watched, and not asked for now and then"
        revision = edge.status["revision"]
        etcd.put(f"{WORKERS}/iad/w2", record(2, draining=True))
        edge.heard("iad/w2: is draining")
        assert edge.status["revision"] == revision + 1
        before = len(edge.seen)
        bad = {
            f"{WORKERS}/fra/noise": "\x01\x02 no JSON at all",
            f"{WORKERS}/fra/empty": "",
            f"{WORKERS}/fra/thief": record(1),
            f"{WORKERS}/fra/outside": record(9, addresses=["192.0.2.9"]),
            f"{WORKERS}/fra/huge": record(9, more="x" * 100_000),
            f"{WORKERS}/no/such/form": record(9),
            f"{WORKERS}/nowhere/w9": record(9),
        }
        for key, value in bad.items():
            etcd.put(key, value)
        wait_until(lambda: edge.status["refused_count"] == len(bad), 5, "all are refused")
        assert edge.workers == ["fra/w1", "iad/w2"]
        assert len(edge.seen) == before, "no other target was touched"
        said = [text for text in edge.told if "is not used" in text]
        assert len(said) == len(bad), "each is told once"
        assert any("thief" in s and "10.1.1.1 is the address of fra/w1" in s for s in said)
        # It drained before it went: it goes at once.
        etcd.ctl("del", f"{WORKERS}/iad/w2")
        edge.until("fra/w1", within=0.4)


def test_a_lease_ends_and_most_leases_end(etcd: EtcdServer, tmp_path: Path) -> None:
    def granted() -> str:
        return etcd.ctl("lease", "grant", "1").stdout.split()[1]

    for n in (1, 2, 3):
        etcd.put(f"{WORKERS}/fra/w{n}", record(n))
    lease = granted()
    etcd.ctl("put", "--lease", lease, f"{WORKERS}/fra/w4", record(4))
    with keeping(etcd.namespace, configured(tmp_path, [etcd.url])) as edge:
        edge.until("fra/w1", "fra/w2", "fra/w3", "fra/w4")
        edge.until("fra/w1", "fra/w2", "fra/w3")
        for n in (1, 2):
            etcd.ctl("del", f"{WORKERS}/fra/w{n}")
        edge.heard("2 of 3 workers' records have gone at once")
        time.sleep(1.0)  # twice as long as one alone would stay
        assert edge.workers == ["fra/w1", "fra/w2", "fra/w3"]
        assert [each["held"] for each in edge.status["missing"]] == [True, True]


def test_what_was_compacted_while_the_watch_was_cut(etcd: EtcdServer, tmp_path: Path) -> None:
    etcd.put(f"{WORKERS}/fra/w1", record(1))
    etcd.put(f"{WORKERS}/fra/w2", record(2, draining=True))
    with (
        gate(etcd.namespace, 3379, etcd.port) as way,
        keeping(etcd.namespace, configured(tmp_path, [way.url])) as edge,
    ):
        edge.until("fra/w1", "fra/w2")
        way.shut()
        edge.heard("what was known")
        assert edge.status["source"] == "copy"
        etcd.put(f"{WORKERS}/iad/w3", record(3))
        way.open()
        edge.until("fra/w1", "fra/w2", "iad/w3")  # it went on where it was

        way.shut()
        wait_until(lambda: edge.status["source"] == "copy", 5, "cut again")
        etcd.ctl("del", f"{WORKERS}/fra/w2")
        etcd.put(f"{WORKERS}/iad/w4", record(4))
        etcd.ctl("compaction", str(etcd.revision()), "--physical")
        way.open()
        edge.until("fra/w1", "iad/w3", "iad/w4")
        etcd.put(f"{WORKERS}/iad/w5", record(5))
        edge.until("fra/w1", "iad/w3", "iad/w4", "iad/w5", within=2)


def test_an_etcd_that_hangs_is_said_and_the_age_grows(etcd: EtcdServer, tmp_path: Path) -> None:
    etcd.put(f"{WORKERS}/fra/w1", record(1))
    with keeping(etcd.namespace, configured(tmp_path, [etcd.url], timeout=0.4)) as edge:
        edge.until("fra/w1")
        etcd.stand_still(True)
        edge.heard("no answer within 0.4 s")
        age = edge.status["age_s"]
        wait_until(lambda: edge.status["age_s"] >= age + 1, 5, "it grows")
        assert edge.workers == ["fra/w1"]
        etcd.stand_still(False)
        wait_until(lambda: edge.status["source"] == "etcd", 10, "it is heard again")
        assert edge.status["age_s"] < 1
    # Another start, without etcd: the copy.
    etcd.kill()
    with keeping(etcd.namespace, configured(tmp_path, [etcd.url])) as edge:
        edge.heard("1 worker from the copy")
        edge.heard("Connect")
        assert edge.workers == ["fra/w1"]
        assert edge.status["source"] == "copy"


def test_an_etcd_that_was_set_up_anew(etcd: EtcdServer, tmp_path: Path) -> None:
    """Its revisions begin at 1: a watch from where it was would hear nothing for long."""
    for n in (1, 2, 3):
        etcd.put(f"{WORKERS}/fra/w{n}", record(n))
    with keeping(etcd.namespace, configured(tmp_path, [etcd.url])) as edge:
        edge.until("fra/w1", "fra/w2", "fra/w3")
        etcd.kill()
        shutil.rmtree(etcd.directory / "data")
        etcd.start()
        edge.heard("3 of 3 workers' records have gone at once")
        assert edge.workers == ["fra/w1", "fra/w2", "fra/w3"]
        etcd.put(f"{WORKERS}/fra/w1", record(1, weight=9))
        etcd.put(f"{WORKERS}/iad/w7", record(7))
        edge.until("fra/w1", "fra/w2", "fra/w3", "iad/w7")


def test_passwords_and_certificates(tmp_path: Path) -> None:
    """Two endpoints of which the first is dead; TLS on both sides; a role that may only read."""
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    theirs, ours = authority.issue("127.0.0.1", "localhost"), authority.issue("edge.example.net")
    tls = (
        *("--cert-file", str(theirs.certificate), "--key-file", str(theirs.key)),
        *("--client-cert-auth", "--trusted-ca-file", str(authority.file)),
    )
    client = (
        *("--cacert", str(authority.file), "--cert", str(ours.certificate)),
        *("--key", str(ours.key)),
    )
    password = tmp_path / "password"
    password.write_text("open-sesame\n")
    password.chmod(0o600)
    with namespace() as inside, server(inside, tmp_path, tls=tls, client=client) as etcd:
        etcd.put(f"{WORKERS}/fra/w1", record(1))
        for command in (
            ("user", "add", "root:top"),
            ("role", "add", "edges"),
            ("role", "grant-permission", "edges", "read", "--prefix=true", "/edgenode/"),
            ("user", "grant-role", "root", "root"),
            ("user", "add", "edge:open-sesame"),
            ("user", "grant-role", "edge", "edges"),
        ):
            etcd.ctl(*command)
        etcd.ctl("auth", "enable")
        etcd.client = (*client, "--user", "root:top")
        files = {
            "ca_file": str(authority.file),
            "cert_file": str(ours.certificate),
            "key_file": str(ours.key),
            "user": "edge",
            "password_file": str(password),
        }
        endpoints = ["https://127.0.0.1:1", f"https://localhost:{etcd.port}"]
        with keeping(inside, configured(tmp_path, endpoints, **files)) as edge:
            edge.until("fra/w1")
            # A token ends: the next one is asked for, and nobody notices.
            told = len(edge.told)
            etcd.ctl("user", "passwd", "edge", "--interactive=false", text="open-sesame")
            etcd.put(f"{WORKERS}/fra/w2", record(2))
            edge.until("fra/w1", "fra/w2")
            time.sleep(0.5)
            assert [each for each in edge.told[told:] if "registered" not in each] == []
            # All tokens are forgotten, as they are after some minutes.
            etcd.kill()
            etcd.start()
            etcd.put(f"{WORKERS}/fra/w3", record(3))
            edge.until("fra/w1", "fra/w2", "fra/w3")
            assert "sesame" not in " ".join(edge.told)
        password.write_text("open-barley\n")
        for state, settings, said in (
            ("a", files, "does not let user edge in: look at user and password_file"),
            ("b", {**files, "ca_file": str(stranger.file)}, "its certificate is not accepted"),
            ("c", {"ca_file": str(authority.file)}, "certificate"),
        ):
            wrong = configured(tmp_path / state, [etcd.url], **settings)
            with keeping(inside, wrong) as edge:
                edge.heard(said)
                assert edge.workers == []
                assert "barley" not in " ".join(edge.told)
