from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering.figures import RegionFigures, RelayFigures, ServiceFigures, Times
from edgenode.steering.histogram import NAMES
from edgenode.steering.report import (
    RegionReport,
    RelayReport,
    Report,
    ServiceReport,
    TargetReport,
    add,
    retire,
)
from edgenode.steering.why import Why

counts = st.integers(0, 2**40)
names = st.sampled_from(("web", "mail", "dns"))
ways = st.sampled_from([*Why])
times = st.builds(Times, counts, st.dictionaries(st.sampled_from(NAMES), counts))
figures = st.builds(
    ServiceFigures,
    st.dictionaries(ways, counts),
    st.dictionaries(st.just("hedged"), counts),
    times,
    regions=st.dictionaries(names, st.builds(RegionFigures, counts, connect=times)),
)
reports = st.builds(
    Report,
    st.floats(0, 2e9),
    st.dictionaries(
        names,
        st.builds(
            ServiceReport,
            *[counts] * 6,
            st.dictionaries(names, st.builds(RegionReport, counts, counts, counts)),
        ),
    ),
    st.dictionaries(names, st.builds(TargetReport, counts, counts)),
    st.lists(st.builds(RelayReport, counts, st.booleans(), st.floats(0, 2e9)), max_size=2).map(
        tuple
    ),
    st.dictionaries(names, st.text()),
    counts,
    counts,
    figures=st.dictionaries(names, figures),
    relay_figures=st.lists(st.builds(RelayFigures, counts, counts), max_size=2).map(tuple),
)
trees = reports.map(lambda report: report.to_json()["services"])


@given(reports)
def test_round_trip(report: Report) -> None:
    assert Report.from_json(json.loads(json.dumps(report.to_json()))) == report


@given(trees, trees)
def test_addition(left: dict[str, Any], right: dict[str, Any]) -> None:
    total = add(left, right)
    assert total == add(right, left)
    assert add(left, {}) == left
    for name in total:
        parts = [tree[name]["accepted"] for tree in (left, right) if name in tree]
        assert total[name]["accepted"] == sum(parts)


@given(trees)
def test_what_is_gone_keeps_its_totals_only(tree: dict[str, Any]) -> None:
    gone = retire(tree)
    for name, service in tree.items():
        assert gone[name]["accepted"] == service["accepted"]
        assert gone[name]["live"] == 0
        assert all(region["live"] == 0 for region in gone[name]["regions"].values())


def test_a_report_of_a_newer_steering() -> None:
    message = Report(at=1.0, figures={"web": ServiceFigures()}).to_json()
    message["figures"]["web"]["new"] = 7
    message["relay_figures"] = [{"pid": 7, "new": 1}]
    read = Report.from_json(message)
    assert (read.figures["web"], read.relay_figures) == (ServiceFigures(), (RelayFigures(7),))


def test_a_report_of_an_older_steering() -> None:
    message = Report(at=1.0).to_json()
    for key in ("listen_failures", "accept_errors", "log_dropped", "figures", "relay_figures"):
        del message[key]
    assert Report.from_json(message) == Report(at=1.0)


def test_a_service_may_be_called_as_a_counter_is() -> None:
    counters: dict[str, Any] = {
        "full": {"live": 5},
        "services": {"full": {"live": 2, "accepted": 7}},
    }
    gone = retire(counters)
    assert gone == {"full": {"live": 5}, "services": {"full": {"live": 0, "accepted": 7}}}
