"""Tests for L{burrow.client.registration}: which tunnels an agent asks for, and when it asks again."""

from twisted.internet.defer import Deferred
from twisted.protocols.amp import RemoteAmpError

from burrow.client import refusals
from burrow.client.refusals import ASK_AGAIN_FIRST, SOON_FIRST, SOON_LIMIT
from burrow.errors import (
    BadOption,
    CertificateFailed,
    NameTaken,
    NotAllowed,
    Refused,
    ServerUnreachable,
    TooManyTunnels,
    Unavailable,
    UnknownProtocol,
)
from burrow.mux.control import Notice
from tests.client.agents import AgentCase, opened

BUSY = Unavailable("port 20000 is busy")
CLOSED = CertificateFailed("the CA says no")


class Asking(AgentCase):
    def test_only_what_changed_is_touched(self):
        self.answers = {"blog": True, "shop": True, "news": True, "old": True}
        self.start("blog", "shop", "old")
        pair = self.pair
        self.asked.clear()
        changed = self.requests("shop", upstream="4000")
        self.assertEqual(self.change(*self.requests("blog"), *changed, *self.requests("news")), (2, 2))
        self.assertEqual((self.asked, self.closed), (["shop", "news"], ["old"]))
        self.assertEqual(self.agent.streams.open_tunnels["shop"].upstream, changed[0].upstream)
        self.assertEqual(set(self.agent.streams.open_tunnels), {"blog", "shop", "news"})
        self.assertIs(self.pair, pair)
        self.lose()
        self.assertEqual(sorted(self.asked[2:]), ["blog", "news", "shop"])
        self.assertEqual(self.change(*self.requests("blog"), *changed, *self.requests("news")), (0, 0))
        self.assertEqual(len(self.asked), 5)

    def test_changed_tunnel_that_cannot_open_now_stays_as_it_was(self):
        self.answers = {"blog": True}
        self.start("blog")
        self.answers = {"blog": BUSY}
        (first,) = self.requests("blog", upstream="4000")
        self.change(first)
        self.assertEqual(self.closed, [])
        self.assertEqual(str(self.agent.streams.open_tunnels["blog"].upstream), "http://localhost:3000")
        (second,) = self.requests("blog", upstream="5000")
        self.change(second)  # in the meantime, once more
        self.answers = {"blog": True}
        self.advance(SOON_FIRST)
        self.assertIs(self.agent.streams.open_tunnels["blog"].upstream, second.upstream)
        self.assertEqual((self.closed, self.asked.count("blog")), ([], 4))

    def test_changed_tunnel_that_is_refused_closes_the_old_one(self):
        self.answers = {"blog": True, "shop": True}
        self.start("blog", "shop")
        self.answers["blog"] = NameTaken("another's")
        self.change(*self.requests("shop"), *self.requests("blog", upstream="4000"))
        self.assertEqual(self.closed, ["blog"])
        self.assertNoResult(self.agent.done)

    def test_tunnel_that_opens_after_it_was_dropped_is_closed(self):
        self.answers = {"blog": True, "shop": Deferred()}
        self.start("blog")
        self.change(*self.requests("blog", "shop"))
        self.change(*self.requests("blog"))
        self.assertEqual(self.closed, [])
        self.answers["shop"].callback(opened("shop"))
        self.pair.pump()
        self.assertEqual(self.closed, ["shop"])
        self.assertEqual(set(self.agent.streams.open_tunnels), {"blog"})

    def test_tunnel_that_was_dropped_is_asked_for_no_more(self):
        self.answers = {"blog": True, "shop": Deferred()}
        self.start("blog")
        self.change(*self.requests("blog", "shop"))
        self.change(*self.requests("blog"))
        self.advance(10 * SOON_LIMIT)
        self.assertEqual(self.asked, ["blog", "shop"])
        self.assertEqual([event for event, _ in self.events], ["connected"])

    def test_tunnel_that_is_wanted_twice_stays_open_for_the_other(self):
        self.answers = {"blog": True}
        self.start("blog", "blog")
        self.change(*self.requests("blog"))
        self.assertEqual(self.closed, [])
        self.assertEqual(set(self.agent.streams.open_tunnels), {"blog"})

    def test_the_only_tunnel_without_a_certificate_ends_it(self):
        self.answers = {"blog": CLOSED}
        self.start("blog")
        self.failureResultOf(self.agent.done, Refused)
        self.assertEqual(self.asked, ["blog"])

    def test_one_of_several_is_asked_for_until_it_has_a_certificate(self):
        self.answers = {"blog": True, "shop": CLOSED}
        self.start("blog", "shop")
        self.assertEqual(self.opened, ["blog"])
        self.assertEqual(self.events[-1], ("refused", "the CA says no; trying again"))
        self.advance(ASK_AGAIN_FIRST)
        self.assertEqual(self.asked, ["blog", "shop", "shop"])
        self.answers["shop"] = True
        self.advance(ASK_AGAIN_FIRST)
        self.assertEqual(self.opened, ["blog"])
        self.advance(ASK_AGAIN_FIRST)
        self.assertEqual(self.opened, ["blog", "shop"])
        self.advance(10 * ASK_AGAIN_FIRST)
        self.assertEqual(self.asked.count("shop"), 3)
        self.assertNoResult(self.agent.done)

    def test_another_refusal_ends_the_asking(self):
        self.answers = {"blog": True, "shop": CLOSED}
        self.start("blog", "shop")
        self.answers["shop"] = NameTaken("it is another's")
        self.advance(ASK_AGAIN_FIRST)
        self.assertEqual(self.events[-1], ("refused", "it is another's"))
        self.advance(10 * ASK_AGAIN_FIRST)
        self.assertEqual(self.asked.count("shop"), 2)

    def test_one_that_was_open_does_not_end_the_agent(self):
        self.answers = {"blog": True}
        self.start("blog")
        self.assertEqual(self.opened, ["blog"])
        self.answers = {"blog": CLOSED}
        self.pair.server_carrier.abort()
        self.pair.pump()
        self.advance(1)
        self.assertEqual(self.asked, ["blog"] * 2)
        self.assertEqual(self.events[-1], ("refused", "the CA says no; trying again"))
        self.assertNoResult(self.agent.done)
        self.answers = {"blog": True}
        self.advance(ASK_AGAIN_FIRST)
        self.assertEqual(self.opened, ["blog"] * 2)

    def test_busy_port_is_asked_for_until_it_is_free(self):
        self.answers = {"db": BUSY}
        self.start("db")
        self.assertEqual(self.events[-1], ("refused", "port 20000 is busy; trying again"))
        self.advance(SOON_FIRST)
        self.assertEqual(self.asked, ["db"] * 2)
        self.answers = {"db": True}
        self.advance(2 * SOON_FIRST)
        self.assertEqual(self.opened, ["db"])
        self.lose()
        self.answers = {"db": BUSY}
        self.lose()
        for _ in range(30):  # far longer than TIME-WAIT lasts
            self.advance(SOON_LIMIT)
        self.assertEqual(self.events.count(("refused", "port 20000 is busy; trying again")), 2)
        self.answers = {"db": True}
        self.advance(SOON_LIMIT)
        self.assertEqual(self.opened, ["db"] * 3)
        self.assertEqual(self.events[-1], ("notice", "db is open again"))
        self.assertNoResult(self.agent.done)

    def test_busy_port_leaves_the_session_and_the_others_alone(self):
        self.answers = {"blog": True, "db": BUSY, "www": NameTaken("it is another's")}
        self.start("blog", "db", "www")
        pair = self.pair
        for _ in range(10):
            self.advance(SOON_LIMIT)
        self.assertIs(self.pair, pair)
        self.assertFalse(pair.agent.lost)
        self.assertEqual(self.asked.count("blog"), 1)
        self.assertEqual(self.asked.count("www"), 1)
        self.assertGreater(self.asked.count("db"), 10)

    def test_what_was_open_is_asked_for_whatever_the_server_says_of_it_later(self):
        for refusal in (BadOption("no such port"), UnknownProtocol("no such kind"), TooManyTunnels("many")):
            self.answers, self.opened, self.asked = {"db": True}, [], []
            self.start("db")
            self.answers = {"db": refusal}
            self.lose()
            self.assertEqual(self.asked, ["db"] * 2)
            self.answers = {"db": True}
            self.advance(ASK_AGAIN_FIRST)
            self.assertEqual(self.opened, ["db"] * 2)
            self.assertNoResult(self.agent.done)

    def test_whoever_asks_for_a_kind_that_the_server_lacks_is_told_what_to_install(self):
        self.answers = {"blog": UnknownProtocol("the server has no tunnels of kind 'gopher'")}
        self.patch(refusals, "package_of", lambda kind: "burrow-gopher 1.2")
        self.start("blog")
        refused = self.failureResultOf(self.agent.done, UnknownProtocol)
        self.assertIn("install burrow-gopher 1.2 beside Burrow there", str(refused.value))

    def test_refusals_that_last_end_it(self):
        for refusal in (NameTaken("another's"), NotAllowed("the token is revoked")):
            self.answers = {"db": True}
            self.start("db")
            self.answers = {"db": refusal}
            self.lose()
            self.failureResultOf(self.agent.done, type(refusal))

    def test_refusals_at_the_first_start_end_it(self):
        for refusal in (BadOption("port"), UnknownProtocol("kind"), TooManyTunnels("many")):
            self.answers = {"db": refusal}
            self.start("db")
            self.failureResultOf(self.agent.done, type(refusal))

    def test_last_of_several_that_is_given_up_ends_it(self):
        self.answers = {"db": BUSY, "www": NameTaken("it is another's")}
        self.start("www", "db")
        self.answers["db"] = NameTaken("the port is another's")
        self.assertNoResult(self.agent.done)
        self.advance(SOON_FIRST)
        self.failureResultOf(self.agent.done, NameTaken)

    def test_error_that_nobody_declared_is_no_end(self):
        self.answers = {"db": RemoteAmpError(b"NEW_ONE", "of a newer server")}
        self.start("db")
        self.answers = {"db": True}
        self.advance(SOON_FIRST)
        self.assertEqual(self.opened, ["db"])

    def test_without_retries_what_is_busy_ends_it(self):
        self.answers = {"blog": True, "db": BUSY}
        self.start("blog", "db", retry=False)
        failure = self.failureResultOf(self.agent.done, ServerUnreachable)
        self.assertIn("port 20000 is busy", str(failure.value))

    def notice(self, code, tunnel=None):
        self.channel.callRemote(Notice, code=code, text="a text", tunnel=tunnel)
        self.pair.pump()

    def test_tunnel_that_is_released_is_wanted_no_more(self):
        self.answers = {"blog": True, "shop": True}
        self.start("blog", "shop")
        self.notice("other", "blog")
        self.assertEqual(len(self.agent.wanted.all), 2)
        self.notice("released", "blog")
        self.assertEqual(self.events[1:], [("notice", "a text")] * 2)
        self.assertEqual(set(self.agent.streams.open_tunnels), {"shop"})
        self.lose()
        self.assertEqual(self.asked, ["blog", "shop", "shop"])
        self.assertNoResult(self.agent.done)
        self.notice("taken-over", "shop")
        self.assertEqual(str(self.failureResultOf(self.agent.done, Refused).value), "a text")
        self.assertEqual([event for event, _ in self.events].count("notice"), 2)  # the error says it once

    def test_taking_over_is_told_unless_it_was_from_the_agents_own_session(self):
        self.answers = {"blog": True}
        self.start("blog")
        self.notice("took-over", "blog")
        self.assertEqual(self.events[1:], [("notice", "a text")])
        self.lose()
        self.notice("took-over", "blog")
        self.assertEqual([event for event, _ in self.events].count("notice"), 1)
        self.assertNoResult(self.agent.done)

    def test_what_is_told_of_a_tunnel_holds_until_it_is_asked_for_again(self):
        self.answers = {"blog": True, "shop": True}
        self.start("blog", "shop")
        self.notice("http1-only", "blog")
        self.assertTrue(self.agent.holds("a text"))
        self.change(*self.requests("blog"))
        self.assertTrue(self.agent.holds("a text"))
        self.change(*self.requests("blog", upstream="4000"))
        self.assertFalse(self.agent.holds("a text"))
        self.notice("http1-only", "blog")
        self.lose()
        self.assertFalse(self.agent.holds("a text"))
        self.notice("http1-only", "blog")
        self.change(*self.requests("shop"))
        self.assertFalse(self.agent.holds("a text"))

    def test_only_so_much_of_what_a_server_tells_is_kept(self):
        self.answers = {"blog": True}
        self.start("blog")
        for number in range(9):
            self.notice("http1-only", f"other{number}")
        self.assertEqual(len(self.agent._registration.holds), 2)

    def test_that_it_asks_again_holds_until_the_tunnel_is_open(self):
        self.answers = {"blog": True, "db": BUSY}
        self.start("blog", "db")
        (said,) = [text for event, text in self.events if event == "refused"]
        self.assertTrue(self.agent.holds(said))
        self.answers = {"db": True}
        self.advance(SOON_FIRST)
        self.assertEqual(self.opened, ["blog", "db"])
        self.assertFalse(self.agent.holds(said))

    def test_token_that_is_revoked_ends_the_agent(self):
        self.answers = {"blog": True}
        self.start("blog")
        self.notice("revoked")
        self.assertEqual(str(self.failureResultOf(self.agent.done, Refused).value), "a text")
        self.assertEqual([event for event, _ in self.events], ["connected"])
