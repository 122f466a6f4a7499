"""Tests for L{burrow.link.accept}: the server's side of the handshake."""

import json
from types import SimpleNamespace

import pytest
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from burrow import __version__
from burrow.link.accept import HandshakeRefused, bearer, node_of
from burrow.link.lean import Lean
from burrow.testing import Recorder, Recorders
from tests.link.joined import NOWHERE, Joined, Socket

FUNCTIONS = {"perMessageCompressionAccept"}
"""Options of Autobahn's that are functions: of a class they would be methods."""

FIELDS = {
    "Host": "x",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "burrow.resume.v1",
    "Authorization": "Bearer right",
    "Burrow-Agent": "agent-1234",
}


def test_tokens():
    texts = ("Bearer x", "bearer  y ", "Basic z", "", "Bearer")
    assert [bearer(text) for text in texts] == ["x", "y", "", "", ""]


def test_node_of_a_session():
    link = Joined(node="here")
    assert node_of(link.server.new_id()) == "here"
    assert link.server.new_id() != link.server.new_id()
    assert node_of("") == ""


class Accepting(SynchronousTestCase):
    """Handshakes by hand."""

    def setUp(self):
        self.admitted, self.let_in = [], []
        self.link = Joined(
            node="here",
            grace=10.0,
            admit=lambda identity, handshake: self.admitted.append((identity, handshake.agent)),
            let_in=self.let_in.append,
            name_of=lambda identity: identity,
        )

    def ask(self, **fields):
        """
        The status, the fields and the body of the answer; None if there is none.

        @param fields: with underscores, in place of those above; None to leave one out.
        """
        head = {**FIELDS, **{name.replace("_", "-"): value for name, value in fields.items()}}
        lines = [f"{name}: {value}" for name, value in head.items() if value is not None]
        self.server = self.link.server.buildProtocol(NOWHERE)
        self.server.makeConnection(Socket())
        self.server.dataReceived("\r\n".join(["GET /_burrow/agent HTTP/1.1", *lines, "", ""]).encode())
        return self.answer()

    def answer(self):
        data = self.server.transport.value()
        if not data:
            return None
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return first, fields, body

    def handshake(self):
        return self.link.sessions[-1][3]

    def test_session_that_begins(self):
        first, fields, _ = self.ask(**{"Burrow-Version": "1.2.3", "Burrow-Inspector": "4041"})
        self.assertTrue(first.startswith("HTTP/1.1 101 "))
        self.assertEqual(fields["sec-websocket-protocol"], "burrow.resume.v1")
        self.assertEqual(node_of(fields["burrow-session"]), "here")
        self.assertEqual((fields["burrow-received"], fields["burrow-version"]), ("0", __version__))
        self.assertEqual(fields["burrow-token"], "somebody")
        self.assertEqual(self.admitted, [("somebody", "agent-1234")])
        self.assertEqual(self.let_in, [self.server.transport])
        session, lifeline, identity, handshake = self.link.sessions[0]
        self.assertIs(lifeline.session, session)
        self.assertEqual(identity, "somebody")
        self.assertEqual((handshake.token, handshake.agent), ("right", "agent-1234"))
        self.assertEqual((handshake.version, handshake.inspector), ("1.2.3", 4041))
        self.assertEqual(handshake.peer, "127.0.0.1:54321")

    def test_session_that_cannot_be_resumed(self):
        _, fields, _ = self.ask(**{"Sec-WebSocket-Protocol": "other, burrow.yamux.v1"})
        self.assertEqual(fields["sec-websocket-protocol"], "burrow.yamux.v1")
        self.assertNotIn("burrow-session", fields)
        self.assertNotIn("burrow-received", fields)
        self.assertIsNone(self.link.sessions[0][1])
        self.assertEqual(len(self.admitted), 1)

    def test_resuming_is_preferred(self):
        _, fields, _ = self.ask(**{"Sec-WebSocket-Protocol": "burrow.yamux.v1, burrow.resume.v1"})
        self.assertEqual(fields["sec-websocket-protocol"], "burrow.resume.v1")

    def test_identity_without_a_name(self):
        self.link.server.name_of = lambda identity: ""
        self.assertNotIn("burrow-token", self.ask()[1])

    def test_what_agents_say_is_cut_off(self):
        self.ask(Burrow_Agent="a" * 65, Burrow_Version="v" * 33)
        self.assertEqual((self.handshake().agent, self.handshake().version), ("a" * 64, "v" * 32))

    def test_ports_of_inspectors(self):
        for text, port in (("65535", 65_535), ("65536", 0), ("-1", 0), ("x", 0), ("", 0), ("1", 1)):
            self.ask(Burrow_Inspector=text)
            self.assertEqual(self.handshake().inspector, port)

    def refused(self, status, words, phrase):
        """The newest answer refuses."""
        first, fields, body = self.answer()
        self.assertEqual(first, f"HTTP/1.1 {status} {phrase}")
        self.assertEqual(fields["content-type"], "application/json")
        self.assertEqual(int(fields["content-length"]), len(body))
        self.assertTrue(body.endswith(b"\n"))
        self.assertEqual(fields["connection"], "close")
        told = json.loads(body)
        self.assertEqual(told["status"], status)
        self.assertIn(words, told["error"])
        self.assertEqual("www-authenticate" in fields, status == 401)
        self.assertTrue(self.server.transport.ended)
        self.assertEqual((self.link.sessions, self.let_in), ([], []))

    def test_refusals(self):
        for status, phrase in (
            (401, "Unauthorized"),
            (403, "Forbidden"),
            (503, "Service Unavailable"),
            (429, "Refused"),
        ):
            self.link.refusal = HandshakeRefused(status, "since it is so")
            self.assertEqual(str(self.link.refusal), "since it is so")
            self.ask()
            self.refused(status, "since it is so", phrase)
        self.assertEqual(self.admitted, [])

    def test_client_of_another_protocol(self):
        for protocols in ("chat", None):
            self.ask(Sec_WebSocket_Protocol=protocols)
            self.refused(400, "burrow.resume.v1 and burrow.yamux.v1", "Bad Request")

    def test_browser(self):
        self.ask(Upgrade=None, Connection=None)
        self.refused(426, "Upgrade header missing", "Refused")

    def test_too_many_sessions(self):
        def admit(identity, handshake):
            raise HandshakeRefused(403, "too many")

        self.link.server.admit = admit
        self.ask()
        self.refused(403, "too many", "Forbidden")

    def test_agent_that_has_hung_up_by_then(self):
        waiting = Deferred()
        self.link.server.authenticate = lambda handshake: waiting
        self.assertIsNone(self.ask())
        self.link.clock.advance(0)
        self.server.transport.loseConnection()
        self.server.connectionLost(SimpleNamespace(value=None))
        waiting.callback("somebody")
        self.assertEqual(self.link.sessions, [])
        self.assertIsNone(self.answer())

    # -- sessions that are resumed --------------------------------------------------------------------------

    def begin(self):
        """A session, whose connection is cut. Its id."""
        _, fields, _ = self.ask()
        self.cut()
        return fields["burrow-session"]

    def cut(self):
        self.server.connectionLost(SimpleNamespace(value=None))

    def resume(self, session, received="0", **fields):
        """Whether the session goes on."""
        _, answer, _ = self.ask(Burrow_Session=session, Burrow_Received=received, **fields)
        return answer["burrow-session"] == session

    def test_session_that_goes_on_is_neither_begun_nor_admitted_again(self):
        session = self.begin()
        self.assertTrue(self.resume(session))
        self.assertEqual((len(self.link.sessions), len(self.admitted)), (1, 1))
        self.assertEqual(len(self.let_in), 2)
        self.assertTrue(self.link.sessions[0][0].connected)

    def test_sessions_of_others_do_not_go_on(self):
        session = self.begin()
        self.assertFalse(self.resume("here.other"))
        self.assertFalse(self.resume(session, Burrow_Agent="agent-5678"))
        for received in (None, "", "-1", "many"):
            self.assertFalse(self.resume(session, received))
        self.assertEqual((len(self.link.sessions), len(self.admitted)), (7, 7))
        self.link.clock.advance(10)
        self.assertFalse(self.resume(session))

    def test_agent_that_claims_to_have_more_than_was_sent(self):
        """The session is lost, and the next handshake begins another."""
        session = self.begin()
        self.resume(session, str(1 << 40))
        self.assertEqual(self.server.transport.ended, "aborted")
        self.assertTrue(self.link.sessions[0][0].lost)
        self.assertEqual(len(self.let_in), 1)
        self.cut()
        self.assertFalse(self.resume(session))
        self.assertEqual(len(self.link.sessions), 2)

    def test_connection_that_ends_leaves_no_timer(self):
        self.begin()
        self.link.clock.advance(10)
        self.assertEqual(self.link.clock.getDelayedCalls(), [])

    def test_silent_agent_is_given_up(self):
        self.ask()
        for _ in range(12):
            self.link.clock.advance(1)
        self.assertEqual(self.server.transport.ended, "aborted")

    def test_handshake_that_is_done_is_forgotten(self):
        self.ask()
        for name in ("_handshake", "_identity", "_session_id", "_peer_received", "_resumable"):
            self.assertNotIn(name, vars(self.server))

    def test_open_websocket_keeps_nothing_that_all_have_alike(self):
        self.ask()
        self.assertEqual({*vars(Lean), *self.server.CONFIG_ATTRS} & vars(self.server).keys(), FUNCTIONS)


@pytest.mark.parametrize(("options", "most"), [({}, 64), ({"max_streams": 3}, 3)])
def test_streams_that_a_peer_may_open(options, most):
    link = Joined(**options)
    dialling = Deferred.fromCoroutine(link.dialer().dial())
    link.pump()
    received = Recorders()
    link.sessions[0][0].listen(received)
    for _ in range(most + 1):
        dialling.result.session.open_stream(Recorder()).write(b"x")
    link.pump()
    assert len(received.built) == most
