"""Tests for L{burrow.protocols.routing} and L{burrow.policy.routing}."""

import pytest

from burrow.client.tunnels import tunnel_request
from burrow.errors import ConfigError
from burrow.policy.routing import prefix_of
from burrow.protocols.forward import Connectors
from burrow.protocols.http import HttpProtocol
from burrow.protocols.upstream import Upstream
from burrow.testing.tunnel import MemoryTunnel, _Connector

PREFIXES = (b"/api", b"/api/v2", b"/blog")


@pytest.mark.parametrize(
    ("target", "prefix"),
    [
        (b"/api", b"/api"),
        (b"/api/", b"/api"),
        (b"/api?x=/blog/", b"/api"),
        (b"/api/v2/x", b"/api/v2"),
        (b"/api/v23", b"/api"),
        (b"/apis", b""),
        (b"/x/api", b""),
        (b"/", b""),
        (b"*", b""),
    ],
)
def test_longest_path_counts(target, prefix):
    assert prefix_of(target, PREFIXES) == prefix


class Apps(MemoryTunnel):
    """A tunnel with a main upstream, and one for /api."""

    def __init__(self):
        super().__init__(HttpProtocol(), {"route": ["/api=4000"]}, address="3000")
        # The connections of both come to the same pair; which one was asked for is noted.
        self.asked = []
        for port in (3000, 4000):
            Connectors.use(self.clock, Upstream("http", "localhost", port), Noted(self, port))


class Noted(_Connector):
    def __init__(self, tunnel, port):
        super().__init__(tunnel, tunnel._behind)
        self.port = port

    def connect_now(self, other=None):
        self._tunnel.asked.append(self.port)
        return super().connect_now(other)


@pytest.mark.parametrize(
    ("target", "port"), [(b"/api/x", 4000), (b"/api", 4000), (b"/apix", 3000), (b"/", 3000)]
)
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_first_line_chooses_the_upstream(target, port, step):
    tunnel = Apps()
    visitor = tunnel.visit()
    request = b"GET %b HTTP/1.1\r\nHost: demo.test\r\n\r\n" % target
    for start in range(0, len(request), step):
        visitor.transport.write(request[start : start + step])
        tunnel.pump()
    assert tunnel.asked == [port]
    (upstream,) = tunnel.built
    assert upstream.received == request
    upstream.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    tunnel.pump()
    assert visitor.received.startswith(b"HTTP/1.1 200 OK")


def test_visitor_that_leaves_before_its_first_line_is_whole():
    tunnel = Apps()
    visitor = tunnel.visit()
    visitor.transport.write(b"GET /ap")
    tunnel.pump()
    visitor.transport.abortConnection()
    tunnel.pump()
    assert tunnel.asked == []


def test_server_is_told_paths_alone():
    request = tunnel_request("http", "3000", None, {"route": ["/api=4000", "/x/=https://app.test"]})
    assert request.sent()["route"] == ["/api", "/x"]


@pytest.mark.parametrize(
    ("routes", "error"),
    [
        (["api=4000"], "write a path"),
        (["/=4000"], "write a path"),
        (["/a b=4000"], "write a path"),
        (["//x=4000"], "write a path"),
        (["/api=nowhere"], "no upstream"),
        (["/api=tcp://localhost:5"], "no upstream"),
        (["/api"], "write /api=PORT"),
        (["/api=1", "/api/=2"], "given twice"),
        ([f"/{number}=4000" for number in range(21)], "20 routes"),
    ],
)
def test_impossible_routes(routes, error):
    with pytest.raises(ConfigError, match=error):
        tunnel_request("http", "3000", None, {"route": routes})


def test_private_tunnels_have_one_upstream():
    with pytest.raises(ConfigError, match="public URL"):
        tunnel_request("http", "3000", None, {"route": ["/api=4000"], "private": True})
