"""
The boxes that nodes exchange. Each stream on a link begins with one; it says what the stream carries.

The encoding is that of L{burrow.mux.control}. The key C{what} tells the boxes apart; the other keys are the
fields of the classes below. A node ignores keys that it does not know, so that releases may differ.
"""

from __future__ import annotations

from typing import NamedTuple

from burrow.errors import WireError
from burrow.mux.control import decode_box, encode_box, window_of
from burrow.wire.windows import INITIAL_WINDOW

MAX_HOPS = 2
"""Nodes that pass a visitor's connection on, at most: leases may change on the way."""

MAX_TOLD = 60_000
"""Bytes of a lease in a box, at most."""


class VisitorBox(NamedTuple):
    """
    A visitor's connection follows, as raw bytes in both directions.

    @ivar tunnel: the name that the visitor came to.
    @ivar visitor: the visitor's address, C{host:port}, IPv6 hosts in brackets.
    @ivar scheme: how the visitor came: "http", "https", "tcp"...
    @ivar to: of a name that agents share, the key of the one that is to serve; else empty.
    @ivar hops: how many nodes the connection was passed on to, the receiver included; at least 1.
    @ivar window: see L{VisitorHead<burrow.mux.control.VisitorHead>}: what the receiver is asked to send, and
        is to ask the agent for.
    """

    tunnel: str
    visitor: str
    scheme: str
    hops: int
    to: str = ""
    window: int = INITIAL_WINDOW

    def encode(self) -> bytes:
        """The box's bytes."""
        numbers = {"hops": str(self.hops), "window": str(self.window)}
        fields = {"what": "visitor", **self._asdict(), **numbers}
        if not self.to:
            del fields["to"]
        if self.window == INITIAL_WINDOW:
            del fields["window"]
        return encode_box(fields)


class AgentBox(NamedTuple):
    """
    An agent's connection follows, from its HTTP upgrade request on: its session lives on the receiver.

    @ivar peer: the agent's address, C{host:port}, as the sender sees it; empty from older releases.
    """

    peer: str = ""

    def encode(self) -> bytes:
        """The box's bytes."""
        return encode_box({"what": "agent", **self._asdict()})


class RefreshBox(NamedTuple):
    """
    Leases changed: the receiver reads what changed in the store, then ends the stream.

    @ivar lease: the sender's lease that changed, as it is in the store; it is taken in the place of reading.
        Empty if there is none, or from older releases, and ignored by them.
    """

    lease: str = ""

    def encode(self) -> bytes:
        """The box's bytes."""
        return encode_box({"what": "look", **({"lease": self.lease} if self.lease else {})})


class AskBox(NamedTuple):
    """
    A question: the receiver answers it on the stream, as L{burrow.server.nodes.asking} says.

    @ivar question: its name. @ivar of: the arguments, a JSON object.
    """

    question: str
    of: str

    def encode(self) -> bytes:
        """The box's bytes."""
        return encode_box({"what": "ask", **self._asdict()})


def decode(data: bytes) -> tuple[VisitorBox | AgentBox | RefreshBox | AskBox, bytes] | None:
    """
    Read the box at the beginning of a stream from another node.

    @return: the box and the bytes behind it; None while more bytes are needed.
    @raise WireError: this is not a box, or of a kind that this release does not know.
    """
    decoded = decode_box(data)
    if decoded is None:
        return None
    fields, rest = decoded
    what = fields.get("what")
    if what == "agent":
        return AgentBox(fields.get("peer", "")), rest
    if what == "look":
        return RefreshBox(fields.get("lease", "")), rest
    if what == "ask":
        return AskBox(fields.get("question", ""), fields.get("of", "")), rest
    if what != "visitor":
        raise WireError(f"a stream begins with a box of an unknown kind: {what!r}")
    try:
        hops = int(fields.get("hops", MAX_HOPS))
    except ValueError as error:
        raise WireError("a visitor's box has hops that are not a number") from error
    tunnel, visitor, scheme = (fields.get(key, "") for key in ("tunnel", "visitor", "scheme"))
    window = window_of(fields.get("window"))
    return VisitorBox(tunnel, visitor, scheme, hops, fields.get("to", ""), window), rest
