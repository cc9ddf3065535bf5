"""Laws of deltas: they make the new table exactly, or are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering.protection import UNPROTECTED, Protection
from edgenode.steering.table import (
    DEFAULT_LOGGING,
    DEFAULT_OUTLIERS,
    Bind,
    Dialing,
    RegionTargets,
    Service,
    Table,
    TableError,
    Target,
)
from edgenode.steering.tabledelta import BaseError, diff, patch
from tests.unit.steering.test_table import json_values

GUARDED = Protection(deny=("192.0.2.0/24", "2001:db8::/32"), connections=100, per_source=2)

# Few names and values, so that two tables have much in common.
targets = st.builds(
    Target,
    st.sampled_from([f"w{number}" for number in range(8)]),
    st.sampled_from(("10.0.0.1", "10.0.0.2")),
    st.just(80),
    weight=st.sampled_from((1, 5)),
    since=st.sampled_from((0.0, 1.5)),
)
regions = st.builds(
    RegionTargets,
    st.sampled_from(("fra", "iad", "sin")),
    st.lists(targets, max_size=8, unique_by=lambda one: one.worker).map(tuple),
    hard_limit=st.sampled_from((None, 9)),
)
loggings = st.sampled_from((DEFAULT_LOGGING, replace(DEFAULT_LOGGING, sample=0.5)))
outliers = st.sampled_from((DEFAULT_OUTLIERS, replace(DEFAULT_OUTLIERS, failures=0)))

DEAD = (RegionTargets("fra", (Target("w9", "10.0.0.9", 80),)),)
protections = st.sampled_from((UNPROTECTED, GUARDED, replace(GUARDED, rate=7.5, lifetime=60.0)))


@st.composite
def tables(draw: st.DrawFn) -> Table:
    services = [
        Service(
            name,
            (f"192.0.2.{number}:80",),
            draw(st.sampled_from(("v2", "none"))),
            1.0,
            60.0,
            tuple(draw(st.lists(regions, max_size=3, unique_by=lambda one: one.region))),
            slow_start=draw(st.sampled_from((0.0, 30.0))),
            protection=draw(protections),
            sni=draw(st.sampled_from(((), (f"{name}.example",)))),
            hello_timeout=draw(st.sampled_from((5.0, 1.0))),
            accept_proxy=draw(st.sampled_from(((), ("192.0.2.0/24",)))),
            hedge=draw(st.booleans()),
            warm=draw(st.sampled_from((0, 4))),
            client_first=draw(st.booleans()),
            dead=draw(st.sampled_from(((), DEAD))),
        )
        for number, name in enumerate(("web", "mail", "dns"))
    ]
    chosen = draw(st.lists(st.sampled_from(services), unique_by=lambda one: one.name))
    bind = draw(st.sampled_from((Bind(), Bind("wg0", "10.1.0.1", None))))
    revision, dialing = draw(st.integers(0, 3)), Dialing(draw(st.sampled_from((0.2, 0.5))))
    more = draw(outliers), dialing, draw(loggings)
    return Table(revision, "lon1", bind, tuple(chosen), *more)


def sent(value: object) -> Any:
    """What arrives at the other end."""
    return json.loads(json.dumps(value))


def large(revision: int = 1, workers: int = 1000) -> Table:
    region = RegionTargets(
        "fra", tuple(Target(f"w{n}", f"10.0.{n >> 8}.{n & 255}", 80) for n in range(workers))
    )
    far = replace(region, region="iad")
    services = tuple(
        Service(name, (f"192.0.2.{n}:80",), "v2", 1.0, 60.0, (region, far))
        for n, name in enumerate(("web", "mail"))
    )
    return Table(revision, "lon1", Bind(), services)


def without(table: Table, service: int, worker: int) -> Table:
    """The next table, in which a service has lost a worker of its first region."""
    one = table.services[service]
    first, *rest = one.regions
    left = replace(first, workers=first.workers[:worker] + first.workers[worker + 1 :])
    services = list(table.services)
    services[service] = replace(one, regions=(left, *rest))
    return replace(table, revision=table.revision + 1, services=tuple(services))


@given(tables(), tables())
def test_a_delta_makes_the_new_table(old: Table, new: Table) -> None:
    assert patch(old, sent(diff(old, new))) == new


@given(tables(), tables(), tables())
def test_deltas_follow_each_other(first: Table, second: Table, third: Table) -> None:
    there = patch(first, sent(diff(first, second)))
    assert patch(there, sent(diff(second, third))) == third


@given(tables(), tables(), tables())
def test_another_base_is_refused(old: Table, new: Table, other: Table) -> None:
    """By its revision; what is missing in it would be found as well."""
    delta = sent(diff(old, new))
    if other.revision != old.revision:
        with pytest.raises(BaseError):
            patch(other, delta)


def test_a_base_of_the_same_revision_with_other_content_is_refused() -> None:
    old = large(workers=4)
    delta = sent(diff(old, without(old, 0, 1)))
    with pytest.raises(BaseError, match="no worker 'w1'"):
        patch(without(replace(old, revision=0), 0, 1), delta)


@given(tables(), tables(), json_values, st.data())
def test_a_broken_delta_is_refused_or_makes_a_good_table(
    old: Table, new: Table, value: object, data: st.DataObject
) -> None:
    delta = sent(diff(old, new))
    spot: Any = delta
    while isinstance(spot, dict | list) and spot:
        key = data.draw(
            st.sampled_from(sorted(spot) if isinstance(spot, dict) else range(len(spot)))
        )
        if not isinstance(spot[key], dict | list) or data.draw(st.booleans()):
            spot[key] = value
            break
        spot = spot[key]
    try:
        made = patch(old, delta)
    except (TableError, BaseError):
        return
    assert Table.from_json(sent(made.to_json())) == made


@given(json_values)
def test_any_other_value_is_refused(value: object) -> None:
    with pytest.raises(TableError):
        patch(large(workers=1), value)


def test_one_target_less_is_a_small_message_and_leaves_the_rest_as_it_is() -> None:
    old = large()
    new = without(old, 0, 500)
    delta = sent(diff(old, new))
    assert len(json.dumps(delta)) < 500
    made = patch(old, delta)
    assert made == new
    assert made.services[1] is old.services[1]
    assert made.services[0].regions[1] is old.services[0].regions[1]
    back = replace(old, revision=3)
    assert patch(made, sent(diff(new, back))) == back
    assert len(json.dumps(diff(new, back))) < 600


def test_a_name_may_not_be_there_twice() -> None:
    old = large(workers=2)
    delta = sent(diff(old, without(old, 0, 1)))
    delta["services"][0]["regions"].append("iad")
    with pytest.raises(TableError, match="the region iad is there twice"):
        patch(old, delta)
    with pytest.raises(TableError, match="the service mail is there twice"):
        patch(old, {**sent(diff(old, old)), "services": ["mail", "mail"]})


def test_prefixes_that_stay_are_not_sent_again() -> None:
    old = large(workers=3)
    guarded = replace(GUARDED, deny=tuple(f"10.{n >> 8}.{n & 255}.0/24" for n in range(5000)))
    old = replace(old, services=tuple(replace(one, protection=guarded) for one in old.services))
    new = without(old, 0, 1)
    delta = sent(diff(old, new))
    assert len(json.dumps(delta)) < 2000
    after = patch(old, delta)
    assert after == new
    assert after.services[0].protection is guarded
    with pytest.raises(BaseError):  # there is nothing that it could be the same as
        patch(replace(old, services=old.services[1:]), delta)


def test_services_may_not_share_an_address_that_tells_nobody_apart() -> None:
    old = large(workers=1)
    delta = sent(diff(old, replace(old, revision=2)))
    mail = {**sent(old.to_json())["services"][1], "listen": ["192.0.2.0:80"]}
    with pytest.raises(TableError, match="neither has `sni` or `alpn`"):
        patch(old, {**delta, "services": ["web", mail]})
    made = patch(old, {**delta, "services": ["web", {**mail, "sni": ["mail.example"]}]})
    assert made.listen == ("192.0.2.0:80",)
