"""Tests for L{burrow.cli.doctor.agent}: what is said of upstreams that are no service."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from burrow.cli.doctor.agent import _upstream
from burrow.client.tunnels import tunnel_request


class Upstreams(SynchronousTestCase):
    def test_a_folder_is_not_connected_to(self):
        request = tunnel_request("files", "/", None, {})
        finding = self.successResultOf(Deferred.fromCoroutine(_upstream(None, request)))
        self.assertEqual((finding.level.name, finding.text), ("OK", "/ needs no service that listens"))
