"""Autobahn WebSockets under a session: how an agent and a server find each other and stay connected."""

from __future__ import annotations

PLAIN = "burrow.yamux.v1"
"""The payloads of the binary messages, joined, are a plain yamux byte stream."""

RESUME = "burrow.resume.v1"
"""Each message is one packet of L{burrow.wire.resume}: the session outlives the WebSocket."""

SESSION_HEADER = "Burrow-Session"
"""Both ways: the id of the session that the agent wants to go on with, and of the one it gets."""

RECEIVED_HEADER = "Burrow-Received"
"""Both ways: how many bytes of the session's byte stream its sender has received."""

OWN_PATH = "/_burrow"
"""What is below this path on the base domain is for agents and other programs."""

AGENT_PATH = f"{OWN_PATH}/agent"
"""Where a server takes its agents' WebSockets, on the base domain."""

AGENT_HEADER = "Burrow-Agent"
"""The agent's own random id, one a machine and user: names are remembered by it."""

VERSION_HEADER = "Burrow-Version"
"""Both ways: the sender's release, for the log and the agent's screen alone."""

TOKEN_HEADER = "Burrow-Token"
"""From the server: the name of the agent's token, for the agent's screen alone."""

INSPECTOR_HEADER = "Burrow-Inspector"
"""From the agent: the port of its inspector on its own machine, to which the dashboard links."""

MAX_MESSAGE = 4 * 1024 * 1024
"""Bytes in one WebSocket message, at most. Ours have 256 KiB; other yamux libraries may send more."""


def count_of(text: str) -> int | None:
    """The number in a header of the handshake; None if C{text} is not a number of bytes."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
