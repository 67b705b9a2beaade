"""Tests of `hack.ports`: no port of the ephemeral range, and each only once."""

import socket
from pathlib import Path

import pytest

from hack import ports


def test_no_port_is_one_that_a_client_may_get() -> None:
    first, end = ports.listening_range()
    clients = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    given = [ports.free_port() for _ in range(200)]
    assert len(set(given)) == len(given)
    assert all(first <= port < end <= clients for port in given)


def test_a_port_that_somebody_listens_on_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, free = ports.free_port(), ports.free_port()
    monkeypatch.setattr(ports, "_given", set())
    lowest, end = min(taken, free), max(taken, free) + 1
    monkeypatch.setattr(ports, "_FIRST", lowest)
    monkeypatch.setattr(ports, "_END", end)
    with socket.create_server(("127.0.0.1", taken)):
        for port in set(range(lowest, end)) - {taken, free}:
            ports._given.add(port)
        assert ports.free_port() == free
        with pytest.raises(RuntimeError, match="no port"):
            ports.free_port()


def test_a_machine_that_gives_clients_all_ports_is_told_what_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    everything = tmp_path / "range"
    everything.write_text("1024\t65000\n")
    monkeypatch.setattr(ports, "_CLIENTS", everything)
    with pytest.raises(RuntimeError, match="set it to 30000 or more"):
        ports.listening_range()
