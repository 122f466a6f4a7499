"""Tests for L{burrow.link.timers}: Autobahn's timers on a reactor that is passed in."""

from twisted.internet.task import Clock

from burrow.link.timers import DropsInTime, Timers


def test_timer_that_is_cancelled_in_time_and_late():
    clock, called = Clock(), []
    timers = Timers(clock)
    first, second = timers.call_later(1, called.append, 1), timers.call_later(2, called.append, 2)
    second.cancel()
    clock.advance(2)
    assert called == [1]
    first.cancel()
    second.cancel()


class Closing:
    """Autobahn's part of it."""

    STATE_OPEN, STATE_CLOSING = "open", "closing"
    serverConnectionDropTimeoutCall = None

    def __init__(self, state):
        self.state = state

    def onCloseFrame(self, code, reason):
        self.state = self.STATE_CLOSING
        return code, reason


class Client(DropsInTime, Closing):
    def __init__(self, state):
        super().__init__(state)
        self.reactor = Clock()
        self.factory = self
        self.dropped = 0

    def onServerConnectionDropTimeout(self):
        self.dropped += 1


def test_server_that_leaves_the_connection_open_after_both_close_frames():
    client = Client("closing")
    assert client.onCloseFrame(1000, b"enough") == (1000, b"enough")
    client.reactor.advance(0.9)
    assert client.dropped == 0
    client.reactor.advance(0.1)
    assert client.dropped == 1
    client.serverConnectionDropTimeoutCall.cancel()


def test_server_that_closes_first_is_given_autobahns_own_time():
    client = Client("open")
    assert client.onCloseFrame(1000, b"enough") == (1000, b"enough")
    assert client.serverConnectionDropTimeoutCall is None
    assert not client.reactor.getDelayedCalls()
