"""Tests for L{burrow.protocols.private}."""

from twisted.trial.unittest import SynchronousTestCase

from burrow.client.tunnels import tunnel_request
from burrow.errors import ConfigError
from burrow.protocols.base import Reach
from burrow.protocols.http import HttpProtocol
from burrow.protocols.kind import PORT, TunnelKind
from burrow.protocols.options import kind_option
from burrow.protocols.private import MAX_ALLOWED, kept_kind, public_kind, reach_of
from burrow.protocols.tcp import TcpProtocol
from burrow.protocols.udp.kind import UdpProtocol
from burrow.wording import COMMAND_LINE


class Options(SynchronousTestCase):
    def refused(self, words, **given):
        given = {key.replace("_", "-"): value for key, value in given.items()}
        error = self.assertRaises(
            ConfigError, tunnel_request, "tcp", "22", "box", given, written=COMMAND_LINE
        )
        self.assertIn(words, str(error))

    def test_what_does_not_go_together(self):
        self.refused("add --private", allow_token=["ann"])
        self.refused("no public port", private=True, port="2000")
        self.refused("several agents share a token", private=True, allow_token=["ann"] * (MAX_ALLOWED + 1))
        self.refused("write a token's name", private=True, allow_token=["no name"])

    def test_what_the_server_is_told(self):
        given = {"private": True, "allow-token": ["ann", "bob"]}
        for kind in ("tcp", "http", "udp"):
            request = tunnel_request(kind, "22", "box", given)
            self.assertEqual(request.sent(), given)
        self.assertEqual(tunnel_request("tcp", "22", "box", {}).sent(), {})

    def test_reach(self):
        for kind in (TcpProtocol(), HttpProtocol(), UdpProtocol()):
            self.assertIs(reach_of(kind, {"private": False}), kind.reach)
            self.assertIs(reach_of(kind, {"private": True}), Reach.NOWHERE)

    def test_a_kind_with_an_option_of_that_name_of_its_own(self):
        class Other(TunnelKind):
            name = "other"
            summary = "it means something else"
            options = (PORT, kind_option("private", "hide something", False))

        self.assertIs(reach_of(Other(), {"private": True}), Reach.TCP_PORT)

    def test_what_is_kept_is_no_kind_that_older_releases_know(self):
        kind = HttpProtocol()
        kept = kept_kind(kind, Reach.NOWHERE)
        self.assertEqual(kept, "private-http")
        self.assertEqual(public_kind(kept), "http")
        self.assertEqual(kept_kind(kind, Reach.HOST), "http")
        self.assertIsNone(public_kind("http"))
