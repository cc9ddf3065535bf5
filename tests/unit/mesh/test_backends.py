"""What is said to wireguard-go and to the kernel, and what is understood of their answers."""

import socket
import threading
from dataclasses import fields, replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from pyroute2.netlink.generic.wireguard import wgmsg

from edgenode.config.values import Endpoint
from edgenode.mesh import MeshError, MeshUnavailable, kernel, uapi
from edgenode.mesh.keys import PresharedKey, PrivateKey
from edgenode.mesh.state import (
    Desired,
    DeviceChange,
    DeviceState,
    Peer,
    PeerState,
    RemovePeer,
    SetKey,
    SetPeer,
    SetPort,
)
from tests.unit.mesh.worlds import meshes, public_key

KEY = PrivateKey(b"\x40" * 32)
SHARED = PresharedKey(b"\x0f" * 32)
PEER = Peer(
    public_key(1),
    Endpoint(ip_address("2001:db8::1"), 51820),
    frozenset({ip_network("198.51.100.200/29"), ip_network("2001:db8:f1::/64")}),
    15,
)
STATE = PeerState(
    PEER.public_key,
    PEER.endpoint,
    PEER.allowed,
    15,
    None,
    handshake_at=1700000000.5,
    rx=10,
    tx=2**40,
)


def test_the_devices_own_keys_come_before_the_peers() -> None:
    changes: list[DeviceChange] = [
        RemovePeer(public_key(2)),
        SetPeer(PEER),
        SetKey(),
        SetPort(51820),
    ]
    assert uapi.encode_set(changes, KEY).splitlines() == [
        "set=1",
        f"private_key={'40' * 32}",
        "listen_port=51820",
        f"public_key={'02' * 32}",
        "remove=true",
        f"public_key={'01' * 32}",
        "endpoint=[2001:db8::1]:51820",
        "persistent_keepalive_interval=15",
        "replace_allowed_ips=true",
        "allowed_ip=198.51.100.200/29",
        "allowed_ip=2001:db8:f1::/64",
        "",
    ]


def test_a_reply_is_understood_and_its_private_key_dropped() -> None:
    reply = (
        f"private_key={KEY.reveal_hex()}\nlisten_port=51820\nfwmark=1\n"
        f"public_key={'01' * 32}\npreshared_key={'00' * 32}\nprotocol_version=1\n"
        "endpoint=[2001:db8::1]:51820\nlast_handshake_time_sec=1700000000\n"
        "last_handshake_time_nsec=500000000\ntx_bytes=1099511627776\nrx_bytes=10\n"
        "persistent_keepalive_interval=15\nallowed_ip=198.51.100.200/29\n"
        f"allowed_ip=2001:db8:f1::/64\npublic_key={'02' * 32}\n"
        "endpoint=[fe80::1%eth0]:7\nerrno=0\n\n"
    )
    state = uapi.parse_get(reply)
    other = PeerState(public_key(2), Endpoint(ip_address("fe80::1%eth0"), 7), frozenset(), 0)
    assert state == DeviceState(KEY.public, 51820, (STATE, other))
    secret = reply.replace(f"preshared_key={'00' * 32}", f"preshared_key={'0f' * 32}")
    (first, _) = uapi.parse_get(secret).peers
    assert first == replace(STATE, preshared=SHARED)
    assert "0f" * 3 not in repr(first)
    assert KEY.reveal_hex() not in repr(state)
    assert uapi.parse_get(f"private_key={'00' * 32}\nerrno=0\n\n").public_key is None


@given(meshes())
def test_what_is_set_reads_back(want: Desired) -> None:
    text = uapi.encode_set([SetKey(), *map(SetPeer, want.peers)], KEY)
    state = uapi.parse_get(text.replace("set=1\n", "").rstrip("\n") + "\nerrno=0\n\n")
    assert state.public_key == KEY.public
    read = [
        Peer(p.public_key, p.endpoint, p.allowed, p.keepalive, p.preshared) for p in state.peers
    ]
    assert read == [*want.peers]


@pytest.mark.parametrize("reply", ["errno=-98\n\n", "errno=98\n\n"])
def test_a_refusal_says_why(reply: str) -> None:
    with pytest.raises(ValueError, match="Address already in use"):
        uapi.parse_set(reply)


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (b"errno=-22\n\n", MeshError, "cannot read wgx from wireguard-go: Invalid argument"),
        (b"listen_port=1\n\n", MeshError, "no errno"),
        (b"errno=", MeshUnavailable, r"closed the connection.*wireguard-go -f wgx"),
        (None, MeshUnavailable, "timed out"),
    ],
)
def test_a_device_that_answers_badly(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes | None,
    error: type[Exception],
    said: str,
) -> None:
    monkeypatch.setattr(uapi, "SOCKET_DIR", tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "wgx.sock"))
        listener.listen()

        def serve() -> None:
            stream, _ = listener.accept()
            with stream:
                stream.recv(100)
                if answer is None:
                    stream.recv(100)
                else:
                    stream.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(error, match=said):
            uapi.UapiDevice("wgx", KEY, timeout=0.3).current()
        thread.join(5)
    with pytest.raises(MeshUnavailable, match="start it with `wireguard-go -f wgx`"):
        uapi.UapiDevice("wgx", KEY).current()


def test_the_kernels_messages_are_understood() -> None:
    """Through pyroute2's own encoder and decoder; the second message goes on with the peer."""

    def message(ranges: list[str], **peer: object) -> wgmsg:
        made = wgmsg()
        allowed = []
        for text in ranges:
            network = ip_network(text)
            family = socket.AF_INET if network.version == 4 else socket.AF_INET6
            allowed.append(
                {
                    "attrs": [
                        ["WGALLOWEDIP_A_FAMILY", family],
                        ["WGALLOWEDIP_A_IPADDR", network.network_address.packed],
                        ["WGALLOWEDIP_A_CIDR_MASK", network.prefixlen],
                    ]
                }
            )
        attributes: list[list[object]] = [["WGPEER_A_PUBLIC_KEY", PEER.public_key]]
        attributes += [[f"WGPEER_A_{name}", value] for name, value in peer.items()]
        attributes.append(["WGPEER_A_ALLOWEDIPS", allowed])
        made["attrs"] = [
            ["WGDEVICE_A_PUBLIC_KEY", KEY.public],
            ["WGDEVICE_A_LISTEN_PORT", 51820],
            ["WGDEVICE_A_PEERS", [{"attrs": attributes}]],
        ]
        made.encode()
        read = wgmsg(made.data)
        read.decode()
        return read

    first = message(
        ["198.51.100.200/29"],
        ENDPOINT={"addr": "2001:db8::1", "port": 51820},
        PERSISTENT_KEEPALIVE_INTERVAL=15,
        LAST_HANDSHAKE_TIME={"tv_sec": 1700000000, "tv_nsec": 500000000},
        RX_BYTES=10,
        TX_BYTES=2**40,
    )
    state = kernel.parse_device([first, message(["2001:db8:f1::/64"])])
    assert state == DeviceState(KEY.public, 51820, (STATE,))


@given(meshes())
def test_what_is_sent_to_the_kernel_reads_back(want: Desired) -> None:
    """Through pyroute2's own encoder and decoder."""
    for peer in want.peers:
        sent = kernel.message("wgx", *kernel.encode_changes([SetPeer(peer)], KEY))
        sent.encode()
        read = wgmsg(sent.data)
        read.decode()
        (found,) = kernel.parse_device([read]).peers
        assert Peer(*(getattr(found, f.name) for f in fields(Peer))) == peer
        (attributes,) = read.get_attr("WGDEVICE_A_PEERS")
        assert attributes.get_attr("WGPEER_A_FLAGS") == kernel.REPLACE_ALLOWED


OTHER = ip_network("203.0.113.0/29")
NO_KEY = "00" * 32


@pytest.mark.parametrize(
    ("before", "after", "flags", "said"),
    [
        (PEER, replace(PEER, keepalive=25), 4, ["persistent_keepalive_interval=25"]),
        (PEER, replace(PEER, preshared=SHARED), 4, [f"preshared_key={'0f' * 32}"]),
        (replace(PEER, preshared=SHARED), PEER, 4, [f"preshared_key={NO_KEY}"]),
        (PEER, replace(PEER, allowed=PEER.allowed | {OTHER}), 4, [f"allowed_ip={OTHER}"]),
        (
            PEER,
            replace(PEER, allowed=frozenset({OTHER})),
            6,
            ["replace_allowed_ips=true", f"allowed_ip={OTHER}"],
        ),
        (PEER, replace(PEER, allowed=frozenset()), 6, ["replace_allowed_ips=true"]),
    ],
)
def test_only_what_differs_is_sent(before: Peer, after: Peer, flags: int, said: list[str]) -> None:
    """What is set whole has no allowed addresses for a moment, and loses packets."""
    change = SetPeer(replace(after, endpoint=None), before)
    lines = uapi.encode_set([change], KEY).split()
    assert lines == ["set=1", f"public_key={'01' * 32}", "update_only=true", *said]
    sent = kernel.message("wgx", *kernel.encode_changes([change], KEY))
    sent.encode()
    read = wgmsg(sent.data)
    read.decode()
    (attributes,) = read.get_attr("WGDEVICE_A_PEERS")
    assert attributes.get_attr("WGPEER_A_FLAGS") == flags
    assert len(attributes.get_attr("WGPEER_A_ALLOWEDIPS") or ()) == sum(
        "allowed_ip=" in x for x in said
    )
    names = {name for name, _ in attributes["attrs"]}
    assert ("WGPEER_A_PRESHARED_KEY" in names) == ("preshared" in said[0])
    assert ("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL" in names) == ("keepalive" in said[0])


def test_a_peer_of_many_addresses_takes_several_messages() -> None:
    """An attribute ends at 64 KiB; only the first message may take away what there was."""
    allowed = frozenset(ip_network((n << 96, 128)) for n in range(1, 3 * kernel.MOST))
    read = []
    for attributes in kernel.encode_changes([SetPeer(replace(PEER, allowed=allowed))], KEY):
        sent = kernel.message("wgx", attributes)
        sent.encode()
        read.append(wgmsg(sent.data))
        read[-1].decode()
    (peer,) = kernel.parse_device(read).peers
    assert (peer.allowed, peer.endpoint) == (allowed, PEER.endpoint)
    flags = [m.get_attr("WGDEVICE_A_PEERS")[0].get_attr("WGPEER_A_FLAGS") for m in read]
    assert flags == [kernel.REPLACE_ALLOWED, kernel.UPDATE_ONLY, kernel.UPDATE_ONLY]


def test_other_changes_in_the_kernels_terms() -> None:
    changes: list[DeviceChange] = [RemovePeer(PEER.public_key), SetKey(), SetPort(5)]
    peer = {"attrs": [["WGPEER_A_PUBLIC_KEY", PEER.public_key], ["WGPEER_A_FLAGS", 1]]}
    assert [*kernel.encode_changes(changes, KEY)] == [
        [["WGDEVICE_A_PEERS", [peer]]],
        [["WGDEVICE_A_PRIVATE_KEY", KEY.reveal_base64()]],
        [["WGDEVICE_A_LISTEN_PORT", 5]],
    ]
