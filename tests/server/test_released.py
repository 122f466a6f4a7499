"""Tests for L{burrow.server.released}: tunnels are closed whose name their token no longer owns."""

from twisted.internet.defer import Deferred, fail

from burrow.errors import StoreError
from burrow.mux.control import OpenTunnel
from burrow.server.nodes.records import Lease
from burrow.server.released import CHECK_EVERY, NameWatch
from tests.server import test_channel


class Released(test_channel.Connected):
    def setUp(self):
        super().setUp()
        self.watch = NameWatch(self.clock, self.store, self.tunnels)
        self.cluster.changes.listeners.append(self.watch.changed)
        self.watch.start()
        self.addCleanup(self.watch.stop)
        self.pair = self.connect()
        self.told = self.opened(self.pair).told

    def check(self):
        self.successResultOf(Deferred.fromCoroutine(self.cluster.look()))
        self.clock.advance(CHECK_EVERY)
        self.pair.pump()

    def test_released_name_is_closed_and_its_agent_told(self):
        self.check()
        self.assertIsNotNone(self.tunnels.by_name("blog"))
        self.successResultOf(self.store.release("blog"))
        self.check()
        self.assertIsNone(self.tunnels.by_name("blog"))
        why = "https://blog.example.com is closed: the server's owner released it"
        self.assertEqual(self.told, [("released", why, "blog")])
        self.assertFalse(self.pair.server.lost)
        self.check()
        self.assertEqual(len(self.told), 1)

    def test_name_of_another_token(self):
        self.successResultOf(self.store.transfer("blog", "token2"))
        self.check()
        self.assertIsNone(self.tunnels.by_name("blog"))
        self.assertIn("gave it to another token", self.told[0][1])

    def test_name_of_which_the_store_finds_out_later(self):
        """Without a note, and also if the store cannot tell at once."""
        self.watch.lost("blog")
        self.assertIsNotNone(self.tunnels.by_name("blog"))
        self.successResultOf(self.store.transfer("blog", "token2"))
        find, self.store.find_reservations = (
            self.store.find_reservations,
            lambda names: fail(StoreError("away")),
        )
        self.watch.lost("blog")
        self.assertIsNotNone(self.tunnels.by_name("blog"))
        self.store.find_reservations = find
        self.check()
        self.assertIsNone(self.tunnels.by_name("blog"))
        self.assertEqual([code for code, _, _ in self.told], ["released"])
        self.watch.lost("blog")
        self.assertEqual(self.watch._doubted, set())

    def test_another_token_takes_over(self):
        """On another node: its agent is not told that it was one of its own token's."""
        self.successResultOf(
            Deferred.fromCoroutine(self.tunnels.taken(Lease("blog", "node2", "http", None, 1.0, "token2")))
        )
        self.pair.pump()
        why = "https://blog.example.com is closed: its name belongs to another token now"
        self.assertEqual(self.told, [("released", why, "blog")])

    def test_name_that_its_token_has_again(self):
        self.successResultOf(self.store.release("blog"))
        self.opened_again()
        self.check()
        self.assertIsNotNone(self.tunnels.by_name("blog"))

    def opened_again(self):
        other = self.connect("agent-5678")
        self.opened(other)
        self.pair.pump()
        self.told.clear()

    def test_store_that_is_away(self):
        self.successResultOf(self.store.release("blog"))
        find, self.store.find_reservations = (
            self.store.find_reservations,
            lambda names: fail(StoreError("away")),
        )
        self.check()
        self.assertIsNotNone(self.tunnels.by_name("blog"))
        self.store.find_reservations = find
        self.check()
        self.assertIsNone(self.tunnels.by_name("blog"))

    def test_released_while_its_tunnel_opened(self):
        """The store told that the name changed before there was a tunnel of ours."""
        other = self.connect("agent-5678")
        ready = Deferred()
        self.ready = lambda host: ready
        control = self.control(other)
        opening = control.callRemote(OpenTunnel, kind="http", upstream="x", name="shop")
        other.pump()
        self.successResultOf(self.store.release("shop"))
        self.check()
        ready.callback(None)
        other.pump()
        self.successResultOf(opening)
        self.assertIsNotNone(self.tunnels.by_name("shop"))
        self.check()
        self.assertIsNone(self.tunnels.by_name("shop"))

    def test_released_while_it_is_asked_for(self):
        """The answer is older than that: it is asked for again."""
        answer, find = Deferred(), self.store.find_reservations
        known = self.successResultOf(find(["blog"]))
        self.store.find_reservations = lambda names: answer
        self.check()
        self.store.find_reservations = find
        self.successResultOf(self.store.release("blog"))
        self.successResultOf(Deferred.fromCoroutine(self.cluster.look()))
        answer.callback(known)
        self.check()
        self.assertIsNone(self.tunnels.by_name("blog"))

    def test_store_that_goes_away_while_tunnels_are_closed(self):
        """The other names are asked for again."""
        self.opened(self.connect("agent-5678"), "shop")
        for name in ("blog", "shop"):
            self.successResultOf(self.store.release(name))
        take = self.tunnels.take_away
        self.tunnels.take_away = lambda tunnel, why: fail(StoreError("away"))
        self.check()
        self.tunnels.take_away = take
        self.check()
        self.assertEqual(self.tunnels.names, [])

    def test_no_question_while_nothing_changes(self):
        self.check()
        self.store.find_reservations = None
        self.check()
        self.assertIsNotNone(self.tunnels.by_name("blog"))

    def test_store_that_cannot_tell_what_changed(self):
        """All open names are asked for, in one question."""
        self.check()
        asked, find = [], self.store.find_reservations
        self.store.find_reservations = lambda names: asked.append(list(names)) or find(names)
        self.successResultOf(self.store.release("blog"))
        self.cluster.changes.forget()
        self.check()
        self.assertIsNone(self.tunnels.by_name("blog"))
        self.assertEqual(asked, [["blog"]])
