"""The keeper of the registry: what it makes of what etcd says, and what it does without it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from edgenode.api.registrymetrics import collect
from edgenode.config import Config
from edgenode.config.registry import Registry
from edgenode.control.registry import RegistryKeeper
from edgenode.registry.snapshot import Snapshot
from edgenode.state.registrycopy import Copy, RegistryCopy
from tests.unit.registry.fleets import entry, fleet, snapshot

Told = list[tuple[str, str, str]]


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def config(tmp_path: Path) -> Config:
    made = fleet()
    return made.model_copy(update={"node": made.node.model_copy(update={"state_dir": tmp_path})})


def keeper(config: Config, told: Told, before: RegistryKeeper | None = None) -> RegistryKeeper:
    return RegistryKeeper(config, lambda *event: told.append(event), before)


def workers(config: Config) -> list[str]:
    return [f"{region.name}/{w.name}" for region in config.regions for w in region.workers]


async def stored(made: RegistryKeeper) -> None:
    await made._store()


async def test_a_restart_without_etcd_serves_the_copy(config: Config, told: Told) -> None:
    first = keeper(config, told)
    assert not first.complete
    assert first.status()["age_s"] is None
    first.known(snapshot(entry("fra/w1", 5), entry("iad/w2", 6)))
    assert first.status()["source"] == "etcd"
    await stored(first)

    again = keeper(config, told)
    assert again.complete
    assert workers(again.merged) == ["fra/fixed", "fra/w1", "iad/w2"]
    again.trouble("https://etcd1:2379: Connection refused")
    again.trouble("https://etcd1:2379: Connection refused")
    status = again.status()
    assert (status["source"], status["revision"]) == ("copy", 6)
    assert status["problem"] == "https://etcd1:2379: Connection refused"
    assert len([text for _, _, text in told if "refused" in text]) == 1, "said once"
    again.heard()
    assert again.status()["problem"] == ""


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ("https://etcd1:2379: Connection refused", "Connection refused; "),
        ("https://etcd1:2379 does not answer as etcd does", "does not answer as etcd does; "),
        ("https://etcd1:23790: no leader", "https://etcd1:23790: no leader; "),
        ("https://etcd1:2379: x; https://etcd2:2379: y", "x; https://etcd2:2379: y; "),
    ],
)
async def test_the_endpoint_is_named_once(
    config: Config, told: Told, problem: str, said: str
) -> None:
    registry = Registry.model_validate({"endpoints": ["https://etcd1:2379"]})
    made = keeper(config.model_copy(update={"registry": registry}), told)
    made.trouble(problem)
    assert told[-1][:2] == ("registry", "https://etcd1:2379")
    assert told[-1][2].startswith(said)
    assert made.status()["problem"] == problem


async def test_the_age_of_a_copy_goes_on(config: Config, told: Told, tmp_path: Path) -> None:
    first = keeper(config, told)
    first.known(snapshot(entry("fra/w1", 5)))
    await stored(first)
    copies = RegistryCopy(tmp_path / "control")
    copy = copies.load()
    assert copy
    old = type(copy)(copy.prefix, copy.cluster, copy.revision, time.time() - 3600, copy.records)
    copies.store(old)
    again = keeper(config, told)
    assert 3600 <= again.status()["age_s"] < 3610
    assert 3600 <= again.revision().age < 3610
    figures = {
        family.name: family.samples[0].value for family in collect({"registry": again.status()})
    }
    assert 3600 <= figures["edgenode_registry_age_seconds"] < 3610
    assert figures["edgenode_registry_revision"] == 5
    assert figures["edgenode_registry_workers"] == 1


async def test_who_has_gone_since_the_copy_is_missing_not_forgotten(
    config: Config, told: Told
) -> None:
    first = keeper(config, told)
    first.known(snapshot(*(entry(f"fra/w{n}", n) for n in (1, 2, 3))))
    await stored(first)
    again = keeper(config, told)
    seen: list[Config] = []
    again._on_workers = seen.append
    again.known(snapshot())
    assert len(workers(seen[-1])) == 4
    assert [each["held"] for each in again.status()["missing"]] == [True] * 3
    await stored(again)
    third = keeper(config, told)
    assert len(third.status()["missing"]) == 3, "over a restart, too"


async def test_garbage_is_told_once_and_disturbs_nobody(config: Config, told: Told) -> None:
    made = keeper(config, told)
    seen: list[Config] = []
    made._on_workers = seen.append
    good, bad = entry("fra/w1", 5), entry("fra/w2", 6, b"\xffgarbage")
    made.known(snapshot(good))
    made.known(snapshot(good, bad))
    made.known(snapshot(good, bad, entry("iad/w3", 7)))
    refused = [(subject, text) for _, subject, text in told if "is not used" in text]
    assert [subject for subject, _ in refused] == ["/edgenode/workers/fra/w2"]
    assert [len(workers(each)) for each in seen] == [2, 3], "nothing changed by the garbage"
    assert made.status()["refused_count"] == 1


async def test_thousands_that_change_one_by_one_leave_time_for_others(
    config: Config, told: Told
) -> None:
    made = keeper(config, told)
    seen: list[Config] = []

    def slow(merged: Config) -> None:
        seen.append(merged)
        time.sleep(0.03)

    made._on_workers = slow
    begun = time.monotonic()
    for n in range(1, 200):
        made.known(snapshot(entry("fra/w1", 5, weight=n)))
        await asyncio.sleep(0.002)
    passed = time.monotonic() - begun
    await asyncio.sleep(0.3)
    assert len(seen) * 0.03 <= passed / 4 + 0.06
    assert seen[-1].regions[0].workers[1].weight == 199, "the last one is in force"


async def test_another_configuration_goes_on_with_what_is_known(config: Config, told: Told) -> None:
    first = keeper(config, told)
    first.known(snapshot(entry("fra/w1", 5), entry("iad/w2", 6)))
    without_iad = config.model_copy(update={"regions": config.regions[:1]})
    second = keeper(without_iad, told, first)
    assert workers(second.merged) == ["fra/fixed", "fra/w1"]
    assert second.complete
    plain = keeper(config.model_copy(update={"registry": None}), told, second)
    assert workers(plain.merged) == ["fra/fixed"]
    assert plain.status()["source"] == "config"
    assert list(collect({"registry": plain.status()})) == []


async def test_a_copy_that_is_damaged_is_told_and_made_anew(
    config: Config, told: Told, tmp_path: Path
) -> None:
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "registry.sqlite").write_bytes(b"no database at all" * 500)
    made = keeper(config, told)
    assert "cannot be read" in told[0][2]
    assert not made.complete
    made.known(snapshot(entry("fra/w1", 5)))
    await stored(made)
    assert workers(keeper(config, told).merged) == ["fra/fixed", "fra/w1"]


async def test_a_copy_of_another_prefix_is_not_ours(config: Config, told: Told) -> None:
    first = keeper(config, told)
    first.known(snapshot(entry("fra/w1", 5)))
    await stored(first)
    assert config.registry
    other = config.registry.model_copy(update={"prefix": "/other"})
    assert not keeper(config.model_copy(update={"registry": other}), told).complete


async def test_revisions_of_two_edges(config: Config, told: Told) -> None:
    one, two = keeper(config, told), keeper(config, told)
    both = (entry("fra/w1", 5), entry("iad/w2", 6))
    one.known(snapshot(*both))
    two.known(Snapshot(snapshot(*both).entries, 90, "c"))
    assert one.revision().digest == two.revision().digest, "whatever came between"
    two.known(snapshot(entry("fra/w1", 5)))
    assert one.revision().digest != two.revision().digest


async def test_a_disk_that_hangs_does_not_hold_up_a_node_that_is_at_work(
    config: Config, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[registry] comes with an apply: its copy, of a time when it was there, is read aside."""
    first = keeper(config, told)
    first.known(snapshot(entry("fra/w1", 5)))
    await stored(first)
    loads = RegistryCopy.load

    def slow(copy: RegistryCopy) -> Copy | None:
        time.sleep(1.0)
        return loads(copy)

    monkeypatch.setattr(RegistryCopy, "load", slow)
    without = keeper(config.model_copy(update={"registry": None}), told)
    begun = time.monotonic()
    after = keeper(config, told, without)
    assert time.monotonic() - begun < 0.7
    served: list[list[str]] = []
    task = asyncio.create_task(after.run(lambda merged: served.append(workers(merged))))
    async with asyncio.timeout(5):
        while not served:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert served[0] == ["fra/fixed", "fra/w1"]
