"""
C{burrow http --end-to-end}: at the server a tunnel of kind tls, whose bytes it passes on and cannot read; on
the agent the kind http inside TLS.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet.interfaces import IProtocol

from burrow.client.endtoend.certificate import LETS_ENCRYPT, Authority, Certificate
from burrow.client.endtoend.stream import EndToEnd, InsideObserver
from burrow.http.remembered import Memory
from burrow.mux.control import VisitorHead
from burrow.mux.pipe import PipeEnd
from burrow.observe.http import HttpObserver
from burrow.protocols.base import AgentTunnel
from burrow.protocols.forward import Connectors, Forward
from burrow.protocols.kind import TunnelKind
from burrow.protocols.options import KindOption
from burrow.protocols.upstream import UpstreamFailed
from burrow.traffic.hub import Traffic

LOST = (
    "end to end: the server passes on what it cannot read. So there are no pages of its own (an agent that "
    "is away is a TLS alert), no X-Forwarded-For, no rules, and no requests in its log, API and dashboard; "
    "the inspector here has them"
)
"""What a person is told who asks for it."""


class EndToEndKind(TunnelKind):
    """
    The kind of one tunnel.

    @param authority: the CA to ask. @param folder: see L{Certificate}.
    """

    name = "tls"
    summary = "an HTTPS URL whose TLS ends on this machine"
    options: ClassVar[tuple[KindOption, ...]] = ()

    def __init__(self, authority: Authority, folder: Path | None = None) -> None:
        self.authority = authority
        self._folder = folder
        self._certificates: dict[str, Certificate] = {}

    def __eq__(self, other: object) -> bool:
        """Two that ask the same CA are the same, so that a file which is read again changes nothing."""
        return isinstance(other, EndToEndKind) and other.authority == self.authority

    def __hash__(self) -> int:
        return hash(self.authority)

    def opened(self, reactor: Any, url: str, tell: Callable[[str, str], None]) -> str:
        """
        The server opened the tunnel: have a certificate for its host from now on.

        @param url: as the server has it. @param tell: see L{Certificate}. @return: the URL for visitors.
        """
        place = url.partition("://")[2]
        host = place.partition(":")[0]
        if host not in self._certificates:
            tell("notice", LOST)
            self._certificates[host] = Certificate(reactor, host, self.authority, tell, self._folder)
        self._certificates[host].start()
        return f"https://{place}"

    def closed(self) -> None:
        """No session has the tunnel open, and none will."""
        for certificate in self._certificates.values():
            certificate.stop()

    def agent_protocol(self, tunnel: AgentTunnel, head: VisitorHead) -> IProtocol:
        """See L{TunnelKind}."""
        inside = Forward(Connectors.get(tunnel.reactor, tunnel.upstream), tunnel.upstream, answer_page)
        host = tunnel.url.partition("://")[2].partition(":")[0]
        protocol: Any = EndToEnd(tunnel.reactor, self._certificates[host], inside)
        made: IProtocol = protocol
        return made

    def observer(self, tunnel: AgentTunnel, head: VisitorHead, traffic: Traffic, memory: Memory) -> Any:
        """See L{TunnelKind}: a record for each request."""
        return InsideObserver(HttpObserver(traffic, "http", head.tunnel, head.visitor, "https", memory))


def authority_of(options: dict[str, Any]) -> Authority:
    """What the options of kind http, by key, say of the CA."""
    return Authority(
        options.get("acme-directory") or LETS_ENCRYPT,
        options.get("acme-email") or "",
        options.get("acme-ca-file"),
    )


def answer_page(stream: PipeEnd, error: UpstreamFailed) -> None:
    """Tell a visitor why there is no answer: no server behind this writes a page."""
    body = f"The service behind this URL cannot be reached. {error.public}\n".encode()
    head = (
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
        b"Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    stream.transport.write(head % len(body) + body)
    stream.transport.resumeProducing()  # an end that is not joined drops what it reads
    stream.transport.loseConnection()
