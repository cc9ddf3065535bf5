"""What `edgenode trace` says of each candidate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from edgenode.health.risefall import State
from edgenode.regions.expectation import LeftAlone
from edgenode.regions.publisher import Publisher
from edgenode.regions.ranking import States, TargetState, without
from edgenode.regions.reasons import Seen
from edgenode.regions.registry import Registry, TargetKey
from edgenode.regions.trace import RegionCandidate, Trace, TraceError, candidates, service_for
from tests.unit.regions.worlds import REGISTRY, config, states, with_keys

NOW = 5000.0
NEAR_FRA: Mapping[str, float | None] = {"fra": 10, "iad": 20, "sin": 90}


def trace(
    registry: Registry = REGISTRY,
    known: States | None = None,
    seen: Seen | None = None,
    then: States | None = None,
) -> Trace:
    """Of service web, after a table was made of what was known; `then`: what is known since."""
    known = states(NEAR_FRA, registry=registry) if known is None else known
    publisher = Publisher(registry, 0.0)
    publisher.update(known, 10.0, NOW - 10)
    return candidates(
        registry,
        registry.services[0],
        then or known,
        publisher.table,
        publisher.order,
        Seen({}) if seen is None else seen,
        NOW,
    )


def region(found: Trace, name: str) -> RegionCandidate:
    return next(one for one in found.regions if one.region == name)


def of_worker(found: Trace, name: str) -> str:
    return next(w.why for r in found.regions for w in r.workers if w.worker == name)


def test_the_nearest_is_taken_and_the_others_say_how_far_they_are() -> None:
    found = trace()
    assert (found.region, found.workers) == ("fra", {"fra-1": 0.5, "fra-2": 0.5})
    assert found.why == "fra: the nearest (10.0 ms)"
    assert [(one.region, one.place, one.why) for one in found.regions] == [
        ("fra", 1, "the nearest (10.0 ms)"),
        ("iad", 2, "comes after fra: 10.0 ms farther"),
        ("sin", 3, "comes after fra: 80.0 ms farther"),
    ]
    assert of_worker(found, "fra-1") == "50 % of new connections"
    assert of_worker(found, "iad-1") == "its region is not the one"
    assert json.loads(json.dumps(found.to_json()))["regions"][0]["workers"][0]["share"] == 0.5


@pytest.mark.parametrize(
    ("web", "why"),
    [
        (
            {"pin": "sin"},
            {
                "sin": "the service is pinned to it (90.0 ms)",
                "fra": "the service is pinned to sin",
                "iad": "the service is pinned to sin",
            },
        ),
        (
            {"prefer": ["iad"], "exclude": ["fra"]},
            {
                "iad": "preferred for this service (20.0 ms)",
                "sin": "comes after iad: iad is preferred",
                "fra": "excluded for this service",
            },
        ),
        (
            {"regions": ["iad"]},
            {
                "iad": "the only one with a healthy worker (20.0 ms)",
                "fra": "not among the regions of this service",
            },
        ),
    ],
)
def test_what_a_service_asks_for(web: dict[str, Any], why: dict[str, str]) -> None:
    found = trace(with_keys(web=web))
    assert found.region == next(iter(why))
    assert {one.region: one.why for one in found.regions} == why


def test_the_dead_and_the_draining_are_passed_over_and_say_why() -> None:
    registry = with_keys(fra={"draining": True}, sin_1={"draining": True})
    known = dict(states({"fra": 10, "iad": None, "sin": 90}, registry=registry))
    for key in known:
        if key.region == "iad":
            known[key] = TargetState(State.DOWN, None, "connection to iad refused", 0.0)
    found = trace(registry, known)
    assert (found.region, found.workers) == ("sin", {"sin-2": 1.0})
    assert region(found, "fra").why == "draining: it gets no new connections"
    assert region(found, "iad").why == "none of its 2 workers is up: connection to iad refused"
    assert of_worker(found, "fra-1") == "draining"
    assert of_worker(found, "iad-1") == "down: connection to iad refused"
    assert of_worker(found, "sin-1") == "draining"


def test_when_everything_drains_it_is_said() -> None:
    registry = with_keys(**{name: {"draining": True} for name in ("fra", "iad", "sin")})
    found = trace(registry)
    assert found.region == "fra"
    assert (
        region(found, "fra").why == "the nearest (10.0 ms); it drains, but nothing else is healthy"
    )
    assert "it drains, but nothing else is healthy" in of_worker(found, "fra-1")


def test_when_all_ways_are_bad_it_is_said() -> None:
    known = without(states(NEAR_FRA), {one.key: "large packets vanish" for one in REGISTRY.targets})
    found = trace(known=known)
    assert found.region == "fra"
    assert region(found, "fra").why.endswith("the way to it is bad, but nothing else is healthy")
    assert of_worker(found, "fra-1").startswith("down: large packets vanish; 50 %")


def test_a_suspect_is_told() -> None:
    up = states(NEAR_FRA)
    why = "no answer for 0.3 s"
    some = {k: replace(one, suspect=why) if k.region == "fra" else one for k, one in up.items()}
    found = trace(known=some)
    assert (found.region, found.why) == ("iad", "iad: the nearest (20.0 ms)")
    assert region(found, "fra").why == of_worker(found, "fra-1") == "suspect: no answer for 0.3 s"
    assert [worker.suspect for worker in region(found, "fra").workers] == [True, True]
    every = trace(known={key: replace(one, suspect=why) for key, one in up.items()})
    assert every.region == "fra"
    told = "suspect: no answer for 0.3 s, but nothing else is healthy"
    assert region(every, "fra").why.endswith(told)
    assert told in of_worker(every, "fra-1")


def test_what_is_full_spills_over() -> None:
    registry = with_keys(fra={"hard_limit": 5}, iad_1={"soft_limit": 3})
    live = {("fra", "fra-1"): 2, ("fra", "fra-2"): 3, ("iad", "iad-1"): 4}
    found = trace(registry, seen=Seen(live))
    assert (found.region, found.workers) == ("iad", {"iad-2": 1.0})
    assert found.why == "iad: the first with room, since fra is at its hard limit (5 of 5)"
    assert region(found, "fra").why == "passed over: it is at its hard limit (5 of 5)"
    assert region(found, "iad").why == "the first with room"
    assert of_worker(found, "iad-1") == "at its soft limit (4 of 3)"
    assert (region(found, "fra").live, region(found, "sin").live) == (5, 0)


def test_what_the_relays_leave_alone() -> None:
    one: Mapping[LeftAlone, str] = {("fra", "fra-1"): "refused, for 30 s more"}
    found = trace(seen=Seen({}, one))
    assert found.workers == {"fra-2": 1.0}
    assert of_worker(found, "fra-1") == "left alone by the relays: refused, for 30 s more"
    last: Mapping[LeftAlone, str] = {("fra", None): "timeout, for 3 s more"}
    found = trace(seen=Seen({}, last))
    assert found.why == "iad: the first with room, since fra comes last: timeout, for 3 s more"
    assert region(found, "fra").why == "passed over: it comes last: timeout, for 3 s more"
    every: Mapping[LeftAlone, str] = {(name, None): "timeout" for name in ("fra", "iad", "sin")}
    assert "tried all the same" in trace(seen=Seen({}, every)).why


def test_a_slow_start_is_told() -> None:
    registry = with_keys(web={"slow_start": "30s"})
    key = TargetKey("fra", "fra-1", 8080)
    publisher = Publisher(registry, 0.0)
    up = states(NEAR_FRA, registry=registry)
    publisher.update(states(NEAR_FRA, {key: State.DOWN}, registry), 1.0, NOW - 40)
    publisher.update(up, 20.0, NOW - 15)
    found = candidates(
        registry, registry.services[0], up, publisher.table, publisher.order, Seen({}), NOW
    )
    assert "came up 15 s ago: 50 % of its weight" in of_worker(found, "fra-1")
    assert found.workers == {"fra-2": 1.0}, "equally many connections are more for half a weight"


def test_what_is_newer_than_the_table_is_told() -> None:
    gone = states(NEAR_FRA, {TargetKey("fra", "fra-1", 8080): State.DOWN})
    found = trace(then=gone)
    assert "the next table is without it" in of_worker(found, "fra-1")
    new = trace(known=states({"iad": 20, "fra": None, "sin": 90}), then=states(NEAR_FRA))
    assert region(new, "fra").why == "its workers have just come up: the next table has them"
    assert of_worker(new, "fra-1") == "it has just come up: the next table has it"


def test_a_nearer_region_within_the_margin() -> None:
    found = trace(known=states({"fra": 11, "iad": 10, "sin": 90}))
    assert (
        found.why == "fra: first so far (11.0 ms): iad is 1.0 ms nearer, too little or too lately"
    )
    assert region(found, "iad").why == "comes after fra: 1.0 ms nearer, too little or too lately"


def test_nobody_is_left() -> None:
    found = trace(known=states({"fra": None, "iad": None, "sin": None}))
    assert (found.region, found.workers) == (None, {})
    assert found.why == "no worker that this service may use is healthy: clients are refused"
    web = REGISTRY.services[0]
    nothing = candidates(REGISTRY, web, states({}), None, ("fra", "iad", "sin"), Seen(), NOW)
    assert (nothing.revision, nothing.why) == (
        None,
        "there is no table yet: the first probes are out",
    )
    assert region(nothing, "fra").why == "nothing is known of its workers yet"
    full = with_keys(**{name: {"hard_limit": 1} for name in ("fra", "iad", "sin")})
    live = {("fra", "fra-1"): 1, ("iad", "iad-1"): 1, ("sin", "sin-1"): 1}
    assert "as many connections as they may" in trace(full, seen=Seen(live)).why


def test_without_a_report_nothing_is_said_of_connections() -> None:
    found = trace(seen=Seen())
    assert found.region == "fra"
    assert region(found, "fra").live is None


def test_the_service_is_found_by_name_or_by_an_address_of_the_node() -> None:
    services, groups = REGISTRY.services, config().groups
    web, mail = services
    assert service_for(services, groups, "198.51.100.7", "mail") is mail
    assert service_for(services, groups, "203.0.113.1:80", None) is web
    assert service_for(services, groups, "203.0.113.1:25", None) is mail
    assert service_for(services[:1], groups, "2001:db8::7", None) is web
    for address, name, why in (
        ("203.0.113.1", None, "2 services listen on 203.0.113.1: .*--service .web, mail"),
        ("198.51.100.7", None, "several services: .*--service .web, mail"),
        ("198.51.100.7", "www", "there is no service 'www'; there are: web, mail"),
        ("example.net", "web", "'example.net' is no address"),
        ("", None, "'' is no address"),
        ("fe80::1%\x1b[31m", "web", "is no address"),
        ("203.0.113.1:x", "web", "is no address"),
    ):
        with pytest.raises(TraceError, match=why):
            service_for(services, groups, address, name)
    with pytest.raises(TraceError, match="no service is steered"):
        service_for((), (), "198.51.100.7", None)


def test_an_address_of_ours_that_no_service_listens_on_is_no_clients() -> None:
    services = REGISTRY.services
    (web,) = config().groups
    dns = web.model_copy(update={"name": "dns", "prefixes": (ip_network("192.0.2.0/24"),)})
    for address, name, why in (
        (
            "203.0.113.1:81",
            None,
            "no service listens on 203.0.113.1:81, an address of the group web: ask for one that a "
            "service listens on (web on 203.0.113.1:80; mail on 203.0.113.1:25)",
        ),
        (
            "203.0.113.9",
            None,
            "no service listens on 203.0.113.9, an address of the group web: ask for one that a "
            "service listens on (web on 203.0.113.1:80; mail on 203.0.113.1:25)",
        ),
        (
            "203.0.113.1:25",
            "web",
            "service web does not listen on 203.0.113.1:25, an address of the group web: ask for "
            "one that a service listens on (web on 203.0.113.1:80; mail on 203.0.113.1:25)",
        ),
        (
            "192.0.2.1",
            None,
            "no service listens on 192.0.2.1, an address of the group dns: that group has no "
            "service, nobody is steered from there",
        ),
    ):
        with pytest.raises(TraceError) as refused:
            service_for(services, (web, dns), address, name)
        assert str(refused.value) == why
    # Nor is the only service meant by it.
    with pytest.raises(TraceError, match="no service listens on"):
        service_for(services[:1], (web, dns), "203.0.113.1:81", None)
    assert service_for(services, (web, dns), "203.0.113.1", "mail").name == "mail"
