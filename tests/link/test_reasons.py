"""Tests for L{burrow.link.reasons}: what the person at the agent is told."""

import pytest
from twisted.internet.error import ConnectError, ConnectionLost, DNSLookupError

from burrow.errors import Refused, ServerUnreachable
from burrow.link import reasons
from burrow.link.address import ServerAddress

ADDRESS = ServerAddress.parse("https://x")
DISTRUST = "[('SSL routines', '', 'certificate verify failed')]"


@pytest.mark.parametrize(
    ("status", "body", "error", "says"),
    [
        (401, b'{"error": "wrong token"}', Refused, "refused this agent: wrong token"),
        (401, b"<html>", Refused, "refused this agent with HTTP status 401"),
        (403, b'{"error": "no tunnels"}', Refused, "refused this agent: no tunnels"),
        (403, b"<html>", Refused, "refused this agent with HTTP status 403"),
        (400, b'{"error": "no subprotocol"}', Refused, "refused this agent: no subprotocol"),
        (400, b"<html>", ServerUnreachable, "does not answer as a Burrow server"),
        (404, b"", ServerUnreachable, "does not answer as a Burrow server (HTTP status 404)"),
        (404, b'{"error": "elsewhere"}', ServerUnreachable, "does not answer as a Burrow server"),
        (0, b"", ServerUnreachable, "does not answer as a Burrow server (HTTP status missing)"),
        (299, b"", ServerUnreachable, "does not answer as a Burrow server (HTTP status 299)"),
        (499, b"", ServerUnreachable, "does not answer as a Burrow server (HTTP status 499)"),
        (500, b"", ServerUnreachable, "cannot take agents now: HTTP status 500"),
        (503, b'{"error": "no store"}', ServerUnreachable, "cannot take agents now: no store"),
        (503, b"[]", ServerUnreachable, "cannot take agents now: HTTP status 503"),
        (503, b"{}", ServerUnreachable, "cannot take agents now: HTTP status 503"),
        (503, b"[" * 30_000, ServerUnreachable, "cannot take agents now: HTTP status 503"),
    ],
)
def test_what_answers_other_than_yes_mean(status, body, error, says):
    found = reasons.refusal(ADDRESS, status, {}, body)
    assert type(found) is error
    assert says in str(found)


@pytest.mark.parametrize("status", [300, 301, 308, 399])
def test_server_that_is_elsewhere(status):
    found = reasons.refusal(ADDRESS, status, {"location": "https://y.example:8443/there?a=b"}, b"")
    assert type(found) is Refused
    assert "use https://y.example:8443" in str(found)
    assert "there" not in str(found)
    other = reasons.refusal(ADDRESS, 400, {"location": "https://y.example"}, b"")
    assert "y.example" not in str(other)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ConnectError(111, "refused"), "cannot reach https://x:443: connection refused"),
        (DNSLookupError("x"), "no address is known for x"),
        (ConnectionLost(DISTRUST), "does not believe"),
        (ConnectionLost("VerificationError('no name')"), "has is not for x"),
        (ConnectionLost("cut"), "the connection to https://x:443 was lost: "),
    ],
)
def test_connection_that_fails(error, says):
    assert says in str(reasons.explain(error, ADDRESS))


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("", "closed the connection before it answered"),
        ('connection was closed uncleanly ("")', "closed the connection before it answered"),
        ("connection was closed uncleanly (peer dropped the TCP connection)", "before it answered"),
        ('connection was closed uncleanly ("wrong version number")', "does not speak TLS"),
        ('connection was closed uncleanly ("record layer failure")', "does not speak TLS"),
        ('connection was closed uncleanly ("it is\nfull")', "closed the connection: it is\nfull"),
        ('connection was closed uncleanly ("WebSocket opening handshake timeout (x)")', "answer in time"),
        ("enough", "https://x:443 closed the connection: enough"),
    ],
)
def test_connection_that_is_closed_before_there_is_a_session(reason, says):
    assert str(reasons.closed(ADDRESS, reason)).endswith(says) or "TLS" in says
    assert says in str(reasons.closed(ADDRESS, reason))


def test_distrust_is_told_from_other_ends():
    assert "does not believe" in str(reasons.distrust(DISTRUST, ADDRESS))
    assert "--ca-file" in str(reasons.distrust(DISTRUST, ADDRESS))
    assert "is not for x: use" in str(reasons.distrust("VerificationError('no name')", ADDRESS))
    assert reasons.distrust("cut", ADDRESS) is None
