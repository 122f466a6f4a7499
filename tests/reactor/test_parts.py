"""Tests for L{burrow.reactor.transports}: what is written in parts, and the kernel takes in others."""

import errno
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

if not sys.platform.startswith("linux"):
    pytest.skip("the reactor is for Linux", allow_module_level=True)

from burrow.reactor import transports
from burrow.reactor.transports import TurnTransport


class Reactor:
    """Keeps who waits for the end of the turn, or for room."""

    def __init__(self):
        self.unsent, self.armed = [], set()

    def send_at_turn_end(self, transport):
        self.unsent.append(transport)

    def addWriter(self, transport):
        self.armed.add(transport)

    def removeWriter(self, transport):
        self.armed.discard(transport)

    addReader = removeReader = removeWriter


class Kernel:
    """A socket that takes so many bytes of each call; 0: none now. C{asked}: the parts of each call."""

    def __init__(self, room):
        self.room, self.taken, self.asked = list(room), b"", []

    def setblocking(self, wanted):
        assert wanted is False

    def fileno(self):
        return 3

    def sendmsg(self, parts):
        self.asked.append(len(parts))
        return self._take(b"".join(parts))

    def send(self, data):
        self.asked.append(1)
        return self._take(bytes(data))

    def _take(self, data):
        room = self.room.pop(0) if self.room else len(data)
        if not room:
            raise BlockingIOError(errno.EWOULDBLOCK, "no room")
        self.taken += data[:room]
        return min(room, len(data))


def connected(kernel):
    transport = TurnTransport(kernel, None, Reactor())
    transport.connected = 1
    return transport


SIZES = st.sampled_from([1, 20, 5_000, 16_384, 70_000])


@given(
    st.lists(st.lists(SIZES, max_size=5), max_size=4),
    st.lists(st.sampled_from([0, 1, 19, 20, 21, 5_020, 16_384, 100_000]), max_size=12),
)
def test_everything_goes_out_once_and_in_order(turns, room):
    kernel = Kernel(room)
    transport = connected(kernel)
    expected, count = b"", 0
    for written in turns:
        for size in written:
            count += 1
            part = bytes([count]) * size
            expected += part
            transport.write(part)
        unsent, transport.reactor.unsent = transport.reactor.unsent, []
        for each in unsent:
            assert each.send() is None
        if transport in transport.reactor.armed:
            assert transport.doWrite() is None
    for _ in range(len(room) + len(expected) // TurnTransport.SEND_LIMIT + 2):
        if transport in transport.reactor.armed:
            assert transport.doWrite() is None
    assert kernel.taken == expected
    assert not transport.reactor.armed


def test_large_parts_are_not_copied_and_small_ones_take_one():
    kernel = Kernel([])
    transport = connected(kernel)
    for size in (10, 10, transports._LARGE):
        transport.write(bytes(size))
    transport.send()
    for _ in range(3):
        transport.write(b"small")
    transport.send()
    assert kernel.asked == [3, 1]


def test_parts_beyond_what_a_call_takes():
    kernel = Kernel([])
    transport = connected(kernel)
    for _ in range(transports._MOST_PARTS + 1):
        transport.write(bytes(100))
    transport.send()
    assert kernel.asked == [1]
    assert len(kernel.taken) == 100 * (transports._MOST_PARTS + 1)
