"""Distances and the order that follows from them."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edgenode.config import Endpoint
from edgenode.health.risefall import State
from edgenode.regions.ranking import (
    States,
    path_problems,
    reachable,
    region_rtts,
    reorder,
    steer,
    without,
)
from edgenode.regions.registry import Registry, TargetKey, from_config
from edgenode.regions.rtt import Rtt, smooth
from edgenode.steering.protection import UNPROTECTED, Protection
from edgenode.steering.table import Bind, Table
from tests.unit.regions.worlds import (
    BIND,
    REGISTRY,
    config,
    names,
    states,
    with_keys,
    workers,
)

REGIONS = ["fra", "iad", "sin", "nrt"]
distances = st.dictionaries(st.sampled_from(REGIONS), st.floats(0.0001, 0.4))
orders = st.permutations(REGIONS)


@given(orders, distances)
def test_the_order_is_total_and_stable(previous: list[str], rtts: dict[str, float]) -> None:
    order = reorder(previous, rtts)
    assert sorted(order) == sorted(REGIONS)
    assert reorder(order, rtts) == order


@given(orders, distances)
def test_the_first_measured_is_near_enough(previous: list[str], rtts: dict[str, float]) -> None:
    first = next((name for name in reorder(previous, rtts) if name in rtts), None)
    if first is not None:
        margin = max(0.002, 0.1 * rtts[first])
        assert rtts[first] - min(rtts.values()) <= margin


@given(orders, distances, st.data())
def test_no_flapping_under_jitter(
    previous: list[str], bases: dict[str, float], data: st.DataObject
) -> None:
    """Under ±1 ms of noise no region that was left for another is ever first again."""
    firsts: list[str] = []
    order: tuple[str, ...] = tuple(previous)
    for _ in range(12):
        noise = {name: data.draw(st.floats(-0.001, 0.001)) for name in bases}
        order = reorder(order, {name: max(0.0, bases[name] + noise[name]) for name in bases})
        first = next((name for name in order if name in bases), "")
        if not firsts or firsts[-1] != first:
            firsts.append(first)
    assert len(firsts) == len(set(firsts))


def test_a_region_without_a_distance_keeps_its_place() -> None:
    assert reorder(("fra", "iad"), {"iad": 0.01}) == ("fra", "iad")
    assert reorder(("fra", "iad"), {"iad": 0.01, "fra": 0.0115}) == ("fra", "iad")
    assert reorder(("fra", "iad"), {"iad": 0.01, "fra": 0.0125}) == ("iad", "fra")
    assert reorder(("fra", "iad"), {"iad": 0.091, "fra": 0.1}) == ("fra", "iad")


@given(st.lists(st.floats(0.001, 1), min_size=1))
def test_smoothing_stays_within_what_was_seen(samples: list[float]) -> None:
    rtt: Rtt | None = None
    for sample in samples:
        rtt = smooth(rtt, sample)
    assert rtt is not None
    assert min(samples) * 0.999 <= rtt.smoothed <= max(samples) * 1.001


def test_one_slow_connect_is_no_distance() -> None:
    rtt = smooth(None, 0.060)  # waited for the tunnel's handshake
    for sample in (0.020, 0.020, 0.500, 0.021, 0.020, 0.300, 0.020):
        rtt = smooth(rtt, sample)
    assert abs(rtt.smoothed - 0.020) < 0.0001
    for _ in range(40):  # a longer way for good
        rtt = smooth(rtt, 0.080)
    assert rtt.smoothed > 0.078


def test_each_service_has_its_regions_and_its_port() -> None:
    assert [str(t.key) for t in REGISTRY.targets[:4]] == [
        "fra/fra-1:8080",
        "fra/fra-1:2525",
        "fra/fra-2:8080",
        "fra/fra-2:2525",
    ]
    up = {t.key: 0.0 for t in REGISTRY.targets}
    web, mail = steer(REGISTRY, up, ("sin", "iad", "fra"))
    assert names(web) == ["sin", "iad", "fra"]
    assert names(mail) == ["iad", "fra"]
    assert mail.regions[0].workers[1].address == "198.51.100.210"
    assert mail.regions[0].workers[1].port == 2525
    table = Table(1, "lon1", BIND, (web, mail))
    assert Table.from_json(table.to_json()) == table


def steered(registry: Registry, *dead: str) -> Table:
    """The table where all workers but these are healthy, and fra is nearer than iad and sin."""
    up = {t.key: 0.0 for t in registry.targets if t.key.worker not in dead}
    services = steer(registry, up, ("fra", "iad", "sin"))
    return Table(1, "lon1", BIND, services)


def test_what_is_preferred_comes_first_while_it_is_healthy() -> None:
    registry = with_keys(web={"prefer": ["sin", "iad"]})
    assert names(steered(registry).services[0]) == ["sin", "iad", "fra"]
    assert names(steered(registry).services[1]) == ["fra", "iad"], "another service"
    assert names(steered(registry, "sin-1", "sin-2").services[0]) == ["iad", "fra"]


def test_what_is_excluded_never_serves_and_reaches_nobody() -> None:
    registry = with_keys(web={"exclude": ["fra", "sin"]})
    assert names(steered(registry).services[0]) == ["iad"]
    assert steered(registry, "iad-1", "iad-2").services[0].regions == ()
    web, mail = registry.services
    known = states({"fra": 10, "iad": None, "sin": 10}, registry=registry)
    assert (reachable(registry, known, web), reachable(registry, known, mail)) == (False, True)


def test_what_is_pinned_has_no_other_region() -> None:
    registry = with_keys(web={"pin": "iad"})
    assert names(steered(registry).services[0]) == ["iad"]
    assert steered(registry, "iad-1", "iad-2").services[0].regions == ()
    known = states({"fra": 10, "iad": None, "sin": 10}, registry=registry)
    assert reachable(registry, known, registry.services[0]) is False


def test_what_is_draining_gets_nothing_while_others_are_healthy() -> None:
    registry = with_keys(fra={"draining": True}, iad_1={"draining": True})
    assert workers(steered(registry).services[0]) == ["iad-2", "sin-1", "sin-2"]
    assert workers(steered(registry, "iad-2").services[0]) == ["sin-1", "sin-2"]


def test_what_is_draining_serves_rather_than_nobody() -> None:
    registry = with_keys(fra={"draining": True}, iad={"draining": True}, sin_1={"draining": True})
    assert workers(steered(registry).services[0]) == ["sin-2"]
    last_resort = steered(registry, "sin-2", "fra-1")
    assert workers(last_resort.services[0]) == ["fra-2", "iad-1", "iad-2", "sin-1"]
    web = registry.services[0]
    up = states({"fra": 10, "iad": 20, "sin": None}, registry=registry)
    assert reachable(registry, up, web) is True, "as the table has it"


def test_a_suspect_serves_only_where_nobody_else_is_healthy() -> None:
    registry = with_keys(fra_1={"draining": True})
    up = {t.key: 0.0 for t in registry.targets}
    order = ("fra", "iad", "sin")

    def serving(*suspects: str) -> list[str]:
        named = {key for key in up if {key.region, key.worker} & set(suspects)}
        return workers(steer(registry, up, order, (), named)[0])

    assert serving("fra") == ["iad-1", "iad-2", "sin-1", "sin-2"]
    assert serving("fra-2", "iad", "sin-1") == ["sin-2"]
    assert serving("fra-2", "iad", "sin") == ["fra-1"], "what drains is known to be well"
    everybody = ["fra-2", "iad-1", "iad-2", "sin-1", "sin-2"]
    assert serving("fra", "iad", "sin") == serving() == everybody
    web, mail = steer(registry, up, order, (), {key for key in up if key.region != "sin"})
    assert (names(web), names(mail)) == (["sin"], ["fra", "iad"]), "each service by itself"


def test_a_suspect_is_reachable() -> None:
    known = {key: replace(one, suspect="no answer") for key, one in states({"fra": 10}).items()}
    assert reachable(REGISTRY, known, REGISTRY.services[0]) is True


def test_a_pinned_region_that_drains_goes_on_for_those_that_have_no_other() -> None:
    registry = with_keys(web={"pin": "fra"}, fra={"draining": True})
    web, mail = steered(registry).services
    assert (names(web), names(mail)) == (["fra"], ["iad"])


def test_what_protects_a_service_reaches_the_table() -> None:
    limits = {
        "connections": 9,
        "per_source": 3,
        "source_prefix_v4": 24,
        "source_prefix_v6": 56,
        "rate": 5.0,
        "burst": 7,
        "source_rate": 2.5,
        "source_burst": 4,
    }
    keys = {"allow": ["192.0.2.0/24"], "deny": ["2001:db8::/32"], "lifetime": "60s"}
    registry = with_keys(web={**keys, "half_closed_timeout": "9s", "limits": limits})
    web, mail = steered(registry).services
    assert web.protection == Protection(
        ("192.0.2.0/24",), ("2001:db8::/32",), 9, 3, 24, 56, 5.0, 7, 2.5, 4, 9.0, 60.0
    )
    assert mail.protection == UNPROTECTED


def test_what_tells_users_apart_and_what_workers_are_told_reach_the_table() -> None:
    registry = with_keys(
        web={
            "sni": ("WWW.example.net", "*.example.net"),
            "alpn": ("h2",),
            "hello_timeout": "2s",
            "accept_proxy": ("192.0.2.0/24",),
            "proxy_tlvs": ("authority",),
        }
    )
    web, mail = steered(registry).services
    assert (web.sni, web.alpn) == (("www.example.net", "*.example.net"), ("h2",))
    assert (web.hello_timeout, web.accept_proxy) == (2.0, ("192.0.2.0/24",))
    assert (web.proxy_tlvs, mail.proxy_tlvs) == (("authority",), ())
    assert (mail.sni, mail.alpn, mail.accept_proxy) == ((), (), ())


def test_weights_limits_and_slow_starts_reach_the_table() -> None:
    registry = with_keys(
        web={"slow_start": "30s"},
        fra={"soft_limit": 50, "hard_limit": 60},
        fra_1={"weight": 3, "soft_limit": 10, "hard_limit": 20},
    )
    up = {t.key: 0.0 for t in registry.targets} | {TargetKey("fra", "fra-1", 8080): 1.7e9}
    web, mail = steer(registry, up, ("fra", "iad", "sin"))
    fra = web.regions[0]
    assert (fra.soft_limit, fra.hard_limit) == (50, 60)
    one, two = fra.workers
    assert (one.weight, one.soft_limit, one.hard_limit, one.since) == (3, 10, 20, 1.7e9)
    assert (two.weight, two.soft_limit, two.hard_limit, two.since) == (1, None, None, 0.0)
    assert (web.slow_start, mail.slow_start) == (30.0, 0.0)
    assert mail.regions[0].workers[0].weight == 3


def test_a_worker_behind_a_bad_way_is_down_for_that_reason() -> None:
    bad = REGISTRY.targets[0].endpoint.host  # fra-1's, of both its ports
    problems = path_problems(REGISTRY, lambda address: "no MTU" if address == bad else None)
    known = without(states({"fra": 10, "iad": 20}), problems)
    one = known[TargetKey("fra", "fra-1", 8080)]
    assert (one.state, one.rtt, one.reason) == (State.DOWN, None, "no MTU")
    assert known[TargetKey("fra", "fra-2", 8080)].state is State.UP
    assert region_rtts(known) == {"fra": 0.010, "iad": 0.020}


def test_where_all_ways_are_bad_those_that_answer_serve_and_reach_nobody() -> None:
    registry = with_keys(iad={"draining": True})
    problems = path_problems(registry, lambda address: "large packets vanish")
    known = without(states({"fra": 10, "iad": 20, "sin": None}, registry=registry), problems)
    answering = {key for key, state in known.items() if state.behind_bad_way}
    assert {key.region for key in answering} == {"fra", "iad"}
    web = steer(registry, {}, ("fra", "iad", "sin"), answering)[0]
    assert workers(web) == ["fra-1", "fra-2"]
    assert reachable(registry, known, registry.services[0]) is False
    one_good = {TargetKey("iad", "iad-1", 8080): 0.0}
    assert workers(steer(registry, one_good, ("fra", "iad"), answering)[0]) == ["iad-1"]


def test_the_first_usable_family_is_taken() -> None:
    v6, v4 = "2001:db8:ffff:f1::1", "198.51.100.201"
    workers = [{"name": "fra-1", "addresses": [v6, v4]}, {"name": "fra-2", "addresses": [v6]}]
    dual = config(regions=[{"name": "fra", "workers": workers}])
    assert from_config(dual, BIND).targets[0].endpoint == Endpoint.parse(f"[{v6}]:8080")
    only_v4 = from_config(dual, Bind("wg0", "198.51.100.193", None))
    assert {str(t.endpoint.host) for t in only_v4.targets} == {v4}
    assert {t.key.worker for t in only_v4.targets} == {"fra-1"}


def test_the_nearest_healthy_worker_is_the_regions_distance() -> None:
    known = dict(states({"fra": 10, "iad": 20}))
    near = TargetKey("iad", "iad-1", 8080)
    known[near] = type(known[near])(State.UP, 0.005, "", 0.0)
    assert region_rtts(known) == {"fra": 0.010, "iad": 0.005}
    known[near] = type(known[near])(State.DOWN, 0.005, "", 0.0)
    assert region_rtts(known) == {"fra": 0.010, "iad": 0.020}


def test_reachable_needs_evidence() -> None:
    web, mail = REGISTRY.services
    assert reachable(REGISTRY, states({}), web) is None
    assert reachable(REGISTRY, states({"fra": None, "iad": None}), web) is None
    assert reachable(REGISTRY, states({"fra": None, "iad": None}), mail) is False
    assert reachable(REGISTRY, states({"fra": 1}), mail) is True
    assert reachable(REGISTRY, states({"sin": 1, "fra": None, "iad": None}), mail) is False
    nowhere = from_config(config(), Bind("wg0", None, "2001:db8::1"))
    assert reachable(nowhere, {}, web) is False


def dead(registry: Registry, known: States) -> list[tuple[str, list[str]]]:
    """Of which workers `web` is told that they have died, where the first tier is what is up."""
    up = {key: 0.0 for key, state in known.items() if state.state is State.UP}
    found = {key for key, state in known.items() if state.is_dead}
    web = steer(registry, up, ("fra", "iad", "sin"), dead=found)[0]
    return [(one.region, [target.worker for target in one.workers]) for one in web.dead]


def test_the_dead_are_named_where_their_connections_are_to_be_closed() -> None:
    gone = {TargetKey("fra", "fra-1", 8080): State.DOWN}
    known = states({"fra": 10, "iad": 20, "sin": 30}, gone)
    assert dead(REGISTRY, known) == []  # nobody has asked for it
    closing = with_keys(web={"close_dead": True})
    assert dead(closing, known) == [("fra", ["fra-1"])]
    # It is down, and yet it answers: the mesh alone says so.
    problems = {TargetKey("iad", "iad-1", 8080): "no MTU"}
    assert dead(closing, without(known, problems)) == [("fra", ["fra-1"])]
    # Whatever drains may refuse probes, and still serve whom it has.
    draining = with_keys(web={"close_dead": True}, fra_1={"draining": True})
    assert dead(draining, known) == []
    # Nobody is left to serve those who would come back, and we may be at fault.
    assert dead(closing, states({"fra": None, "iad": None, "sin": None})) == []
    assert dead(closing, states({"fra": None, "iad": None})) == []
