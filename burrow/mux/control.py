"""
The control channel: the AMP commands that an agent and the server exchange on the agent's first stream.

This module is the protocol's reference. Source of the encoding: Twisted's AMP
(L{twisted.protocols.amp}): boxes of keys and values with 16-bit lengths. A box ends with an empty key.

Agent to server: L{OpenTunnel}, L{CloseTunnel}. Server to agent: L{Drain}, L{Notice}. Unknown keys
are ignored by both, so that old agents and new servers get along. An answer that refuses carries one of the
codes in C{_ERRORS}; their classes are in L{burrow.errors}.

A stream that the server opens carries one visitor connection. It begins with one box, the
L{VisitorHead}; the bytes behind it are the visitor's, and what the agent sends back is the upstream's.

A stream that the agent opens, after its first, is a connection to a private tunnel of another agent. It
begins with one box, the L{ConnectHead}. The server answers with one box, the L{ConnectAnswer}. If that is no
refusal, the bytes behind both are the visitor's and the upstream's; else the server ends the stream.
"""

from __future__ import annotations

import ipaddress
import re
from struct import Struct
from typing import Any, ClassVar, NamedTuple

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.protocols import amp

from burrow.addresses import plain_address
from burrow.errors import (
    BadOption,
    CertificateFailed,
    NameTaken,
    NoSuchTunnel,
    NotAllowed,
    Refused,
    TooManyTunnels,
    Unavailable,
    UnknownProtocol,
    WireError,
)
from burrow.wire.windows import INITIAL_WINDOW

_ERRORS: dict[type[Exception], bytes] = {
    NameTaken: b"NAME_TAKEN",
    NotAllowed: b"NOT_ALLOWED",
    CertificateFailed: b"CERTIFICATE_FAILED",
    UnknownProtocol: b"UNKNOWN_PROTOCOL",
    TooManyTunnels: b"TOO_MANY_TUNNELS",
    BadOption: b"BAD_OPTION",
    Unavailable: b"UNAVAILABLE",
    NoSuchTunnel: b"NO_SUCH_TUNNEL",
}


class OpenTunnel(amp.Command):
    """
    Bind a public name, or a port, to an upstream of the agent's.

    Arguments: C{kind}, the tunnel's kind ("http", "tcp"...); C{upstream}, the upstream as the agent writes
    it: an agent that asks again for the same one, without a name, always gets the same name; C{name}, the
    label wanted, if any; C{options}, a JSON object of the kind's options that the server has to know;
    C{version} and C{oldest}, the newest and the oldest version of the kind that the agent speaks, 1 if
    missing.

    Response: C{tunnel}, what visitor streams and L{CloseTunnel} name it by; C{name}, its label;
    C{url}, where visitors reach it; C{version}, the version of the kind that is spoken, 1 if missing.
    """

    arguments = [
        (b"kind", amp.Unicode()),
        (b"upstream", amp.Unicode()),
        (b"name", amp.Unicode(optional=True)),
        (b"options", amp.Unicode(optional=True)),
        (b"version", amp.Integer(optional=True)),
        (b"oldest", amp.Integer(optional=True)),
    ]
    response = [
        (b"tunnel", amp.Unicode()),
        (b"name", amp.Unicode()),
        (b"url", amp.Unicode()),
        (b"version", amp.Integer(optional=True)),
    ]
    errors = _ERRORS


class CloseTunnel(amp.Command):
    """Close a tunnel; its name stays reserved. Streams that are open go on."""

    arguments = [(b"tunnel", amp.Unicode())]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    errors = _ERRORS


class Drain(amp.Command):
    """The server is going away: connect again, now. Streams that are open go on as long as they can."""

    arguments: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []


class Notice(amp.Command):
    """
    A message for the person who runs the agent.

    C{code} is for programs. "taken-over": another agent with the same token opened C{tunnel} and has it now.
    "took-over": this session has C{tunnel} now, which another agent with the same token had open.
    "revoked": the agent's token was revoked, and the session ends. "released": C{tunnel} is closed, since the
    server's owner took its name back or gave it to another token. "http1-only": the upstream of C{tunnel}
    speaks HTTP/2, and the server does not with visitors.
    """

    arguments = [
        (b"code", amp.Unicode()),
        (b"text", amp.Unicode()),
        (b"tunnel", amp.Unicode(optional=True)),
    ]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []


def tcp_address(host: str, port: int) -> IPv4Address | IPv6Address:
    """An address and a port as Twisted has them. @raise ValueError: C{host} is no address."""
    address = ipaddress.ip_address(host)
    return (IPv4Address if address.version == 4 else IPv6Address)("TCP", str(address), port)


def visitor_address(host: str, port: int) -> str:
    """What C{VisitorHead.visitor} says of an address and a port."""
    host = plain_address(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def shown(address: Any) -> str:
    """An L{IAddress<twisted.internet.interfaces.IAddress>} as log lines show it; C{host:port} for TCP."""
    if isinstance(address, IPv4Address | IPv6Address):
        return visitor_address(address.host, address.port)
    return str(address)


class VisitorHead(NamedTuple):
    """
    The first box of a visitor's stream.

    @ivar tunnel: the tunnel that the visitor came to.
    @ivar visitor: the visitor's address, C{host:port}, IPv6 hosts in brackets.
    @ivar scheme: how the visitor came: "http", "https", "tcp"...
    @ivar window: bytes that the agent is asked to send at most before the first Window Update, since the
        visitor may take none of many answers. Not in the box if that is as many as yamux allows. Who cannot
        do so, or is of an older release, ignores it.
    """

    tunnel: str
    visitor: str
    scheme: str
    window: int = INITIAL_WINDOW

    def encode(self) -> bytes:
        """The box's bytes, as L{encode_box} writes them; without AMP's objects in 2 us instead of 5."""
        tunnel, visitor, scheme = self.tunnel.encode(), self.visitor.encode(), self.scheme.encode()
        if len(tunnel) + len(visitor) + len(scheme) > MAX_HEAD:
            return encode_box(
                {key: value for key, value in self._asdict().items() if key != "window"}
                | ({} if self.window == INITIAL_WINDOW else {"window": str(self.window)})
            )
        size = _LENGTH.pack
        values = size(len(scheme)), scheme, size(len(tunnel)), tunnel, size(len(visitor)), visitor
        if self.window == INITIAL_WINDOW:
            return b"\0\6scheme%b%b\0\6tunnel%b%b\0\7visitor%b%b\0\0" % values
        window = b"%d" % self.window
        return b"\0\6scheme%b%b\0\6tunnel%b%b\0\7visitor%b%b\0\6window%b%b\0\0" % (
            *values,
            size(len(window)),
            window,
        )


def window_of(text: str | bytes | None) -> int:
    """
    The first window that a box asks for, in bytes; the one of yamux if it asks for none.

    @raise WireError: it is no possible one.
    """
    if text is None:
        return INITIAL_WINDOW
    window = int(text) if len(text) <= _DIGITS and text.isascii() and text.isdigit() else 0
    if not 0 < window <= INITIAL_WINDOW:
        raise WireError(f"the box at the beginning of a stream asks for a window of {text[:20]!r}")
    return window


BYTES, DATAGRAMS, QUESTION = "bytes", "datagrams", "question"
"""What a L{ConnectHead} wants."""


class ConnectHead(NamedTuple):
    """
    The first box of a stream on which an agent connects to a private tunnel. The bytes behind it may be sent
    at once, before the answer.

    @ivar connect: the tunnel's name. @ivar want: L{BYTES}, L{DATAGRAMS}, of which each has its length in two
        bytes before it, or L{QUESTION}: which of the two the tunnel carries, and no connection. Without this
        key, bytes.
    """

    connect: str
    want: str = BYTES

    def encode(self) -> bytes:
        """The box's bytes."""
        return encode_box(self._asdict() if self.want != BYTES else {"connect": self.connect})


class ConnectAnswer(NamedTuple):
    """
    The server's answer to a L{ConnectHead}: one box.

    @ivar code: "OK", "NO_SUCH_TUNNEL" if there is no such tunnel that the token may use, "UNAVAILABLE" if its
        agent is away or the server cannot tell now, "BAD_OPTION" if it does not carry what is wanted, or
        another code of a refusal, as the control channel has them.
    @ivar text: why, for a person; empty with "OK".
    @ivar carries: to a L{QUESTION}, L{BYTES} or L{DATAGRAMS}; else empty, and no key.
    """

    code: str
    text: str
    carries: str = ""

    @classmethod
    def refusing(cls, error: Refused) -> ConnectAnswer:
        """What says this."""
        code = next((code for kind, code in _ERRORS.items() if isinstance(error, kind)), b"UNAVAILABLE")
        return cls(code.decode(), str(error))

    @property
    def refusal(self) -> Refused | None:
        """The error that it stands for; None with "OK"."""
        if self.code == "OK":
            return None
        kind = next((kind for kind, code in _ERRORS.items() if code == self.code.encode()), Refused)
        error = kind(self.text or f"the server refused the connection ({self.code[:40]})")
        assert isinstance(error, Refused)
        return error

    def encode(self) -> bytes:
        """The box's bytes."""
        return encode_box({key: value for key, value in self._asdict().items() if value or key != "carries"})


def decode_connect_head(data: bytes) -> tuple[ConnectHead, bytes] | None:
    """See L{decode_visitor_head}, for a L{ConnectHead}."""
    decoded = _box_with("connect", data, "a stream of an agent begins with a wrong box")
    if decoded is None:
        return None
    box, rest = decoded
    return ConnectHead(box["connect"], box.get("want", BYTES)), rest


def decode_connect_answer(data: bytes) -> tuple[ConnectAnswer, bytes] | None:
    """See L{decode_visitor_head}, for a L{ConnectAnswer}."""
    decoded = _box_with("code", data, "the server's answer on a stream is a wrong box")
    if decoded is None:
        return None
    box, rest = decoded
    return ConnectAnswer(box["code"], box.get("text", ""), box.get("carries", "")), rest


def _box_with(key: str, data: bytes, wrong: str) -> tuple[dict[str, str], bytes] | None:
    """See L{decode_box}. @raise WireError: the box lacks C{key}, too; its text begins with C{wrong}."""
    decoded = decode_box(data)
    if decoded is not None and key not in decoded[0]:
        raise WireError(f"{wrong}: it has no {key!r}")
    return decoded


_LENGTH = Struct("!H")
_DIGITS = len(str(INITIAL_WINDOW))
_USUAL_HEAD = re.compile(
    rb"\x00\x06scheme\x00.([a-z0-9.+-]+)\x00\x06tunnel\x00.([A-Za-z0-9._-]+)"
    rb"\x00\x07visitor\x00.([0-9A-Za-z.:\[\]]+)(?:\x00\x06window\x00.([0-9]+))?\x00\x00",
    re.DOTALL,
).match
MAX_HEAD = 16 * 1024
"""Bytes of a visitor head, at most. A longer one breaks the protocol."""


def decode_box(data: bytes) -> tuple[dict[str, str], bytes] | None:
    """
    Read the box at the beginning of a stream.

    @return: the box and the bytes behind it; None while more bytes are needed.
    @raise WireError: this is no box, nor the beginning of one.
    """
    items: list[bytes] = []
    position = 0
    while len(data) - position >= 2:
        (length,) = _LENGTH.unpack_from(data, position)
        position += 2
        is_key = len(items) % 2 == 0
        if is_key and not length:
            try:
                texts = [item.decode() for item in items]
            except UnicodeDecodeError as error:
                raise WireError("a stream begins with a box that is not UTF-8") from error
            return dict(zip(texts[::2], texts[1::2], strict=True)), data[position:]
        if is_key and length > 255:
            raise WireError("a stream does not begin with a box")
        if len(data) - position < length:
            break
        items.append(data[position : position + length])
        position += length
    if len(data) > MAX_HEAD:
        raise WireError("the box at the beginning of a stream has no end")
    return None


def encode_box(fields: dict[str, str]) -> bytes:
    """A box's bytes."""
    box = amp.AmpBox({key.encode(): value.encode() for key, value in fields.items()})
    encoded: bytes = box.serialize()
    return encoded


def decode_visitor_head(data: bytes) -> tuple[VisitorHead, bytes] | None:
    """
    Read the head at the beginning of C{data}.

    @return: the head and the bytes behind it; None while more bytes are needed.
    @raise WireError: this is no head, nor the beginning of one.
    """
    # As VisitorHead.encode writes it, and nobody needs to write it so: 2 us instead of 5.
    if (usual := _USUAL_HEAD(data)) is not None:
        scheme, tunnel, visitor, window = usual.groups()
        # Each text is as long as the byte before it says: then the box is no other than this.
        first, second, third = usual.start(1), usual.start(2), usual.start(3)
        if (data[first - 1], data[second - 1], data[third - 1]) == (len(scheme), len(tunnel), len(visitor)):
            if window is None:
                return VisitorHead(tunnel.decode(), visitor.decode(), scheme.decode()), data[usual.end() :]
            if data[usual.start(4) - 1] == len(window):
                head = VisitorHead(tunnel.decode(), visitor.decode(), scheme.decode(), window_of(window))
                return head, data[usual.end() :]
    decoded = decode_box(data)
    if decoded is None:
        return None
    box, rest = decoded
    try:
        return VisitorHead(box["tunnel"], box["visitor"], box["scheme"], window_of(box.get("window"))), rest
    except KeyError as error:
        raise WireError(f"a visitor's stream begins with a wrong box: it has no {error}") from error
