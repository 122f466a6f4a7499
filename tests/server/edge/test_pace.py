"""Tests for L{burrow.server.edge.pace}."""

import socket
import sys
import time

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from burrow.server.edge.pace import Pace, Rate
from burrow.server.edge.sweep import Sweep
from burrow.sockets import taken, way


class Paced:
    def __init__(self, least=10, window=5):
        self.clock = Clock()
        sweep = Sweep(self.clock)
        sweep.start()
        self.count, self.late = 0, 0
        self.pace = Pace(sweep, Rate(least, window), lambda: self.count, self.is_late)

    def is_late(self):
        self.late += 1

    def wait(self, seconds):
        for _ in range(seconds):
            self.clock.advance(1)


@pytest.mark.parametrize(("amount", "late"), [(50, 0), (49, 1)])
def test_least_amount_a_window(amount, late):
    paced = Paced()
    paced.pace.watch()
    for _ in range(3):
        paced.count += amount
        paced.wait(5)
    assert paced.late == late


def test_window_begins_anew():
    paced = Paced()
    paced.pace.watch()
    paced.wait(4)
    paced.pace.fast_enough()
    paced.pace.watch()
    paced.wait(5)
    assert paced.late == 0
    paced.wait(5)
    assert paced.late == 1


def test_nothing_is_awaited():
    paced = Paced()
    paced.pace.watch()
    paced.count = None
    paced.wait(20)
    paced.pace.watch()
    paced.wait(20)
    assert (paced.late, paced.pace.deadline) == (0, None)
    paced.count = 0
    paced.pace.watch()
    paced.pace.stop()
    paced.pace.stop()
    paced.wait(20)
    assert paced.late == 0


def test_no_limit():
    paced = Paced(least=0)
    paced.pace.watch()
    assert paced.pace.deadline is None


def test_what_a_peer_has_acknowledged():
    class Transport:
        socket = None

    assert taken(StringTransport()) is None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as sender:
            receiver, _ = listener.accept()
            transport = Transport()
            transport.socket = sender
            before = taken(transport)
            sender.sendall(b"x" * 1000)
            receiver.recv(1000, socket.MSG_WAITALL)
            if sys.platform.startswith("linux"):
                deadline = time.monotonic() + 10
                while taken(transport) - before < 1000 and time.monotonic() < deadline:
                    pass
                assert taken(transport) - before == 1000
                assert way(transport) == (before + 1000, before + 1000)
                receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sender.setblocking(False)
                size = sender.send(bytes(10_000_000))
                under_way = way(transport)
                assert under_way.taken < under_way.sent <= before + 1000 + size
            else:
                assert before is None
                assert way(transport) is None
            receiver.close()
        assert taken(transport) is None
        assert way(transport) is None
