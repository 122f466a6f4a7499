"""Tests for L{burrow.certificates.acme.transport}."""

import pytest
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from burrow.certificates.acme.transport import Transport


class Agent:
    def __init__(self):
        self.asked = []

    def request(self, method, url, headers=None, bodyProducer=None):
        self.asked.append(url)
        return Deferred()


@pytest.mark.parametrize("url", ["https://[::1]:14000/dir", "https://ca.example/dir?a=b"])
def test_what_a_ca_is_asked(url):
    transport, agent = Transport(Clock(), url, None), Agent()
    transport._http = HTTPClient(agent)
    asking = Deferred.fromCoroutine(transport.request("GET", url))
    assert agent.asked == [url.encode()]
    failures = []
    asking.addErrback(failures.append)
    asking.cancel()
    assert failures
