"""Tests for docs/protocol.md: the session in bytes that it shows is one that a server has."""

import re
from pathlib import Path

from burrow.client.backoff import FIRST, LATER, LIMIT
from burrow.link import (
    AGENT_HEADER,
    MAX_MESSAGE,
    PLAIN,
    RECEIVED_HEADER,
    RESUME,
    SESSION_HEADER,
    TOKEN_HEADER,
    VERSION_HEADER,
)
from burrow.link.accept import _PHRASES
from burrow.mux.control import CloseTunnel, Drain, Notice, OpenTunnel, VisitorHead
from burrow.mux.heartbeat import DEAD_AFTER, INTERVAL, PING_EVERY
from burrow.mux.interfaces import CloseCode
from burrow.server.channel import MAX_BOX
from burrow.server.expected import EXPECT_FOR
from burrow.server.opening import MAX_UPSTREAM
from burrow.testing import HalfCloseRecorder
from burrow.wire.backlog import MAX_UNACKED
from burrow.wire.windows import INITIAL_WINDOW, MAX_WINDOW
from tests.server.test_channel import Connected

DOCS = Path(__file__).parents[2] / "docs" / "protocol.md"

VISITOR, REQUEST = "203.0.113.9:50000", b"GET / HTTP/1.1\r\nHost: blog.example.com\r\n\r\n"


def example():
    """The steps of the session in bytes: who speaks (agent, server, visitor), and what."""
    block = DOCS.read_text().split("```bytes\n")[1].split("```")[0]
    steps = []
    for line in filter(None, block.splitlines()):
        who, _, rest = line.partition(" ")
        spoken = bytes.fromhex(rest.strip().partition("  ")[0]) if who in ("agent", "server") else b""
        if who == "|":
            who, spoken = steps[-1][0], bytes.fromhex(rest.strip().partition("  ")[0])
        if steps and steps[-1][0] == who:
            steps[-1] = who, steps[-1][1] + spoken
        else:
            steps.append((who, spoken))
    return steps


class Example(Connected):
    """The session in docs/protocol.md, spoken to a server."""

    def test_server_answers_as_the_document_says(self):
        pair = self.connect()
        sent = []
        pair.server_carrier.send = lambda data: sent.append(data) or True
        heard = None
        steps = example()
        self.assertEqual(
            [who for who, _ in steps if who != "server"], ["agent", "visitor", "agent", "visitor"]
        )
        for who, spoken in steps:
            if who == "agent":
                pair.server.carrier_received(spoken)
            elif who == "visitor" and heard is None:
                heard = self.visitor()
            elif who == "visitor":
                heard.transport.loseConnection()
            self.clock.advance(0)
            if who == "server":
                self.assertEqual(b"".join(sent).hex(" "), spoken.hex(" "))
                sent.clear()
        self.assertEqual(sent, [])
        self.assertEqual(
            heard.received, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
        )
        self.assertTrue(heard.read_lost)

    def visitor(self):
        """Who asks for the tunnel, as the edge does."""
        visitor = HalfCloseRecorder()
        self.tunnels.by_name("blog").connect(visitor, VISITOR, "https")
        visitor.transport.write(REQUEST)
        return visitor


def test_document_names_what_the_code_has():
    """Close codes, error codes, keys and numbers: who changes one in the code is told where it is written."""
    text = DOCS.read_text()
    for command in (OpenTunnel, CloseTunnel, Drain, Notice):
        assert f"`{command.__name__}`" in text
        for name, _ in [*command.arguments, *command.response]:
            assert f"`{name.decode()}`" in text, name
        for code in command.errors.values():
            assert f"`{code.decode()}`" in text, code
    for code in CloseCode:
        assert f"| {int(code)} |" in text
    assert "| 1002, 1009 |" in text
    assert "| `BAD_BOX` |" in text
    for status in _PHRASES:  # those of a handshake that is refused
        assert re.search(rf"^\| (\d+, )*{status}\b", text, re.MULTILINE), status
    for field in VisitorHead._fields:
        assert f"| `{field}` |" in text
    for header in (
        AGENT_HEADER,
        SESSION_HEADER,
        RECEIVED_HEADER,
        VERSION_HEADER,
        TOKEN_HEADER,
        PLAIN,
        RESUME,
    ):
        assert f"`{header}" in text
    for number in (
        f"{MAX_MESSAGE // 2**20} MiB",
        f"{MAX_UNACKED} streams ahead",
        f"{INITIAL_WINDOW // 1024} KiB in each direction",
        f"{MAX_WINDOW // 2**20} MiB a\n",
        f"pings every {PING_EVERY:g} s",
        f"after {DEAD_AFTER:g} to {DEAD_AFTER + INTERVAL:g} s",
        f"Wait {FIRST:g} s",
        f"up to {LIMIT:g} s, and",
        f"up to {LATER:g} s;",
        f"a box at most {MAX_BOX // 1024} KiB",
        f"up to {MAX_UPSTREAM} characters",
        f"next {EXPECT_FOR:g} s wait",
    ):
        assert number in text, number
