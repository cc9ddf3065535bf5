"""The admin API and its client over a real Unix socket, and the metrics."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from edgenode.api.client import ApiError, ControlAway, call
from edgenode.api.metrics import registry
from edgenode.api.server import AddressInUse, admin_app, serve_tcp, serve_unix
from edgenode.config import Endpoint
from edgenode.state import IntentKind, StateError

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
        {"name": "fra", "rtt_ms": 12.5, "workers_up": 2},
        {"name": "iad", "rtt_ms": None, "workers_up": 0},
    ],
    "mesh": {
        "peers": [{"name": "fra", "handshake_age": 3.0}, {"name": "x", "handshake_age": None}]
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
        self.calls: list[tuple[str, ...]] = []
        self.full = False

    async def refresh(self) -> None:
        pass

    def status(self) -> Mapping[str, Any]:
        return STATUS

    def groups(self) -> Sequence[str]:
        return ["web", "static"]

    async def intend(self, groups: Sequence[str], kind: IntentKind, reason: str) -> None:
        if self.full:
            raise StateError("the disk is full")
        self.calls.append((kind, *groups, reason))

    async def release(self, groups: Sequence[str]) -> None:
        self.calls.append(("release", *groups))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FakeNode]:
    """Serves in a thread of its own, as control does in a process of its own."""
    node, loop = FakeNode(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    serving = serve_unix(admin_app(node), tmp_path / "control.sock")
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
    call(path, "POST", "/v1/intent", {"groups": ["web"], "kind": "drained", "reason": "rack"})
    call(path, "POST", "/v1/intent", {"groups": ["web"], "kind": None})
    assert node.calls == [("drained", "web", "rack"), ("release", "web")]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"groups": ["wbe"], "kind": "drained"}, "no such group: wbe; there are: web, static"),
        ({"groups": ["web"], "kind": "levitating"}, "not right"),
        ({"kind": "drained"}, "not right"),
        ([], "not right"),
    ],
)
def test_a_wrong_request_is_refused_with_a_reason(
    node: FakeNode, tmp_path: Path, body: object, reason: str
) -> None:
    with pytest.raises(ApiError, match=reason):
        call(tmp_path / "control.sock", "POST", "/v1/intent", body)
    assert node.calls == []


def test_what_cannot_be_stored_is_said(node: FakeNode, tmp_path: Path) -> None:
    node.full = True
    body = {"groups": ["web"], "kind": "drained"}
    with pytest.raises(ApiError, match="the disk is full"):
        call(tmp_path / "control.sock", "POST", "/v1/intent", body)


def test_control_away_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ControlAway, match=r"cannot be reached on .*control\.sock"):
        call(tmp_path / "control.sock", "GET", "/v1/status")


async def test_an_address_in_use_is_one_sentence() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(AddressInUse, match="choose another address"):
        await serve_tcp(admin_app(FakeNode()), Endpoint.parse(f"127.0.0.1:{port}"))
    server.close()


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


def test_without_a_report_the_metrics_are_there_all_the_same() -> None:
    status = STATUS | {"steering": {"connected": False, "report": None}}
    assert b"edgenode_steering_connected 0.0" in generate_latest(registry(lambda: status))
