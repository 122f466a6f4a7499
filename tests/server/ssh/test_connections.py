"""Tests for L{burrow.server.ssh.connections}: what ssh clients are told, and when their connections end."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow.server.ssh.connections import END_WITHIN, Connections


class Fake:
    """A connection. @ivar told: what its client was told. @ivar over: why it ended."""

    def __init__(self, connections, idle=True, reads=True):
        self.idle, self.told, self.over = idle, [], []
        self._connections, self._reads = connections, reads
        connections.open.add(self)

    def tell(self, text):
        self.told.append(text)

    def end(self, why):
        self.over.append(why)
        if self._reads:
            self._connections.open.discard(self)

    def abort(self):
        self.over.append("cut")
        self._connections.open.discard(self)


class Ending(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.connections = Connections(self.clock)

    def end_all(self):
        return Deferred.fromCoroutine(self.connections.end_all("over"))

    def test_all_are_told_and_what_comes_later_can_be(self):
        one = Fake(self.connections)
        self.connections.tell("news")
        self.assertEqual((one.told, self.connections.notice), (["news"], "news"))

    def test_those_without_visitors_end(self):
        idle, busy = Fake(self.connections), Fake(self.connections, idle=False)
        self.connections.end_idle("go")
        self.assertEqual((idle.over, busy.over), (["go"], []))
        self.assertEqual(self.connections.open, {busy})

    def test_it_is_over_when_all_have_ended(self):
        Fake(self.connections)
        self.successResultOf(self.end_all())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_does_not_read_is_cut(self):
        deaf = Fake(self.connections, reads=False)
        ending = self.end_all()
        self.clock.pump([0.1] * int(END_WITHIN * 10 - 1))
        self.assertNoResult(ending)
        self.clock.pump([0.1] * 2)
        self.successResultOf(ending)
        self.assertEqual(deaf.over, ["over", "cut"])

    def test_a_second_signal_cuts_at_once(self):
        deaf = Fake(self.connections, reads=False)
        ending = self.end_all()
        ending.cancel()
        self.successResultOf(ending)
        self.assertEqual(deaf.over, ["over", "cut"])
