from __future__ import annotations

import os

import pytest

from edgenode.lifeline import tun


def test_who_floods_the_device_does_not_keep_its_holder_busy() -> None:
    with open("/dev/zero", "rb") as endless:
        assert tun.drain(endless.fileno())


def test_no_tun_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(tun.TunError, match=r"/dev/net/tun cannot be opened .* load the module tun"):
        tun.create("edgenode0")
