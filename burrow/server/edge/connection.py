"""What an exchange needs of the visitor's connection, whatever version of HTTP is spoken on it."""

from __future__ import annotations

from twisted.internet.interfaces import IProtocolFactory
from zope.interface import Attribute, Interface

from burrow.http.headers import Fields
from burrow.http.response_head import ResponseHead
from burrow.mux.pipe import PipeEnd
from burrow.server.edge import pages
from burrow.server.edge.responses import Responses
from burrow.server.route import IRoute


class IConnection(Interface):
    """
    A visitor's connection, as an exchange sees it. The calls that begin with C{answer} are made in the order
    of an answer's parts; after C{answer_end}, C{answer_page}, C{break_off}, C{hand_over} and C{switch} the
    exchange is over, and calls nothing more.
    """

    hop = Attribute("A L{Hop<burrow.server.edge.forwarded.Hop>}: writes the heads of its requests anew.")
    shown = Attribute("What it was shown in TLS: a L{Shown<burrow.server.edge.tls.Shown>}; or None.")
    own = Attribute("What the server itself says to a request: an L{Own<burrow.server.edge.context.Own>}.")
    ended = Attribute("Whether the visitor closed its half: it sends no more, or is gone.")
    only_switches = Attribute(
        "Whether a 2xx opens a WebSocket that was asked for, as in HTTP/2, whatever the upstream meant."
    )

    def stream_to(route: IRoute, address: tuple[str, str]) -> Responses:
        """
        A stream to a route on which a request can be sent, new or kept from the last one.

        @param address: the visitor's address, C{host:port}, and scheme.
        @raise StreamGone: none can be opened.
        """

    def use_part(part: bytes) -> None:
        """
        Streams are for this upstream from now on, of a tunnel that has several: see
        L{Visit<burrow.policy.base.Visit>}.
        """

    def body_awaited() -> None:
        """The request was sent; the visitor is to send its body from now on, in time."""

    def advance() -> None:
        """Something happened outside of the connection's own events: bytes that waited may be usable now."""

    def answer_interim(head: ResponseHead) -> None:
        """An interim answer (1xx, but not 101)."""

    def answer(head: ResponseHead) -> None:
        """The head of the final answer."""

    def answer_data(data: bytes) -> None:
        """Bytes of its body, not empty."""

    def answer_end(trailers: Fields) -> None:
        """It is whole."""

    def answer_page(page: pages.Page, *, linger: bool = False) -> None:
        """A page of ours is the whole answer. C{linger}: the visitor may still be sending the request."""

    def break_off() -> None:
        """No more comes of an answer that has begun: the visitor must not take it for a whole one."""

    def answer_switch(head: ResponseHead) -> None:
        """The upstream switches (101). @raise BadMessage: to a protocol that was not asked for."""

    def switch(end: PipeEnd) -> None:
        """Join the connection with the stream after a 101."""

    def hand_over(factory: IProtocolFactory) -> None:
        """Another protocol takes the connection over, beginning with this request."""
