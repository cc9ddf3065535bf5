"""The admin API and its client over a real Unix socket, and the metrics."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from edgenode.api import server as server_module
from edgenode.api.client import ApiError, ControlAway, call
from edgenode.api.metrics import registry
from edgenode.api.requests import Request
from edgenode.api.server import (
    AddressInUse,
    LastSite,
    admin_app,
    metrics_app,
    serve_tcp,
    serve_unix,
)
from edgenode.config import Endpoint
from edgenode.regions.trace import TraceError
from edgenode.state import NODE, Intent, IntentKind, StateError

STATUS: dict[str, Any] = {
    "node": "lon1",
    "bird": {"connected": True, "version": "2.0.12"},
    "lifeline": {"held": True},
    "groups": [{"name": "web", "level": "normal", "in_force": True}],
    "neighbors": [{"name": "transit", "state": "Established"}],
    "checks": [
        {
            "name": name,
            "state": state,
            "succeeded": 5,
            "failed": 1,
            "late": 0,
            "unknown": 0,
            "errors": 2,
            "warning": "ends soon" * (name == "nginx"),
            "certificate_ends": 1e9,
        }
        for name, state in (("nginx", "up"), ("new", "unknown"))
    ],
    "regions": [
        {"name": "fra", "rtt_ms": 12.5, "workers_up": 2, "workers": 3},
        {"name": "iad", "rtt_ms": None, "workers_up": 0, "workers": 3},
    ],
    "mesh": {
        "peers": [
            {"name": name, "handshake_age": age, "stale": age is None, "rx": 1, "tx": 2}
            for name, age in (("fra", 3.0), ("x", None))
        ]
    },
    "steering": {
        "connected": True,
        "report": {
            "services": {
                "web": {
                    "live": 1,
                    "accepted": 7,
                    "failed": 2,
                    "bytes_up": 10,
                    "bytes_down": 20,
                    "regions": {"fra": {"connections": 5, "failures": 1, "live": 1}},
                }
            },
            "relays": [{"pid": 1, "healthy": True}, {"pid": 2, "healthy": False}],
        },
    },
}


class FakeNode:
    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.full = False

    async def refresh(self) -> None:
        pass

    def status(self) -> Mapping[str, Any]:
        return STATUS

    def groups(self) -> Sequence[str]:
        return ["web", "static"]

    def neighbors(self) -> Sequence[str]:
        return ["transit"]

    async def intend(self, request: Request) -> Sequence[str]:
        if self.full:
            raise StateError("the disk is full")
        if request.reason == "the last":
            raise LastSite("the users of 192.0.2.0/24 would have nowhere to go")
        self.requests.append(request)
        return ["static stays as it is: release it first"]

    async def explain(self, group: str) -> Mapping[str, Any]:
        return {"group": {"name": group}}

    async def trace(self, address: str, service: str | None) -> Mapping[str, Any]:
        if not address:
            raise TraceError("'' is no address")
        return {"address": address, "service": service}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FakeNode]:
    """Serves in a thread of its own, as control does in a process of its own."""
    node, loop = FakeNode(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    serving = serve_unix(admin_app(lambda: node), tmp_path / "control.sock")
    stop: Callable[[], Any] = asyncio.run_coroutine_threadsafe(serving, loop).result(10)
    yield node
    asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def test_status_and_intents_go_through(node: FakeNode, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    assert path.stat().st_mode & 0o777 == 0o660
    assert call(path, "GET", "/v1/status") == STATUS
    assert call(path, "GET", "/v1/why/web") == {"group": {"name": "web"}}
    at = "address=198.51.100.7"
    assert call(path, "GET", f"/v1/trace?{at}") == {"address": "198.51.100.7", "service": None}
    assert call(path, "GET", f"/v1/trace?{at}&service=web")["service"] == "web"
    with pytest.raises(ApiError, match="'' is no address"):
        call(path, "GET", "/v1/trace")
    until = time.time() + 60
    body = {"groups": ["web"], "kind": "degraded", "neighbor": "transit", "until": until}
    answer = call(path, "POST", "/v1/intent", body | {"reason": "ra\x1b[31mck\n", "author": "ann"})
    assert answer == STATUS | {"notes": ["static stays as it is: release it first"]}
    call(path, "POST", "/v1/intent", {"groups": ["web", "web"], "kind": None, "force": True})
    call(path, "POST", "/v1/intent", {"groups": ["*"], "kind": None, "only": "paused"})
    call(path, "POST", "/v1/intent", {"groups": ["*"], "kind": "withdrawn", "force": True})
    degraded, paused = IntentKind.DEGRADED, IntentKind.PAUSED
    assert node.requests == [
        Request(("web",), degraded, "ra [31mck", "ann", until, "transit"),
        Request(("web",), None, force=True),
        Request(("*",), None, only=paused),
        Request(("web", "static"), IntentKind.WITHDRAWN, force=True),
    ]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"groups": ["wbe"], "kind": "drained"}, "no such group: wbe; there are: web, static"),
        ({"groups": ["web"], "kind": "levitating"}, "not right"),
        ({"kind": "drained"}, "not right"),
        ({"groups": "web", "kind": "drained"}, "groups is a list"),
        ({"groups": ["web"], "kind": "drained", "until": "soon"}, "number of seconds"),
        ({"groups": ["web"], "kind": "drained", "until": 5}, "not in the future"),
        ({"groups": ["web"], "kind": "drained", "force": "yes"}, "true or false"),
        ({"groups": ["web"], "kind": "degraded", "neighbor": "x"}, "no such neighbor: x"),
        ({"groups": ["web"], "kind": "drained", "neighbor": "transit"}, "only degrading"),
        ({"groups": ["*"], "kind": "drained"}, "name groups"),
        ({"groups": ["web"], "kind": "paused"}, "only the node"),
        ({"groups": ["web"], "kind": "drained", "reason": "the last"}, "nowhere to go"),
        ({"groups": ["web"], "kind": "drained", "reason": "x" * 201}, "say it in 200"),
        ([], "not right"),
    ],
)
def test_a_wrong_request_is_refused_with_a_reason(
    node: FakeNode, tmp_path: Path, body: object, reason: str
) -> None:
    with pytest.raises(ApiError, match=reason):
        call(tmp_path / "control.sock", "POST", "/v1/intent", body)
    assert node.requests == []


def test_what_cannot_be_stored_is_said(node: FakeNode, tmp_path: Path) -> None:
    node.full = True
    body = {"groups": ["web"], "kind": "drained"}
    with pytest.raises(ApiError, match="the disk is full"):
        call(tmp_path / "control.sock", "POST", "/v1/intent", body)


def test_why_of_nothing_is_refused(node: FakeNode, tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="no such group: wbe; there are: web, static"):
        call(tmp_path / "control.sock", "GET", "/v1/why/wbe")


def test_what_a_release_ends() -> None:
    intents = [
        Intent("web", IntentKind.DRAINED, 1.0, ""),
        Intent("web", IntentKind.DEGRADED, 1.0, "", "transit"),
        Intent("static", IntentKind.DRAINED, 1.0, ""),
        Intent(NODE, IntentKind.PAUSED, 1.0, ""),
        Intent(NODE, IntentKind.MAINTENANCE, 1.0, ""),
    ]
    present = {intent.key: intent for intent in intents}

    def ended(**asked: Any) -> list[int]:
        keys = Request(**{"kind": None} | asked).released(present)
        return [intents.index(present[key]) for key in keys]

    assert ended(groups=("web",)) == [0, 1]
    assert ended(groups=("web",), neighbor="transit") == [1]
    assert ended(groups=("web", "static", NODE)) == [0, 1, 2, 4]
    assert ended(groups=(NODE,), only=IntentKind.PAUSED) == [3]


async def test_what_was_asked_while_control_hung_is_not_done_when_it_goes_on(
    tmp_path: Path,
) -> None:
    node, path = FakeNode(), tmp_path / "control.sock"
    stop = await serve_unix(admin_app(lambda: node), path)
    body = {"groups": ["web"], "kind": None}
    # Each blocks the loop that is to serve it, and so gives up first.
    with pytest.raises(ControlAway, match="it hangs"):
        in_thread(call, path, "POST", "/v1/intent", body, 0.2)
    with pytest.raises(ControlAway, match="it hangs"):
        in_thread(call, path, "POST", "/v1/intent", body | {"kind": "withdrawn"}, 0.2, True)
    await asyncio.sleep(0.2)
    assert [request.kind for request in node.requests] == [IntentKind.WITHDRAWN]
    await stop()


def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result(10)


def test_control_away_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ControlAway, match=r"cannot be reached on .*control\.sock"):
        call(tmp_path / "control.sock", "GET", "/v1/status")


async def test_an_address_in_use_is_one_sentence() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(AddressInUse, match="choose another address"):
        await serve_tcp(admin_app(FakeNode), Endpoint.parse(f"127.0.0.1:{port}"))
    server.close()


async def test_more_connections_than_there_is_room_for_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "CONNECTIONS", 2)
    path = tmp_path / "api.sock"
    stop = await serve_unix(admin_app(FakeNode), path)
    kept = [await asyncio.open_unix_connection(str(path)) for _ in range(2)]
    await asyncio.sleep(0.05)
    reader, writer = await asyncio.open_unix_connection(str(path))
    assert await asyncio.wait_for(reader.read(), 2) == b""
    writer.close()
    for _, each in kept:
        each.close()
    await asyncio.sleep(0.05)
    assert (await asyncio.to_thread(call, path, "GET", "/v1/status"))["node"] == "lon1"
    await stop()


async def test_who_asks_for_metrics_at_once_gets_the_same() -> None:
    asked = 0

    async def refresh() -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.1)

    async with TestClient(TestServer(metrics_app(lambda: STATUS, refresh))) as client:
        answers = await asyncio.gather(*(client.get("/metrics") for _ in range(10)))
        assert {answer.status for answer in answers} == {200}
        assert asked == 1
        await client.get("/metrics")
    assert asked == 2


def test_the_metrics_say_what_the_status_says() -> None:
    text = generate_latest(registry(lambda: STATUS)).decode()
    samples = {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }
    assert samples["edgenode_group_level", (("group", "web"), ("level", "normal"))] == 1
    assert samples["edgenode_group_level", (("group", "web"), ("level", "drained"))] == 0
    assert samples["edgenode_check_up", (("check", "nginx"),)] == 1
    assert ("edgenode_check_up", (("check", "new"),)) not in samples
    errors = samples["edgenode_check_probes_total", (("check", "nginx"), ("result", "errors"))]
    assert errors == 2
    assert samples["edgenode_check_warning", (("check", "nginx"),)] == 1
    ends = "edgenode_check_certificate_end_timestamp_seconds"
    assert samples[ends, (("check", "nginx"),)] == 1e9
    assert samples["edgenode_region_rtt_seconds", (("region", "fra"),)] == 0.0125
    assert samples["edgenode_service_accepted_total", (("service", "web"),)] == 7
    assert samples["edgenode_relay_workers_healthy", ()] == 1
    key = ("edgenode_service_region_connections_total", (("region", "fra"), ("service", "web")))
    assert samples[key] == 5


def test_the_metrics_say_what_operators_want_and_what_flapping_costs() -> None:
    group = STATUS["groups"][0] | {
        "penalty": {"value": 3000.0, "suppress": 6000.0},
        "waits": {"for": "normal", "s": 12.0},
    }
    intent = {"group": "web", "kind": "degraded", "neighbor": "transit"}
    status = STATUS | {
        "groups": [group],
        "intents": [intent],
        "paused": {"kind": "paused"},
        "history": {"lost": 7},
    }
    lines = generate_latest(registry(lambda: status)).decode().splitlines()
    for line in (
        "edgenode_paused 1.0",
        'edgenode_intent{group="web",kind="degraded",neighbor="transit"} 1.0',
        'edgenode_group_penalty{group="web"} 3000.0',
        'edgenode_group_penalty_ratio{group="web"} 0.5',
        'edgenode_group_wait_seconds{group="web"} 12.0',
        "edgenode_history_lost_total 7.0",
    ):
        assert line in lines
    assert "edgenode_paused 0.0" in generate_latest(registry(lambda: STATUS)).decode()


def test_without_a_report_the_metrics_are_there_all_the_same() -> None:
    status = STATUS | {"steering": {"connected": False, "report": None}}
    assert b"edgenode_steering_connected 0.0" in generate_latest(registry(lambda: status))


async def test_a_scrape_is_of_one_moment_and_does_not_hold_up_the_loop() -> None:
    groups = [{**STATUS["groups"][0], "name": f"g{number}"} for number in range(2000)]
    asked: list[str] = []

    async def refresh() -> None:
        asked.append("refresh")

    def status() -> Mapping[str, Any]:
        asked.append("status")
        return {**STATUS, "groups": groups}

    async with TestClient(TestServer(metrics_app(status, refresh))) as client:
        turns = 0
        scrape = asyncio.ensure_future(client.get("/metrics"))
        while not scrape.done():
            turns += 1
            await asyncio.sleep(0)
        text = await (await scrape).text()
    assert asked == ["refresh", "status"]
    assert 'edgenode_group_level{group="g1999",level="normal"}' in text
    assert turns > 50, turns  # nobody else had one while it was written in the loop
